"""Summaries over documents: made, searched, replaced, dropped, and paid for once (knowledge.md 5.11)."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from typing import Any

import anyio
import pytest

from app.domain.errors import UpstreamFailed
from app.domain.models import ChatMessage, GenerationOptions, ModelItem, ModelReasoning
from app.ingest.raptor import summaries as summaries_module
from app.ingest.raptor.clustering import Floats, clusters
from app.ingest.raptor.summaries import RaptorConfig, read_config
from app.llm.tokens import ApproximateTokenCounter
from tests.chats.world import Api
from tests.knowledge.raptor_process import summary_of
from tests.knowledge.speaking import Speaker, speaking, talker, work_until_idle, world
from tests.knowledge.world import World, api, assert_exact_counters, make_dataset, parse, parsed, rival, shown

__all__ = ["api", "rival", "talker", "world"]

CONFIG = {"chunk_token_num": 8, "delimiter": "\n"}


def house(rooms: Sequence[str]) -> bytes:
    lines = [f"In the {room} there is thing number {number} of the {room}." for room in rooms for number in range(6)]
    return "\n".join(lines).encode()


@pytest.fixture
def summariser(talker: Speaker) -> Speaker:
    talker.answer = summary_of
    return talker


async def run(world: World, api: Api, dataset_id: str) -> Any:
    """Run the job to its end; the task as it is traced then."""
    started = await api.ok("POST", f"/datasets/{dataset_id}/run_raptor")
    await work_until_idle(world)
    task = await api.ok("GET", f"/datasets/{dataset_id}/trace_raptor")
    assert task["id"] == started["raptor_task_id"]
    return task


async def layers(world: World, api: Api, document_id: str) -> dict[int, int]:
    rows = await world.rows(
        api, "SELECT layer, count(*) AS n FROM chunks WHERE document_id = :id GROUP BY 1 ORDER BY 1", id=document_id
    )
    return {row.layer: row.n for row in rows}


async def summaries(world: World, api: Api, document_id: str) -> list[Any]:
    return list(
        await world.rows(
            api,
            "SELECT id, content, layer, positions, is_available FROM chunks WHERE document_id = :id AND layer > 0 "
            "ORDER BY layer, ordinal",
            id=document_id,
        )
    )


async def raptor_usage(world: World, api: Api) -> dict[str, int]:
    rows = await world.rows(
        api, "SELECT kind, count(*) AS calls FROM usage_ledger WHERE purpose = 'raptor' GROUP BY kind"
    )
    return {row.kind: row.calls for row in rows}


@pytest.mark.promise(
    "5.11-only-summaries",
    "5.11-last-layer",
    "5.11-layer-shrinks",
    "5.11-counters",
    "5.11-raptor-usage",
    "5.11-raptor-progress",
)
async def test_summaries_are_searchable_chunks_of_their_document(world: World, api: Api, summariser: Speaker) -> None:
    dataset = await make_dataset(api, parser_config=CONFIG)
    one, two = await parsed(
        world, api, dataset["id"], ("house.txt", house(["cellar", "attic"])), ("hut.txt", b"Only one line is in here.")
    )
    before = await shown(api, dataset["id"], one["id"])
    task = await run(world, api, dataset["id"])
    assert task["progress"] == 1
    made = await summaries(world, api, one["id"])
    counts = await layers(world, api, one["id"])
    assert counts[0] == before["chunk_count"] == 12
    sizes = [counts[layer] for layer in sorted(counts)]
    assert len(sizes) > 2
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[-1] == 1
    assert len(made) == len(summariser.asked) == sum(sizes[1:])
    assert {str(row.positions) for row in made} == {"[]"}
    assert await summaries(world, api, two["id"]) == []  # a single chunk needs none
    after = await shown(api, dataset["id"], one["id"])
    assert after["chunk_count"] == 12 + len(made)
    await assert_exact_counters(world, api)
    asked = {"question": made[-1].content, "dataset_ids": [dataset["id"]], "similarity_threshold": 0.1}
    found = await api.ok("POST", "/retrieval", json=asked)
    assert found["chunks"][0]["content"] == made[-1].content
    assert found["chunks"][0]["document_id"] == one["id"]
    assert (await raptor_usage(world, api))["chat"] == len(made)
    assert (await raptor_usage(world, api))["embedding"] >= 1
    lines = task["progress_msg"].splitlines()
    for layer, (below, own) in enumerate(pairwise(sizes), 1):
        assert any(f"house.txt: layer {layer}: {own} clusters of {below} texts." in line for line in lines)
    assert re.search(rf"{len(made)} summaries of 2 documents\. Task done \(\d+\.\d\ds\)$", lines[-1])


class Thinking(Speaker):
    """Thinks before it answers."""

    async def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[list[ModelItem], None]:
        yield [ModelReasoning("Hm, let me see.")]
        async for items in super().stream(messages, options, deadline_s=deadline_s):
            yield items


@pytest.mark.promise("5.11-two-nodes", "5.11-answer-tokens", "5.11-reasoning")
async def test_two_chunks_are_summarised_together(world: World, api: Api, talker: Speaker) -> None:
    summariser = Thinking(answer=lambda _: "Both are about a house.")
    speaking(world, chat=summariser)
    dataset = await make_dataset(api, parser_config=CONFIG)
    text = b"The first line is all about boilers.\nThe second line is all about chimneys."
    (document,) = await parsed(world, api, dataset["id"], ("two.txt", text))
    await run(world, api, dataset["id"])
    assert await layers(world, api, document["id"]) == {0: 2, 1: 1}
    assert "boilers" in summariser.asked[0]
    assert summariser.asked[0].index("boilers") < summariser.asked[0].index("chimneys")
    assert summariser.options[0].max_tokens == 512  # more than the 256 of the config
    assert [row.content for row in await summaries(world, api, document["id"])] == ["Both are about a house."]


@pytest.mark.promise("5.11-config", "5.11-prompt-place", "5.11-answer-tokens")
async def test_the_config_of_the_dataset_counts(
    world: World, api: Api, summariser: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[dict[str, Any]] = []

    def noting(vectors: Floats, **config: Any) -> list[list[int]]:
        used.append(config)
        return clusters(vectors, **config)

    monkeypatch.setattr(summaries_module, "clusters", noting)
    raptor = {"use_raptor": True, "prompt": "Sum {x} up: {cluster_content} Done.", "max_token": 700, "max_cluster": 2}
    raptor |= {"threshold": 0.4, "random_seed": 7}
    dataset = await make_dataset(api, parser_config={**CONFIG, "raptor": raptor})
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar", "attic"])))
    await run(world, api, dataset["id"])
    assert await layers(world, api, document["id"]) == {0: 12, 1: 1}  # one component at most
    assert used == [{"most": 2, "threshold": 0.4, "seed": 7}]
    assert summariser.asked[0].startswith("Sum {x} up: =====")
    assert summariser.asked[0].endswith("===== Done.")
    assert summariser.options[0].max_tokens == 700
    told = re.findall(r"In the (\w+) there is thing number (\d)", summariser.asked[0])
    assert told == [(room, str(number)) for room in ("cellar", "attic") for number in range(6)]


@pytest.mark.promise("5.11-truncation")
async def test_each_text_gets_its_share_of_the_models_window(world: World, api: Api, summariser: Speaker) -> None:
    summariser.context_tokens = 1000
    dataset = await make_dataset(api, parser_config={"chunk_token_num": 128, "delimiter": "\n"})
    lines = "\n".join(" ".join(f"word{n}of{line}" for n in range(90)) for line in range(2)).encode()
    (document,) = await parsed(world, api, dataset["id"], ("long.txt", lines))
    assert document["chunk_count"] == 2
    await run(world, api, dataset["id"])
    room = 1000 - 512 - ApproximateTokenCounter().count(summariser.asked[0])
    assert 0 < room < 200  # for the rest of the prompt; no more of the window is left unused
    kept = [len(re.findall(rf"word\d+of{line}\b", summariser.asked[0])) for line in range(2)]
    assert kept[0] == kept[1]
    assert 50 <= kept[0] < 90


def test_what_a_config_cannot_mean_acts_as_the_default() -> None:
    assert read_config({}) == read_config({"raptor": "yes"}) == RaptorConfig()
    odd = {"prompt": "no place", "max_token": 0, "threshold": 7, "max_cluster": True, "random_seed": -1}
    assert read_config({"raptor": odd}) == RaptorConfig()
    good = {"prompt": "{cluster_content}", "max_token": 9, "threshold": 0, "max_cluster": 3, "random_seed": 4}
    assert read_config({"raptor": good}) == RaptorConfig(
        prompt="{cluster_content}", max_token=9, threshold=0.0, max_cluster=3, random_seed=4
    )


@pytest.mark.promise("5.11-rerun", "5.11-seed")
async def test_running_again_changes_nothing_and_costs_nothing(world: World, api: Api, summariser: Speaker) -> None:
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar", "attic", "hall"])))
    first = await run(world, api, dataset["id"])
    made = [row.id for row in await summaries(world, api, document["id"])]
    paid, asked, embedded = await raptor_usage(world, api), len(summariser.asked), len(world.embedding.calls)
    second = await run(world, api, dataset["id"])
    assert second["id"] != first["id"]
    assert "house.txt: 18 chunks." in second["progress_msg"]  # summaries are not summarised again
    assert [row.id for row in await summaries(world, api, document["id"])] == made
    assert (await raptor_usage(world, api), len(summariser.asked)) == (paid, asked)
    assert len(world.embedding.calls) == embedded
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.11-rerun", "5.11-only-available")
async def test_running_again_after_a_change_replaces_the_old_summaries(
    world: World, api: Api, summariser: Speaker
) -> None:
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar", "attic"])))
    await run(world, api, dataset["id"])
    old = {row.id for row in await summaries(world, api, document["id"])}
    await world.rows(
        api,
        "UPDATE chunks SET is_available = false WHERE document_id = :id AND layer = 0 AND content LIKE '%cellar%' "
        "RETURNING id",
        id=document["id"],
    )
    asked = len(summariser.asked)
    task = await run(world, api, dataset["id"])
    assert "house.txt: 6 chunks." in task["progress_msg"]
    new = {row.id for row in await summaries(world, api, document["id"])}
    assert new
    assert new != old
    assert not any("cellar" in prompt for prompt in summariser.asked[asked:])
    await assert_exact_counters(world, api)
    await api.ok("DELETE", f"/datasets/{dataset['id']}/index", params={"type": "raptor"})
    await run(world, api, dataset["id"])  # as if there had been no old ones
    assert {row.id for row in await summaries(world, api, document["id"])} == new


@pytest.mark.promise("5.11-reparse")
async def test_parsing_a_document_again_drops_its_summaries(world: World, api: Api, summariser: Speaker) -> None:
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar"])))
    await run(world, api, dataset["id"])
    assert len(await layers(world, api, document["id"])) > 1
    await parse(api, dataset["id"], document["id"])
    await world.work()
    assert await layers(world, api, document["id"]) == {0: 6}
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.11-empty-summary")
@pytest.mark.parametrize("is_all", [True, False])
async def test_a_cluster_the_model_says_nothing_about_is_told_of(
    world: World, api: Api, summariser: Speaker, is_all: bool
) -> None:
    summariser.answer = lambda prompt: "" if is_all or "cellar" in prompt else "Something."
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar", "attic"])))
    task = await run(world, api, dataset["id"])
    assert task["progress"] == 1
    assert "had nothing to say about" in task["progress_msg"]
    assert (await layers(world, api, document["id"]))[0] == 12
    assert not any(not row.content for row in await summaries(world, api, document["id"]))
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.11-failure")
async def test_a_provider_that_fails_for_good_fails_the_job_with_its_message(
    world: World, api: Api, summariser: Speaker
) -> None:
    summariser.answer = lambda _: UpstreamFailed("The provider is on holiday.")
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar"])))
    task = await run(world, api, dataset["id"])
    assert task["progress"] == -1
    assert task["retry_count"] == 3
    assert "[ERROR]The provider is on holiday." in task["progress_msg"]
    assert await layers(world, api, document["id"]) == {0: 6}
    summariser.answer = summary_of
    assert (await run(world, api, dataset["id"]))["progress"] == 1


@pytest.mark.promise("5.11-changed-meanwhile")
async def test_a_document_whose_chunks_change_meanwhile_is_summarised_as_it_is_then(
    world: World, api: Api, summariser: Speaker
) -> None:
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar"])))
    chunk = (await api.ok("GET", f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"))["chunks"][0]
    changes = [chunk["id"]]

    class Changing(Speaker):
        async def stream(
            self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
        ) -> AsyncGenerator[list[ModelItem], None]:
            if changes:
                await world.rows(
                    api,
                    "UPDATE chunks SET content = 'A sentence from elsewhere.' WHERE id = :id RETURNING id",
                    id=changes.pop(),
                )
            async for items in super().stream(messages, options, deadline_s=deadline_s):
                yield items

    changing = Changing(answer=summary_of)
    speaking(world, chat=changing)
    assert (await run(world, api, dataset["id"]))["progress"] == 1
    assert len(await summaries(world, api, document["id"])) < len(changing.asked)
    assert any("A sentence from elsewhere." in prompt for prompt in changing.asked)
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.11-resumable")
async def test_a_worker_that_was_killed_is_not_paid_twice(world: World, api: Api, summariser: Speaker) -> None:
    """kill -9 between two calls of the model; another worker goes on."""
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(
        world, api, dataset["id"], ("house.txt", house(["cellar", "attic", "hall", "garden", "roof"]))
    )
    await api.ok("POST", f"/datasets/{dataset['id']}/run_raptor")
    command = [sys.executable, "-m", "tests.knowledge.raptor_process", world.urls.app, "1"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with anyio.fail_after(60):
            for _ in range(2):  # the second call comes after the first was answered and kept, or beside it
                while (await process.stdout.readline()) != b"asked\n":
                    assert process.returncode is None
            while not (await raptor_usage(world, api)).get("chat"):  # noqa: ASYNC110 (another process)
                await anyio.sleep(0.02)
    finally:
        process.kill()
        await process.wait()
    assert (await raptor_usage(world, api))["chat"] == 1
    assert await layers(world, api, document["id"]) == {0: 30}  # nothing half done is visible
    await work_until_idle(world)
    assert (await api.ok("GET", f"/datasets/{dataset['id']}/trace_raptor"))["progress"] == 1
    made = await summaries(world, api, document["id"])
    assert len(made) == len(summariser.asked) + 1
    assert len(set(summariser.asked)) == len(summariser.asked)
    assert (await raptor_usage(world, api))["chat"] == len(made)
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.11-raptor-cancel", "4.7-index-delete", "4.7-index-wipe-false", "4.7-index-routes")
async def test_a_job_that_is_cancelled_writes_nothing_more(world: World, api: Api, summariser: Speaker) -> None:
    dataset = await make_dataset(api, parser_config=CONFIG)
    (document,) = await parsed(world, api, dataset["id"], ("house.txt", house(["cellar", "attic"])))
    path = f"/datasets/{dataset['id']}"

    class Cancelling(Speaker):
        async def stream(
            self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
        ) -> AsyncGenerator[list[ModelItem], None]:
            if not self.asked:
                await api.ok("DELETE", f"{path}/index", params={"type": "raptor", "wipe": "false"})
            async for items in super().stream(messages, options, deadline_s=deadline_s):
                yield items

    cancelling = Cancelling(answer=summary_of)
    speaking(world, chat=cancelling)
    await api.ok("POST", f"{path}/index", params={"type": "raptor"})
    await world.work()
    assert await api.ok("GET", f"{path}/index", params={"type": "raptor"}) == {}
    assert await layers(world, api, document["id"]) == {0: 12}
    paid = (await raptor_usage(world, api))["chat"]
    await run(world, api, dataset["id"])
    assert (await raptor_usage(world, api))["chat"] == len(await summaries(world, api, document["id"])) >= paid
    for route in ("index?type=raptor", "raptor?x=y"):
        await run(world, api, dataset["id"])
        assert await api.ok("DELETE", f"{path}/{route}&wipe=false") is True
        assert await api.ok("GET", f"{path}/trace_raptor") == {}
        assert len(await layers(world, api, document["id"])) > 1
        assert await api.ok("DELETE", f"{path}/{route}") is True
        assert await layers(world, api, document["id"]) == {0: 12}
        await assert_exact_counters(world, api)
