"""Chunks changed through the API (knowledge.md 3.3)."""

from typing import Any

import anyio
import pytest

from app.ingest.embedding import blend
from tests.chats.world import Api, invalid, missing
from tests.knowledge.test_chunks_add import vector
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parsed, shown, upload


@pytest.fixture
async def chunk(api: Api) -> str:
    """The path of a chunk of a document nobody parsed."""
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("note.txt", b"x"))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    sent = {"content": "old words", "important_keywords": ["kept"], "questions": ["asked?"]}
    return f"{path}/{(await api.ok('POST', path, json=sent))['chunk']['id']}"


@pytest.mark.promise("3.3-fields", "3.3-id-stays", "3.3-patch-and-put")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_is_sent_changes_and_the_rest_stays(world: World, api: Api, chunk: str, method: str) -> None:
    expected = await api.ok("GET", chunk)
    changes: list[tuple[str, Any, Any]] = [
        ("content", "brand new words here", "brand new words here"),
        ("important_keywords", ["k", "k"], ["k", "k"]),
        ("questions", [" q ", ""], ["q"]),
        ("available", 0, False),
        ("positions", [[2, 1, 2, 3, 4]], [[2, 1, 2, 3, 4]]),
        ("tag_kwd", ["t"], ["t"]),
        ("tag_feas", {"t": 2}, {"t": 2}),
    ]
    for name, sent, stored in changes:
        answer = await api.raw(method, chunk, json={name: sent, "odd": 1})
        assert (answer.status_code, answer.json()) == (200, {"code": 0, "data": None})
        expected |= {name: stored}
        assert await api.ok("GET", chunk) == expected, name
    await api.ok(method, chunk, json={"important_keywords": [], "questions": [], "available": True, "content": "again"})
    expected |= {"important_keywords": [], "questions": [], "available": True, "content": "again"}
    assert await api.ok("GET", chunk) == expected
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.3-nothing-sent")
@pytest.mark.parametrize("sent", [{}, {"odd": 1}])
async def test_nothing_known_changes_nothing_and_asks_no_model(world: World, api: Api, chunk: str, sent: Any) -> None:
    before, calls = await api.ok("GET", chunk), len(world.embedding.calls)
    await api.ok("PUT", chunk, json=sent)
    assert await api.ok("GET", chunk) == before
    assert len(world.embedding.calls) == calls


@pytest.mark.promise("3.3-vector")
async def test_the_vector_follows_the_content_or_the_questions_of_this_call(world: World, api: Api, chunk: str) -> None:
    chunk_id, name = chunk.rpartition("/")[2], world.embedding.vector("note.txt")

    async def is_of(text: str) -> None:
        expected = blend(name, world.embedding.vector(text), 0.1)
        assert await vector(world, api, chunk_id) == pytest.approx(expected, abs=1e-5)

    await is_of("asked?")
    await api.ok("PUT", chunk, json={"content": "other words"})
    await is_of("other words")
    await api.ok("PUT", chunk, json={"questions": ["how", "why"]})
    await is_of("how\nwhy")
    await api.ok("PUT", chunk, json={"available": False, "important_keywords": ["x"]})
    await is_of("how\nwhy")
    await api.ok("PUT", chunk, json={"questions": []})
    await is_of("other words")


@pytest.mark.promise("3.3-words")
async def test_the_text_search_follows(api: Api, chunk: str) -> None:
    path = chunk.rpartition("/")[0]

    async def hits(word: str) -> int:
        total: int = (await api.ok("GET", path, params={"keywords": word}))["total"]
        return total

    await api.ok("PUT", chunk, json={"content": "zebra", "important_keywords": ["lion"], "questions": ["tiger?"]})
    assert [await hits(word) for word in ("zebra", "lion", "tiger", "old", "kept", "asked", "note")] == [
        1, 1, 1, 0, 0, 0, 0,
    ]  # fmt: skip


