"""Counters of chunks are exact whatever happens in whatever order (knowledge.md 3.1, 3.4, 0.5)."""

import random
from typing import Any

import anyio
import pytest

from tests.chats.world import Api
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, shown, upload

TEXT = b"# One\n\nfirst text\n\n# Two\n\nsecond text\n"


async def _document(api: Api) -> tuple[str, str, str]:
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.md", TEXT))
    return dataset["id"], document["id"], f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"


@pytest.mark.promise("3.4-counters", "3.1-counters")
@pytest.mark.parametrize("seed", range(3))
async def test_any_sequence_of_calls_leaves_exact_counters(world: World, api: Api, seed: int) -> None:
    choice = random.Random(seed)  # noqa: S311
    dataset_id, document_id, path = await _document(api)

    async def ids() -> list[str]:
        return [chunk["id"] for chunk in (await api.ok("GET", path, params={"page_size": 100}))["chunks"]]

    async def one(action: str) -> None:
        known = await ids()
        match action:
            case "add":
                await api.ok("POST", path, json={"content": "word " * choice.randint(1, 4)})
            case "change" if known:
                await api.ok("PUT", f"{path}/{choice.choice(known)}", json={"content": "other " * choice.randint(1, 9)})
            case "delete" if known:
                await api.ok("DELETE", path, json={"chunk_ids": choice.sample(known, choice.randint(1, len(known)))})
            case "delete all":
                await api.ok("DELETE", path, json={})
            case "parse":
                await parse(api, dataset_id, document_id)
                if choice.random() < 0.5:
                    await api.ok("POST", path, json={"content": "while it waits"})
                await world.work()
            case _:
                pass

    actions = ["add"] * 6 + ["change"] * 3 + ["delete"] * 2 + ["delete all", "parse"]
    for _ in range(25):
        await one(choice.choice(actions))
        await assert_exact_counters(world, api)
    rows = await world.rows(api, "SELECT COALESCE(sum(additions), 0) AS added FROM chunks")
    assert (await shown(api, dataset_id, document_id))["chunk_count"] == rows[0].added


@pytest.mark.promise("3.1-while-parsing")
async def test_what_is_added_while_a_document_is_parsed_stays_and_counts(world: World, api: Api) -> None:
    dataset_id, document_id, path = await _document(api)
    await parse(api, dataset_id, document_id)
    await api.ok("POST", path, json={"content": "added meanwhile"})
    await api.ok("POST", path, json={"content": "# One\nfirst text"})
    await world.work()

    document = await shown(api, dataset_id, document_id)
    listed = await api.ok("GET", path)
    assert document["run"] == "DONE"
    assert "added meanwhile" in [chunk["content"] for chunk in listed["chunks"]]
    assert document["chunk_count"] == listed["total"]
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.1-while-parsing")
async def test_adding_changing_and_deleting_while_workers_parse_never_drifts(world: World, api: Api) -> None:
    dataset_id, document_id, path = await _document(api)

    async def add(number: int) -> None:
        for text in (f"added {number}", "# One\nfirst text", "# Two\nsecond text"):
            await api.ok("POST", path, json={"content": text})

    async def delete() -> None:
        for _ in range(4):
            answer = await api.raw("DELETE", path, json={})
            assert answer.status_code == 200, answer.text

    async def again() -> None:
        for _ in range(3):
            answer: Any = await api.raw("POST", f"/datasets/{dataset_id}/chunks", json={"document_ids": [document_id]})
            assert answer.status_code in (200, 400), answer.text
            await world.work()

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again)
            tasks.start_soon(delete)
            for number in range(3):
                tasks.start_soon(add, number)
    await world.work()
    assert (await shown(api, dataset_id, document_id))["run"] == "DONE"
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.1-document-gone-meanwhile")
async def test_a_document_deleted_while_the_model_thinks_is_missing_and_the_call_is_charged(
    world: World, api: Api
) -> None:
    dataset_id, document_id, path = await _document(api)
    embed = world.embedding.embed

    async def slow(texts: Any, *, deadline_s: float) -> Any:
        found = await embed(texts, deadline_s=deadline_s)
        await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [document_id]})
        return found

    world.embedding.embed = slow  # type: ignore[method-assign]
    status, _, message = await api.refusal("POST", path, json={"content": "x"})
    assert (status, message) == (404, f"You don't own the document {document_id}.")
    assert len(await world.rows(api, "SELECT 1 FROM usage_ledger")) == 1
    assert await world.rows(api, "SELECT 1 FROM chunks") == []
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.1-touches")
async def test_adding_and_deleting_touch_document_and_dataset(api: Api) -> None:
    dataset_id, document_id, path = await _document(api)
    before = await shown(api, dataset_id, document_id)
    await api.ok("POST", path, json={"content": "x"})
    added = await shown(api, dataset_id, document_id)
    dataset = await api.ok("GET", f"/datasets/{dataset_id}")
    await api.ok("DELETE", path, json={})
    deleted = await shown(api, dataset_id, document_id)

    assert before["update_time"] < added["update_time"] < deleted["update_time"]
    assert dataset["update_time"] >= added["update_time"]
    assert (await api.ok("GET", f"/datasets/{dataset_id}"))["update_time"] >= deleted["update_time"]
