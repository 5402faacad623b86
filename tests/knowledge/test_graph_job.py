"""The job that makes a graph: what it stores, skips, costs, and how it goes on (knowledge.md 5.11)."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from app.domain.errors import UpstreamFailed, UpstreamRefused
from app.domain.models import ChatMessage, Embeddings
from app.ingest.retrying import ABANDONED
from repositories.jobs import GRAPH
from tests.chats.world import Api
from tests.ingest.graph_models import RuleChatModel, by_rule, saying
from tests.knowledge.graph_world import ADA, BABBAGE, chat, job, queue, ready, run, shown, with_chat
from tests.knowledge.test_jobs import until, working
from tests.knowledge.world import World, make_dataset, parse, upload

__all__ = ["chat"]

ROOT = Path(__file__).resolve().parents[2]


def names(graph: Any) -> dict[str, Any]:
    return {node["id"]: node for node in graph["nodes"]}


@pytest.mark.promise("5.11-light", "5.11-merge-entities", "5.11-merge-relations", "5.11-progress")
async def test_documents_become_one_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada, babbage) = await ready(world, api, ADA, BABBAGE)

    done = await run(world, api, dataset_id)

    assert (done.state, done.progress) == ("done", 1.0), done.progress_msg
    graph = await shown(api, dataset_id)
    engine = names(graph)["ENGINE"]
    assert set(names(graph)) == {"ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"}
    assert (engine["entity_type"], engine["description"]) == ("category", "A machine.<SEP>Made of brass.")
    assert (engine["rank"], set(engine["source_id"])) == (2, {ada, babbage})
    assert engine["pagerank"] == max(node["pagerank"] for node in graph["nodes"])
    assert [(edge["source"], edge["target"], edge["weight"]) for edge in graph["edges"]] == [
        ("ADA LOVELACE", "ENGINE", 8.0),
        ("CHARLES BABBAGE", "ENGINE", 5.0),
    ]
    lines = done.progress_msg.split("\n")
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
    assert any("0.txt: 2 entities, 1 relations." in line for line in lines)
    assert "3 entities, 2 relations" in lines[-1]


@pytest.mark.promise("5.11-rows")
async def test_notes_rows_and_vectors_are_stored(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, documents = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)

    notes = await world.rows(api, "SELECT document_id, subgraph FROM graph_documents")
    entities = await world.rows(api, "SELECT name, embedding::text AS embedding, dimensions FROM graph_entities")
    relations = await world.rows(
        api, "SELECT source, target, description, embedding::text AS embedding FROM graph_relations"
    )

    assert {row.document_id for row in notes} == set(documents)
    assert all(len(row.subgraph["entities"]) == 2 for row in notes)
    for row in entities:
        assert _close(row.embedding, world.embedding.vector(row.name))
        assert row.dimensions == 64
    for row in relations:
        assert _close(row.embedding, world.embedding.vector(f"{row.source}->{row.target}: {row.description}"))


def _close(stored: str, expected: Sequence[float]) -> bool:
    return [float(each) for each in stored[1:-1].split(",")] == pytest.approx(expected, abs=1e-6)


@pytest.mark.promise("5.11-hidden")
async def test_the_graph_is_hidden_from_normal_search(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, b"plain words about looms", ADA)
    before = await world.rows(api, "SELECT count(*) AS n FROM chunks")
    await run(world, api, dataset_id)

    found = await api.ok("POST", "/retrieval", json={"dataset_ids": [dataset_id], "question": "looms"})

    assert await world.rows(api, "SELECT count(*) AS n FROM chunks") == before
    assert [chunk["content"] for chunk in found["chunks"]] == ["plain words about looms"]


@pytest.mark.promise("5.11-merge-any-order")
async def test_the_order_of_documents_makes_no_difference(world: World, api: Api, chat: RuleChatModel) -> None:
    forth, ids = await ready(world, api, ADA, BABBAGE)
    back, ids_back = await ready(world, api, BABBAGE, ADA)
    await run(world, api, forth)
    await run(world, api, back)

    def plain(graph: Any, order: list[str]) -> Any:
        for each in (*graph["nodes"], *graph["edges"]):
            each["source_id"] = sorted(order.index(document) for document in each["source_id"])
        return graph["nodes"], graph["edges"]

    assert plain(await shown(api, forth), ids) == plain(await shown(api, back), ids_back[::-1])


@pytest.mark.promise("5.11-skip")
async def test_a_document_in_the_graph_is_not_read_again(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    asked, embedded = len(chat.asked), len(world.embedding.calls)

    again = await run(world, api, dataset_id)
    assert (len(chat.asked), len(world.embedding.calls)) == (asked, embedded)
    assert "0 documents to read, 1 are in the graph already." in again.progress_msg

    [more] = await upload(api, dataset_id, ("more.txt", BABBAGE))
    await parse(api, dataset_id, more["id"])
    await world.work()
    before = len(world.embedding.calls)
    await run(world, api, dataset_id)

    assert all("Ada" not in talk[1].content for talk in chat.asked[asked:])
    assert "CHARLES BABBAGE" in names(await shown(api, dataset_id))
    made = [text for call in world.embedding.calls[before:] for text in call]
    assert sorted(made) == ["CHARLES BABBAGE", "CHARLES BABBAGE->ENGINE: He drew it."]


@pytest.mark.promise("5.11-usage")
async def test_each_call_is_in_the_ledger_once(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)

    rows = await world.rows(
        api,
        "SELECT kind, model, count(*) AS calls, sum(completion_tokens) AS out FROM usage_ledger WHERE purpose = 'graph'"
        " GROUP BY 1, 2 ORDER BY 1",
    )
    assert [(row.kind, row.model, row.calls, row.out) for row in rows] == [
        ("chat", "rules", len(chat.asked), 7 * len(chat.asked)),
        ("embedding", "scripted-embedding", 1, 0),
    ]
    assert len(chat.asked) == 4


class Counting(RuleChatModel):
    """Counts how many documents are read at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def before(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await anyio.sleep(0.05)
        self.now -= 1


@pytest.mark.promise("5.11-parallel")
async def test_four_documents_are_read_at_once(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, *(ADA + b"\n%d" % number for number in range(9)))
    counting = Counting()
    with_chat(world, counting)

    await run(world, api, dataset_id)

    assert counting.most == 4
    assert len(names(await shown(api, dataset_id))) == 2


@pytest.mark.promise("5.11-resumes")
async def test_a_job_that_failed_goes_on_without_asking_again(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    fails = True

    def answer(messages: Sequence[ChatMessage]) -> str | Exception:
        if fails and len(messages) > 2 and "Babbage" in messages[1].content:
            return UpstreamFailed("away")
        return by_rule(messages)

    chat.answer = answer
    failed = await run(world, api, dataset_id)
    assert failed.state == "failed"
    assert "away" in failed.progress_msg
    assert ABANDONED.format(3) in failed.progress_msg
    assert set(names(await shown(api, dataset_id))) == {"ADA LOVELACE", "ENGINE"}

    fails = False
    asked = len(chat.asked)
    done = await run(world, api, dataset_id)

    assert done.state == "done"
    [last] = chat.asked[asked:]
    assert "Babbage" in last[1].content
    assert len(last) == 4, "the first answer was kept; only the follow-up was asked again"
    assert "CHARLES BABBAGE" in names(await shown(api, dataset_id))


@pytest.mark.promise("5.11-resumes")
async def test_a_document_the_model_refuses_keeps_nobody_else_out(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, BABBAGE, ADA)

    def answer(messages: Sequence[ChatMessage]) -> str | Exception:
        return UpstreamRefused("too rude") if "Babbage" in messages[1].content else by_rule(messages)

    chat.answer = answer
    done = await run(world, api, dataset_id)

    assert done.state == "done"
    assert "0.txt: refused by the model: too rude" in done.progress_msg
    assert "1 documents were refused by the model." in done.progress_msg
    assert set(names(await shown(api, dataset_id))) == {"ADA LOVELACE", "ENGINE"}


@pytest.mark.promise("5.11-resumes")
async def test_a_failing_embedding_model_leaves_the_old_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    before = await shown(api, dataset_id)
    [more] = await upload(api, dataset_id, ("more.txt", BABBAGE))
    await parse(api, dataset_id, more["id"])
    await world.work()

    world.embedding.fails_with = UpstreamFailed("no vectors")
    failed = await run(world, api, dataset_id)
    assert failed.state == "failed"
    assert (await shown(api, dataset_id))["nodes"] == before["nodes"]

    world.embedding.fails_with = None
    asked = len(chat.asked)
    assert (await run(world, api, dataset_id)).state == "done"
    assert len(chat.asked) == asked
    assert "CHARLES BABBAGE" in names(await shown(api, dataset_id))


@pytest.mark.promise("5.11-resumes")
async def test_a_killed_worker_pays_for_nothing_twice(
    world: World, api: Api, chat: RuleChatModel, tmp_path: Path
) -> None:
    """kill -9 in mid-document; another worker goes on with the answers that were kept."""
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    await queue(world, api, dataset_id)
    command = [sys.executable, "-m", "tests.knowledge.graph_process", world.urls.app, (tmp_path / "b").as_uri()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as doomed:  # noqa: ASYNC220
        assert doomed.stdout is not None
        with anyio.fail_after(60):
            while (line := await anyio.to_thread.run_sync(doomed.stdout.readline)) != b"hanging\n":
                assert line, "the worker ended"

        async def ada_is_kept() -> bool:
            return bool(await world.rows(api, "SELECT 1 FROM graph_documents"))

        await until(ada_is_kept)
        doomed.kill()
    running = await job(world, api, dataset_id)
    assert running.state == "running"

    async with working(world.worker_parts()):
        await until(lambda: _is_done(world, api, dataset_id))

    assert [len(talk) for talk in chat.asked] == [4], "only the question that hung is asked again"
    assert set(names(await shown(api, dataset_id))) == {"ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"}
    [paid] = await world.rows(
        api, "SELECT count(*) AS calls FROM usage_ledger WHERE purpose = 'graph' AND kind = 'chat'"
    )
    assert paid.calls == 4


async def _is_done(world: World, api: Api, dataset_id: str) -> bool:
    return bool((await job(world, api, dataset_id)).state == "done")


class Waiting(RuleChatModel):
    """Answers one document and waits for ever on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.left = anyio.Event()

    async def before(self) -> None:
        if "Babbage" in self.asked[-1][1].content:
            try:
                await anyio.sleep_forever()
            finally:
                self.left.set()


@pytest.mark.promise("5.11-cancel")
async def test_a_cancelled_job_ends_at_once_and_writes_nothing_more(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    waiting = Waiting()
    with_chat(world, waiting)
    await queue(world, api, dataset_id)

    async def has_ada() -> bool:
        return bool(await world.rows(api, "SELECT 1 FROM graph_documents"))

    async with working(world.worker_parts()):
        await until(has_ada)
        async with world.database.unit(api.tenant_id) as unit:
            assert await unit.jobs.cancel(GRAPH, [dataset_id])
            await unit.notify("parley_jobs", "cancelled")
        with anyio.fail_after(10):
            await waiting.left.wait()

    assert (await job(world, api, dataset_id)).state == "cancelled"
    assert await shown(api, dataset_id) == {}


class Deleting(RuleChatModel):
    """Calls `first` when it is asked for the first time."""

    first: Any = None

    async def before(self) -> None:
        if self.first is not None:
            act, self.first = self.first, None
            await act()


@pytest.mark.promise("2.5-graph-share")
async def test_a_document_deleted_while_it_is_read_leaves_no_share(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    model = Deleting()
    model.first = lambda: api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})
    with_chat(world, model)

    done = await run(world, api, dataset_id)

    assert done.state == "done"
    assert "0.txt: was changed or deleted meanwhile." in done.progress_msg
    assert set(names(await shown(api, dataset_id))) == {"CHARLES BABBAGE", "ENGINE"}


class DeletingVectors:
    """An embedding model in whose first call something happens."""

    name, provider, dimensions = "scripted-embedding", "builtin", 64

    def __init__(self, world: World, first: Any) -> None:
        self._inner = world.embedding
        self._first = first

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        if self._first is not None:
            act, self._first = self._first, None
            await act()
        return await self._inner.embed(texts, deadline_s=deadline_s)


@pytest.mark.promise("2.5-graph-share", "5.11-lock")
async def test_a_document_deleted_while_the_graph_is_built_leaves_no_share(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    delete = lambda: api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})  # noqa: E731
    world.models["scripted-embedding"] = DeletingVectors(world, delete)
    with_chat(world, chat)  # models are built once

    done = await run(world, api, dataset_id)

    assert done.state == "done"
    assert set(names(await shown(api, dataset_id))) == {"CHARLES BABBAGE", "ENGINE"}
    assert not await world.rows(api, "SELECT 1 FROM graph_relations WHERE description LIKE '%described%'")


@pytest.mark.promise("5.11-lock")
async def test_the_graph_is_stored_under_a_lock_of_its_dataset(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await queue(world, api, dataset_id)

    async def waits() -> bool:
        waiting = await world.rows(api, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(waiting)

    async with working(world.worker_parts()):
        async with world.database.unit(api.tenant_id) as unit:
            await unit.graph.lock(dataset_id)  # type: ignore[arg-type]
            await until(waits)
            assert await shown(api, dataset_id) == {}
        await until(lambda: _is_done(world, api, dataset_id))
    assert len(names(await shown(api, dataset_id))) == 2


@pytest.mark.promise("5.11-resolution", "5.11-resolution-batches")
async def test_names_that_mean_the_same_become_one(world: World, api: Api, chat: RuleChatModel) -> None:
    alike = ADA.replace(b"Ada Lovelace", b"Ada Lovelase")
    dataset_id, documents = await ready(world, api, ADA, ADA + b"\nmore", alike, resolution=True)

    done = await run(world, api, dataset_id)

    assert "1 names mean the same as others." in done.progress_msg
    graph = await shown(api, dataset_id)
    assert set(names(graph)) == {"ADA LOVELACE", "ENGINE"}
    assert set(names(graph)["ADA LOVELACE"]["source_id"]) == set(documents)
    assert graph["edges"][0]["weight"] == 24.0


@pytest.mark.promise("5.11-communities")
async def test_communities_are_reported_on(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE, community=True)

    done = await run(world, api, dataset_id)

    rows = await world.rows(api, "SELECT title, report, findings, weight, entities FROM graph_communities")
    assert [(row.title, row.report, row.findings, row.weight) for row in rows] == [
        ("The engine people", "They built it.", ["It ran."], 7.0)
    ]
    assert rows[0].entities == ["ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"]
    assert "1 community reports" in done.progress_msg


async def test_without_the_options_nobody_is_asked_about_names_and_communities(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA, ADA.replace(b"Ada", b"Adah"))

    await run(world, api, dataset_id)

    assert all(talk[0].role == "system" for talk in chat.asked)
    assert not await world.rows(api, "SELECT 1 FROM graph_communities")


@pytest.mark.promise("5.11-types-only", "5.11-options")
async def test_the_types_of_the_dataset_are_asked_for(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, entity_types=["category"])

    await run(world, api, dataset_id)

    graph = await shown(api, dataset_id)
    assert (set(names(graph)), graph["edges"]) == ({"ENGINE"}, [])
    assert "of these types: category." in chat.asked[0][0].content


@pytest.mark.promise("5.9-types")
async def test_a_document_of_the_method_knowledge_graph_has_its_own_types(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.txt", ADA.replace(b"category", b"time")))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    await api.ok("PUT", path, json={"chunk_method": "knowledge_graph"})
    await parse(api, dataset["id"], document["id"])
    await world.work()

    await run(world, api, dataset["id"])

    assert "of these types: organization, person, location, event, time." in chat.asked[0][0].content
    assert set(names(await shown(api, dataset["id"]))) == {"ADA LOVELACE", "ENGINE"}


async def test_a_dataset_of_nothing_parsed_makes_an_empty_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset = await make_dataset(api)
    await upload(api, dataset["id"], ("a.txt", ADA))

    done = await run(world, api, dataset["id"])

    assert (done.state, chat.asked) == ("done", [])
    assert await shown(api, dataset["id"]) == {}


@pytest.mark.promise("5.11-garbage")
@pytest.mark.parametrize("garbage", ["", "I would rather not.", "ENTITY<|><|><|>\x00", "{" * 10_000, "ENTITY<|>" * 500])
async def test_garbage_of_the_model_makes_an_empty_graph(
    world: World, api: Api, chat: RuleChatModel, garbage: str
) -> None:
    dataset_id, _ = await ready(world, api, ADA, community=True, resolution=True)
    chat.answer = saying(garbage)

    assert (await run(world, api, dataset_id)).state == "done"
    assert await shown(api, dataset_id) == {}