@pytest.mark.promise("3.3-title-stays")
async def test_a_parsed_chunk_is_still_found_by_its_files_name(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("ragflow_upload.txt", b"Some text."))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    [chunk] = (await api.ok("GET", path))["chunks"]
    await api.ok("PUT", f"{path}/{chunk['id']}", json={"content": "Other text."})

    [found] = (await api.ok("GET", path, params={"keywords": "ragflow"}))["chunks"]
    assert (found["id"], found["content"]) == (chunk["id"], "Other text.")
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.3-blank-content")
async def test_a_blank_content_is_stored(world: World, api: Api, chunk: str) -> None:
    for blank in (" ", ""):
        await api.ok("PUT", chunk, json={"content": blank})
        assert (await api.ok("GET", chunk))["content"] == blank
        await assert_exact_counters(world, api)


@pytest.mark.promise("3.3-wrong-fields")
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"content": None}, "`content` should be a string"),
        ({"content": ["x"]}, "`content` should be a string"),
        ({"important_keywords": "x"}, "`important_keywords` should be a list"),
        ({"important_keywords": None}, "`important_keywords` should be a list"),
        ({"important_keywords": ["a", 1]}, "`important_keywords` must be a list of strings"),
        ({"questions": {}}, "`questions` should be a list"),
        ({"questions": ["a", None]}, "`questions` must be a list of strings"),
        ({"positions": "x"}, "`positions` should be a list"),
        ({"positions": [[1, 2, 3, 4]]}, "each of `positions` should be five integers: page, left, right, top, bottom"),
        ({"positions": [[2**40, 0, 0, 0, 0]]}, "each of `positions` should be five integers: page, left, right, top, "
         "bottom"),
        ({"available": "word"}, "`available` should be true or false"),
        ({"available": None}, "`available` should be true or false"),
        ({"available": []}, "`available` should be true or false"),
        ({"tag_kwd": "x"}, "`tag_kwd` must be a list of strings"),
        ({"tag_feas": {"a": "b"}}, "`tag_feas` must be an object of tags and their weights"),
    ],
)  # fmt: skip
async def test_wrong_fields_change_nothing(api: Api, chunk: str, sent: Any, message: str) -> None:
    before = await api.ok("GET", chunk)
    assert await api.refusal("PUT", chunk, json={"content": "changed"} | sent) == invalid(message)
    assert await api.ok("GET", chunk) == before


@pytest.mark.promise("3.3-wrong-fields")
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}])
async def test_a_body_that_is_none_changes_nothing(api: Api, chunk: str, headers: dict[str, str]) -> None:
    before = await api.ok("GET", chunk)
    for content in (b"", b"[]", b"{", b"7", b"null"):
        answer = await api.raw("PUT", chunk, content=content, headers=headers)
        is_empty = content == b"null" and not headers  # what is no JSON by its media type counts as an empty object
        assert (answer.status_code, answer.json()["code"]) == ((200, 0) if is_empty else (400, 102)), content
    assert await api.ok("GET", chunk) == before


@pytest.mark.promise("3.3-available")
@pytest.mark.parametrize(
    ("sent", "is_available"),
    [(True, True), (False, False), (1, True), (0, False), ("0", False), ("1", True), (0.5, False), (2, True)],
)
async def test_available_is_a_whole_number_of_anything(api: Api, chunk: str, sent: Any, is_available: bool) -> None:
    await api.ok("PUT", chunk, json={"available": sent})
    assert (await api.ok("GET", chunk))["available"] is is_available


@pytest.mark.promise("3.3-order-of-checks")
async def test_the_chunk_is_looked_for_first(api: Api, rival: Api, chunk: str) -> None:
    _, _, dataset_id, _, document_id, _, chunk_id = chunk.split("/")
    other = (await make_dataset(api))["id"]
    body = {"json": {"content": 7}}

    unknown = f"/datasets/nope/documents/nope/chunks/{'0' * 16}"
    assert await api.refusal("PUT", unknown, **body) == missing(f"Can't find this chunk {'0' * 16}")
    elsewhere = chunk.replace(dataset_id, "nope")
    assert await api.refusal("PUT", elsewhere, **body) == missing("You don't own the dataset nope.")
    elsewhere = chunk.replace(document_id, "nope")
    assert await api.refusal("PUT", elsewhere, **body) == missing("You don't own the document nope.")
    elsewhere = chunk.replace(dataset_id, other)
    assert await api.refusal("PUT", elsewhere, **body) == missing(f"You don't own the document {document_id}.")
    [document] = await upload(api, dataset_id, ("other.txt", b"x"))
    elsewhere = chunk.replace(document_id, document["id"])
    assert await api.refusal("PUT", elsewhere, **body) == missing(f"Can't find this chunk {chunk_id}")
    assert await rival.refusal("PUT", chunk, **body) == missing(f"Can't find this chunk {chunk_id}")


