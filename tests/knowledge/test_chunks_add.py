"""Chunks added through the API (knowledge.md 3.1, 0.5, 5.1)."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import xxhash

from app.domain.errors import UpstreamFailed
from app.ingest.embedding import blend
from app.llm.tokens import ApproximateTokenCounter
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parsed, shown, upload


@pytest.fixture
async def path(api: Api) -> str:
    """The chunks of a document nobody parsed."""
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("ragflow_test_upload_0.txt", b"This is a file."))
    return f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"


def ids(path: str) -> tuple[str, str]:
    _, _, dataset_id, _, document_id, _ = path.split("/")
    return dataset_id, document_id


async def vector(world: World, api: Api, chunk_id: str) -> list[float]:
    [row] = await world.rows(api, "SELECT CAST(embedding AS text) AS v FROM chunks WHERE id = :id", id=chunk_id)
    return [float(each) for each in row.v.strip("[]").split(",")]


@pytest.mark.promise("3.1-answer", "0.5-chunk-id", "0.5-chunk-times")
async def test_an_added_chunk_is_told_as_it_was_stored(api: Api, path: str) -> None:
    dataset_id, document_id = ids(path)
    sent = {"content": "who are you", "important_keywords": ["a", "a"], "questions": [" who? ", " "], "odd": 1}

    before = time.time()
    answer = await api.raw("POST", path, json=sent)
    after = time.time()
    chunk = answer.json()["data"]["chunk"]

    assert answer.json() == {"code": 0, "data": {"chunk": chunk}}
    assert chunk == {
        "id": xxhash.xxh64(("who are you" + document_id).encode()).hexdigest(),
        "content": "who are you",
        "dataset_id": dataset_id,
        "document_id": document_id,
        "important_keywords": ["a", "a"],
        "questions": ["who?"],
        "create_time": chunk["create_time"],
        "create_timestamp": chunk["create_timestamp"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", chunk["create_time"])
    assert isinstance(chunk["create_timestamp"], float)
    assert before <= chunk["create_timestamp"] <= after
    told = datetime.strptime(chunk["create_time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert told.timestamp() == int(chunk["create_timestamp"])
    stored = await api.ok("GET", f"{path}/{chunk['id']}")
    for name in ("content", "important_keywords", "questions"):
        assert stored[name] == chunk[name]


@pytest.mark.promise("3.1-same-text-twice", "3.1-counters")
async def test_the_same_text_twice_counts_twice_and_is_listed_once(world: World, api: Api, path: str) -> None:
    dataset_id, document_id = ids(path)
    first = await api.ok("POST", path, json={"content": "chunk test", "important_keywords": ["old"]})
    once = await shown(api, dataset_id, document_id)
    second = await api.ok("POST", path, json={"content": "chunk test", "questions": ["new?"]})
    twice = await shown(api, dataset_id, document_id)

    assert first["chunk"]["id"] == second["chunk"]["id"]
    assert first["chunk"]["create_timestamp"] < second["chunk"]["create_timestamp"]
    assert (once["chunk_count"], twice["chunk_count"]) == (1, 2)
    assert once["token_count"] == ApproximateTokenCounter().count("chunk test")
    assert twice["token_count"] == 2 * once["token_count"]
    listed = await api.ok("GET", path)
    assert listed["total"] == 1
    [chunk] = listed["chunks"]
    assert (chunk["important_keywords"], chunk["questions"]) == ([], ["new?"])
    assert (await api.ok("GET", f"/datasets/{dataset_id}"))["chunk_count"] == 2
    await assert_exact_counters(world, api)

    await api.ok("DELETE", path, json={"chunk_ids": [chunk["id"]]})
    gone = await shown(api, dataset_id, document_id)
    assert (gone["chunk_count"], gone["token_count"]) == (0, 0)
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.1-vector")
async def test_the_vector_is_of_the_questions_or_the_content_with_a_tenth_of_the_name(
    world: World, api: Api, path: str
) -> None:
    plain = (await api.ok("POST", path, json={"content": "alpha beta"}))["chunk"]["id"]
    asked = (await api.ok("POST", path, json={"content": "gamma", "questions": ["one two", " three "]}))["chunk"]["id"]
    name = world.embedding.vector("ragflow_test_upload_0.txt")

    expected = blend(name, world.embedding.vector("alpha beta"), 0.1)
    assert await vector(world, api, plain) == pytest.approx(expected, abs=1e-5)
    expected = blend(name, world.embedding.vector("one two\nthree"), 0.1)
    assert await vector(world, api, asked) == pytest.approx(expected, abs=1e-5)


@pytest.mark.promise("3.1-no-title-no-position")
async def test_an_added_chunk_has_no_place_and_no_words_of_the_files_name(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("ragflow_upload.txt", b"The text of it."))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    await api.ok("POST", path, json={"content": "another one"})

    [found] = (await api.ok("GET", path, params={"keywords": "ragflow"}))["chunks"]
    assert found["positions"] == [[1, 0, 0, 0, 0]]
    [added] = (await api.ok("GET", path, params={"keywords": "another"}))["chunks"]
    assert added["positions"] == []


@pytest.mark.promise("3.1-parsed-text-again")
async def test_adding_the_text_of_a_parsed_chunk_keeps_its_place(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("ragflow_upload.txt", b"The text of it."))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    [before] = (await api.ok("GET", path))["chunks"]
    await api.ok("POST", path, json={"content": before["content"], "important_keywords": ["kept"]})

    [after] = (await api.ok("GET", path, params={"keywords": "ragflow"}))["chunks"]
    assert after["id"] == before["id"]
    assert (after["positions"], after["important_keywords"]) == (before["positions"], ["kept"])
    assert (await shown(api, dataset["id"], document["id"]))["chunk_count"] == 2
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.1-content", "3.1-lists", "0.7-wrong-types-are-refusals")
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "`content` is required"),
        ({"content": ""}, "`content` is required"),
        ({"content": " \n"}, "`content` is required"),
        ({"content": None}, "`content` is required"),
        ({"content": 7}, "`content` should be a string"),
        ({"content": "x", "important_keywords": "a"}, "`important_keywords` is required to be a list"),
        ({"content": "x", "important_keywords": None}, "`important_keywords` is required to be a list"),
        ({"content": "x", "important_keywords": ["a", 1]}, "`important_keywords` must be a list of strings"),
        ({"content": "x", "questions": "a"}, "`questions` is required to be a list"),
        ({"content": "x", "questions": None}, "`questions` is required to be a list"),
        ({"content": "x", "questions": ["a", 1]}, "`questions` must be a list of strings"),
        ({"content": "x", "tag_kwd": ["a", 1]}, "`tag_kwd` must be a list of strings"),
        ({"content": "x", "tag_feas": {"a": "b"}}, "`tag_feas` must be an object of tags and their weights"),
        ({"content": "a\x00b"}, "Text must not contain NUL characters"),
    ],
)
async def test_wrong_fields_are_refused_and_nothing_is_stored(
    world: World, api: Api, path: str, sent: Any, message: str
) -> None:
    assert await api.refusal("POST", path, json=sent) == invalid(message)
    assert await world.rows(api, "SELECT 1 FROM chunks") == []
    assert world.embedding.calls == []


@pytest.mark.promise("0.7-wrong-types-are-refusals", "3.1-content", "3.4-switch-refusals")
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}])
async def test_a_body_that_is_no_object_is_refused(world: World, api: Api, path: str, headers: dict[str, str]) -> None:
    for method in ("POST", "PATCH"):
        for content in (b"", b"null", b"[]", b"{", b"7", b'"x"', b"\xff"):
            answer = await api.raw(method, path, content=content, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, 102), (method, content)
            assert (answer.json()["data"], bool(answer.json()["message"])) == (None, True)
    assert await world.rows(api, "SELECT 1 FROM chunks") == []


@pytest.mark.promise("0.4-media-type-ignored")
async def test_the_media_type_of_a_body_does_not_matter(api: Api, path: str) -> None:
    for number, kind in enumerate(("text/plain", "application/x-www-form-urlencoded", "application/octet-stream")):
        headers = {"Content-Type": kind}
        added = await api.ok("POST", path, content=b'{"content": "old %d"}' % number, headers=headers)
        chunk_id = added["chunk"]["id"]
        await api.ok("PUT", f"{path}/{chunk_id}", content=b'{"content": "new"}', headers=headers)
        switched = b'{"chunk_ids": ["%s"], "available": false}' % chunk_id.encode()
        assert await api.ok("PATCH", path, content=switched, headers=headers) is True
        stored = await api.ok("GET", f"{path}/{chunk_id}")
        assert (stored["content"], stored["available"]) == ("new", False)
        await api.ok("DELETE", path, content=b'{"chunk_ids": ["%s"]}' % chunk_id.encode(), headers=headers)
        assert (await api.ok("GET", path))["total"] == 0


@pytest.mark.promise("3.1-access")
async def test_the_dataset_is_looked_for_first_and_then_the_document(api: Api, rival: Api, path: str) -> None:
    dataset_id, document_id = ids(path)
    elsewhere = f"/datasets/nope/documents/{document_id}/chunks"

    assert await api.refusal("POST", elsewhere, json={}) == missing("You don't own the dataset nope.")
    assert await api.refusal("POST", f"/datasets/{dataset_id}/documents/nope/chunks", json={}) == missing(
        "You don't own the document nope."
    )
    assert await rival.refusal("POST", path, json={"content": "x"}) == missing(
        f"You don't own the dataset {dataset_id}."
    )
    for caller in (api, rival):
        other = path.replace(dataset_id, (await make_dataset(caller))["id"])
        assert await caller.refusal("POST", other, json={"content": "x"}) == missing(
            f"You don't own the document {document_id}."
        )
    assert (await api.ok("GET", path))["total"] == 0


@pytest.mark.promise("3.1-tags")
async def test_tags_are_stored_and_listed(api: Api, path: str) -> None:
    sent = {"content": "x", "tag_kwd": ["ship", "sea"], "tag_feas": {"ship": 3, "sea": 0.5}}
    added = await api.ok("POST", path, json=sent)
    assert (added["chunk"]["tag_kwd"], added["chunk"]["tag_feas"]) == (["ship", "sea"], {"ship": 3, "sea": 0.5})
    [listed] = (await api.ok("GET", path))["chunks"]
    assert (listed["tag_kwd"], listed["tag_feas"]) == (["ship", "sea"], {"ship": 3, "sea": 0.5})


@pytest.mark.promise("3.1-visible-at-once")
async def test_a_search_finds_what_was_added_and_not_what_was_deleted(api: Api, path: str) -> None:
    dataset_id, _ = ids(path)
    chunk = (await api.ok("POST", path, json={"content": "a zeppelin over the town"}))["chunk"]
    asked = {"question": "zeppelin", "dataset_ids": [dataset_id]}

    assert [hit["id"] for hit in (await api.ok("POST", "/retrieval", json=asked))["chunks"]] == [chunk["id"]]
    await api.ok("PATCH", f"{path}/{chunk['id']}", json={"content": "a submarine under the town"})
    asked["question"] = "submarine"
    [hit] = (await api.ok("POST", "/retrieval", json=asked))["chunks"]
    assert hit["content"] == "a submarine under the town"
    asked["question"] = "zeppelin"
    assert (await api.ok("POST", "/retrieval", json=asked | {"vector_similarity_weight": 0}))["chunks"] == []
    asked["question"] = "submarine"
    await api.ok("PATCH", path, json={"chunk_ids": [chunk["id"]], "available": False})
    assert (await api.ok("POST", "/retrieval", json=asked))["chunks"] == []
    await api.ok("PATCH", path, json={"chunk_ids": [chunk["id"]], "available": True})
    assert len((await api.ok("POST", "/retrieval", json=asked))["chunks"]) == 1
    await api.ok("POST", path, json={"content": "a tram through the town"})
    await api.ok("DELETE", path, json={"chunk_ids": [chunk["id"]]})
    assert (await api.ok("POST", "/retrieval", json=asked))["chunks"] == []


@pytest.mark.promise("3.1-ledger")
async def test_the_ledger_tells_of_the_model_call(world: World, api: Api, path: str) -> None:
    await api.ok("POST", path, json={"content": "one two three"})
    [key] = await world.rows(api, "SELECT id FROM api_keys")
    [row] = await world.rows(api, "SELECT kind, purpose, model, prompt_tokens, api_key_id FROM usage_ledger")
    assert (row.kind, row.purpose, row.model) == ("embedding", "ingest", "scripted-embedding")
    assert row.prompt_tokens > 3
    assert row.api_key_id == key.id


@pytest.mark.promise("3.1-no-transaction-while-a-model-is-asked")
async def test_no_connection_is_held_while_the_model_is_asked(world: World, api: Api, path: str) -> None:
    held: list[int] = []
    embed = world.embedding.embed

    async def watching(texts: Any, *, deadline_s: float) -> Any:
        held.append(world.database.connections_in_use)
        return await embed(texts, deadline_s=deadline_s)

    world.embedding.embed = watching  # type: ignore[method-assign]
    chunk = (await api.ok("POST", path, json={"content": "x"}))["chunk"]
    await api.ok("PUT", f"{path}/{chunk['id']}", json={"content": "y"})
    assert held == [0, 0]


@pytest.mark.promise("3.1-model-failure")
async def test_a_model_that_fails_leaves_nothing_behind(world: World, api: Api, path: str) -> None:
    world.embedding.fails_with = UpstreamFailed("The model is away.")
    assert await api.refusal("POST", path, json={"content": "x"}) == (500, 500, "The model is away.")
    assert await world.rows(api, "SELECT 1 FROM chunks") == []
    await assert_exact_counters(world, api)

    world.embedding.fails_with = None
    chunk = (await api.ok("POST", path, json={"content": "x"}))["chunk"]
    before = await api.ok("GET", f"{path}/{chunk['id']}")
    world.embedding.fails_with = UpstreamFailed("The model is away.")
    sent = {"content": "y", "important_keywords": ["k"], "available": False}
    assert await api.refusal("PUT", f"{path}/{chunk['id']}", json=sent) == (500, 500, "The model is away.")
    assert await api.ok("GET", f"{path}/{chunk['id']}") == before
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.1-truncated-input")
async def test_a_chunk_that_no_model_takes_in_whole_is_cut_for_its_vector_only(
    world: World, api: Api, path: str
) -> None:
    tokens, content = ApproximateTokenCounter(), "long words " * 5000
    chunk = (await api.ok("POST", path, json={"content": content}))["chunk"]
    await api.ok("PUT", f"{path}/{chunk['id']}", json={"content": content + "!"})
    assert (await api.ok("GET", f"{path}/{chunk['id']}"))["content"] == content + "!"
    seen = [text for texts in world.embedding.calls for text in texts if "long words" in text]
    assert len(seen) == 2
    assert all(7000 < tokens.count(text) <= 8182 for text in seen)


@pytest.mark.promise("3.1-concurrent")
async def test_many_calls_with_the_same_text_make_one_chunk_and_count_each(world: World, api: Api, path: str) -> None:
    dataset_id, document_id = ids(path)
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(lambda: api.ok("POST", path, json={"content": "the same"}))

    assert (await api.ok("GET", path))["total"] == 1
    assert (await shown(api, dataset_id, document_id))["chunk_count"] == 8
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.1-html-table-tags")
async def test_table_tags_are_kept_but_not_searched(api: Api, path: str) -> None:
    content = "<table><tr><td>herring</td><td>4</td></tr></table>"
    await api.ok("POST", path, json={"content": content})
    assert (await api.ok("GET", path, params={"keywords": "table"}))["total"] == 0
    assert (await api.ok("GET", path, params={"keywords": "herring"}))["total"] == 1
    assert (await api.ok("GET", path))["chunks"][0]["content"] == content


@pytest.mark.promise("3.1-any-writing")
@pytest.mark.parametrize("content", ["日本語の文章です。", "Ünïcödé 🚢 text", "‮right to left", "x" * 100_000])
async def test_any_text_is_taken(api: Api, path: str, content: str) -> None:
    chunk = (await api.ok("POST", path, json={"content": content, "questions": [content[:50]]}))["chunk"]
    stored = await api.ok("GET", f"{path}/{chunk['id']}")
    assert (chunk["content"], stored["content"]) == (content, content)
    assert chunk["questions"] == stored["questions"] == [content[:50]]