@pytest.fixture
async def pair(api: Api) -> str:
    """The path of a chunk in a document of questions and answers."""
    dataset = await make_dataset(api, chunk_method="qa")
    [document] = await upload(api, dataset["id"], ("faq.txt", b"x"))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    return f"{path}/{(await api.ok('POST', path, json={'content': 'first'}))['chunk']['id']}"


@pytest.mark.promise("3.3-qa")
@pytest.mark.parametrize(
    ("sent", "stored", "asked", "answered"),
    [
        ("Who came?\tThe ferry.", "Question: Who came?\tAnswer: The ferry.", "came", "ferry"),
        ("Q: Who came?\nA: The ferry.", "Question: Who came?\tAnswer: The ferry.", "came", "ferry"),
        ("谁来了？\t渡轮。", "问题：谁来了？\t回答：渡轮。", "谁来了", "渡轮"),
    ],
)
async def test_a_pair_is_worded_and_found_by_its_question(
    world: World, api: Api, pair: str, sent: str, stored: str, asked: str, answered: str
) -> None:
    await api.ok("PUT", pair, json={"content": sent, "questions": ["unheard"]})
    assert (await api.ok("GET", pair))["content"] == stored
    path, _, chunk_id = pair.rpartition("/")
    expected = blend(world.embedding.vector("faq.txt"), world.embedding.vector(stored), 0.1)
    assert await vector(world, api, chunk_id) == pytest.approx(expected, abs=1e-5)
    assert (await api.ok("GET", path, params={"keywords": asked}))["total"] == 1
    assert (await api.ok("GET", path, params={"keywords": answered}))["total"] == 0
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.3-qa")
async def test_what_is_no_pair_is_refused(api: Api, pair: str) -> None:
    refusal = invalid("Q&A must be separated by TAB/ENTER key.")
    for sent in ("alone", "one\ttwo\tthree", "a\t \n", ""):
        assert await api.refusal("PUT", pair, json={"content": sent, "available": False}) == refusal, sent
    unchanged = await api.ok("GET", pair)
    assert (unchanged["content"], unchanged["available"]) == ("first", True)
    await api.ok("PUT", pair, json={"available": False})
    assert await api.ok("GET", pair) == unchanged | {"available": False}


@pytest.mark.promise("3.3-old-text-again")
async def test_the_old_text_added_again_takes_the_changed_chunks_place(world: World, api: Api, chunk: str) -> None:
    path, _, chunk_id = chunk.rpartition("/")
    await api.ok("PUT", chunk, json={"content": "new text, which is a good deal longer than the old one was"})
    added = await api.ok("POST", path, json={"content": "old words"})

    assert added["chunk"]["id"] == chunk_id
    assert [each["content"] for each in (await api.ok("GET", path))["chunks"]] == ["old words"]
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.3-concurrent")
async def test_calls_at_the_same_time_change_each_their_own_fields(world: World, api: Api, chunk: str) -> None:
    _, _, dataset_id, _, document_id, _, _ = chunk.split("/")
    changes: list[Any] = [{"content": "c" * 50}, {"important_keywords": ["k"]}, {"questions": ["q"]}, {"available": 0}]

    async def send(change: Any) -> None:
        await api.ok("PUT", chunk, json=change)

    async with anyio.create_task_group() as tasks:
        for change in changes:
            tasks.start_soon(send, change)

    after = await api.ok("GET", chunk)
    assert (after["content"], after["important_keywords"], after["questions"]) == ("c" * 50, ["k"], ["q"])
    assert after["available"] is False
    found = await api.ok("GET", chunk.rpartition("/")[0], params={"keywords": "k"})
    assert found["total"] == 1
    assert (await shown(api, dataset_id, document_id))["chunk_count"] == 1
    await assert_exact_counters(world, api)
