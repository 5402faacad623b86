"""Chunks listed and looked up (knowledge.md 3.2)."""

from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, make_dataset, parsed, shown, upload

FIXTURE = b"This is the content of a test TXT file."


@pytest.fixture
async def path(world: World, api: Api) -> str:
    """The suite's fixture: one parsed chunk, and four that were added."""
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("ragflow_test_upload_0.txt", FIXTURE))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    for number in range(4):
        await api.ok("POST", path, json={"content": f"chunk test {number}"})
    return path


async def contents(api: Api, path: str, **params: Any) -> list[str]:
    return [chunk["content"] for chunk in (await api.ok("GET", path, params=params))["chunks"]]


@pytest.mark.promise("3.2-suite-hits")
@pytest.mark.parametrize(("keywords", "hits"), [("chunk", 4), ("1", 1), ("ragflow", 1), ("unknown", 0), ("", 5)])
async def test_the_suites_words_have_the_suites_hits(api: Api, path: str, keywords: str, hits: int) -> None:
    found = await api.ok("GET", path, params={"keywords": keywords})
    assert (found["total"], len(found["chunks"])) == (hits, hits)


@pytest.mark.promise("3.2-answer", "3.2-item", "3.2-positions")
async def test_a_list_tells_the_total_the_chunks_and_the_document(api: Api, path: str) -> None:
    _, _, dataset_id, _, document_id, _ = path.split("/")
    found = await api.ok("GET", path)

    assert set(found) == {"total", "chunks", "doc"}
    assert (found["total"], len(found["chunks"])) == (5, 5)
    assert (found["doc"]["id"], found["doc"]["run"], found["doc"]["chunk_count"]) == (document_id, "DONE", 5)
    assert found["doc"] | {"title": None} == await shown(api, dataset_id, document_id)
    first = found["chunks"][0]
    assert first == {
        "id": first["id"],
        "content": FIXTURE.decode(),
        "document_id": document_id,
        "docnm_kwd": "ragflow_test_upload_0.txt",
        "dataset_id": dataset_id,
        "important_keywords": [],
        "questions": [],
        "image_id": "",
        "available": True,
        "positions": [[1, 0, 0, 0, 0]],
        "doc_type_kwd": "text",
        "tag_kwd": [],
        "tag_feas": {},
    }


@pytest.mark.promise("3.2-order", "3.2-positions")
async def test_parsed_chunks_come_in_reading_order_and_added_ones_last_newest_first(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    text = b"# One\n\nfirst text\n\n# Two\n\nsecond text\n\n# Three\n\nthird text\n"
    [document] = await parsed(world, api, dataset["id"], ("a.md", text))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    for number in range(2):
        await api.ok("POST", path, json={"content": f"added {number}"})

    chunks = (await api.ok("GET", path))["chunks"]
    assert [chunk["content"].split()[-2] for chunk in chunks] == ["first", "second", "third", "added", "added"]
    assert [chunk["content"] for chunk in chunks[3:]] == ["added 1", "added 0"]
    assert [chunk["positions"] for chunk in chunks] == [[[1, 0, 0, 0, 0]], [[2, 1, 1, 1, 1]], [[3, 2, 2, 2, 2]], [], []]

    places = ([10, 0, 0, 1, 1], [2, 8, 8, 9, 9], [2, 0, 0, 10, 10], None, [2, 0, 0, 9, 9])
    for chunk, place in zip(chunks, places, strict=True):
        if place is not None:
            await api.ok("PUT", f"{path}/{chunk['id']}", json={"positions": [place, [1, 1, 1, 1, 1]]})
    moved = [each.split()[-2:] for each in await contents(api, path)]
    assert moved == [["added", "0"], ["second", "text"], ["third", "text"], ["first", "text"], ["added", "1"]]


@pytest.mark.promise("3.2-paging")
async def test_pages(api: Api, path: str) -> None:
    everything = (await api.ok("GET", path, params={"page_size": 100}))["chunks"]
    asked: list[tuple[dict[str, Any], int, int]] = [
        ({}, 0, 5),
        ({"page": 1, "page_size": 2}, 0, 2),
        ({"page": 2, "page_size": 2}, 2, 4),
        ({"page": 3, "page_size": 2}, 4, 5),
        ({"page": 4, "page_size": 2}, 5, 5),
        ({"page": 0, "page_size": 2}, 0, 2),
        ({"page": -1, "page_size": 2}, 0, 2),
        ({"page": "x", "page_size": 2}, 0, 2),
        ({"page_size": 0}, 0, 5),
        ({"page": 10**30, "page_size": 10**30}, 5, 5),
    ]
    for params, start, end in asked:
        found = await api.ok("GET", path, params=params)
        assert (found["total"], found["chunks"]) == (5, everything[start:end]), params
        words = await api.ok("GET", path, params={"keywords": "test", **params})
        assert (words["total"], len(words["chunks"])) == (5, end - start), params


@pytest.mark.promise("3.2-paging")
async def test_a_page_size_of_zero_is_ten_and_the_default_thirty(api: Api, path: str) -> None:
    for number in range(30):
        await api.ok("POST", path, json={"content": f"more {number}"})
    assert len(await contents(api, path, page_size=0)) == 10
    assert len(await contents(api, path)) == 30
    assert len(await contents(api, path, page_size="x")) == 30
    first, second = await contents(api, path, page_size=20), await contents(api, path, page=2, page_size=20)
    assert len(set(first + second)) == 35


@pytest.mark.promise("3.2-snippets")
async def test_hits_are_shown_as_snippets(api: Api, path: str) -> None:
    await api.ok("POST", path, json={"content": "Nothing here. Two whales swim. Nothing there. A whale sings!"})
    assert await contents(api, path, keywords="whale") == ["Two <em>whales</em> swim....A <em>whale</em> sings!"]
    assert await contents(api, path, keywords="ragflow") == [FIXTURE.decode()]


@pytest.mark.promise("3.2-best-first")
async def test_the_best_hit_stands_first(api: Api, path: str) -> None:
    await api.ok("POST", path, json={"content": "a ship"})
    await api.ok("POST", path, json={"content": "a boat", "important_keywords": ["ship", "harbour"]})
    await api.ok("POST", path, json={"content": "a ship and a harbour, of which a long text tells"})
    found = await contents(api, path, keywords="harbour ship")
    assert (len(found), found[0], found[-1]) == (3, "a boat", "a <em>ship</em>")


@pytest.mark.promise("3.2-id", "3.2-get-one")
async def test_one_chunk_by_its_id(api: Api, path: str) -> None:
    _, _, dataset_id, _, document_id, _ = path.split("/")
    [wanted, *_] = (await api.ok("GET", path))["chunks"]

    found = await api.ok("GET", path, params={"id": wanted["id"], "keywords": "unknown"})
    assert (found["total"], found["chunks"]) == (1, [wanted])
    assert await api.ok("GET", f"{path}/{wanted['id']}") == wanted
    [document] = await upload(api, dataset_id, ("other.txt", b"x"))
    elsewhere = path.replace(document_id, document["id"])
    not_there = missing(f"Chunk not found: {dataset_id}/{wanted['id']}")
    assert await api.refusal("GET", elsewhere, params={"id": wanted["id"]}) == not_there
    assert await api.refusal("GET", f"{elsewhere}/{wanted['id']}") == not_there
    unknown = missing(f"Chunk not found: {dataset_id}/nope")
    assert await api.refusal("GET", path, params={"id": "nope"}) == unknown
    assert await api.refusal("GET", f"{path}/nope") == unknown


@pytest.mark.promise("3.2-available", "3.2-unavailable-included")
async def test_unavailable_chunks_are_listed_and_can_be_told_apart(api: Api, path: str) -> None:
    [off, *_] = (await api.ok("GET", path))["chunks"]
    await api.ok("PUT", f"{path}/{off['id']}", json={"available": False})

    assert (await api.ok("GET", path))["total"] == 5
    found = await api.ok("GET", path, params={"available": "false"})
    assert [(chunk["id"], chunk["available"]) for chunk in found["chunks"]] == [(off["id"], False)]
    assert (await api.ok("GET", path, params={"available": "True", "keywords": "test"}))["total"] == 4
    assert (await api.refusal("GET", path, params={"available": "maybe"}))[:2] == (400, 102)


@pytest.mark.promise("3.2-chunk-ids")
async def test_a_list_of_ids(api: Api, path: str) -> None:
    ids = [chunk["id"] for chunk in (await api.ok("GET", path))["chunks"]]
    found = await api.ok("GET", path, params={"chunk_ids": f"{ids[3]}, {ids[1]},nope,"})
    assert (found["total"], [chunk["id"] for chunk in found["chunks"]]) == (2, [ids[1], ids[3]])
    most = ",".join([*["x"] * 99, ids[2]])
    assert [chunk["id"] for chunk in (await api.ok("GET", path, params={"chunk_ids": most}))["chunks"]] == [ids[2]]
    assert await api.refusal("GET", path, params={"chunk_ids": f"{most},x"}) == invalid(
        "`chunk_ids` may name at most 100 chunks."
    )


@pytest.mark.promise("3.2-access")
async def test_other_documents_and_tenants_are_missing(api: Api, rival: Api, path: str) -> None:
    _, _, dataset_id, _, document_id, _ = path.split("/")
    [chunk, *_] = (await api.ok("GET", path))["chunks"]

    for end in ("", f"/{chunk['id']}", f"?id={chunk['id']}"):
        assert await rival.refusal("GET", path + end) == missing(f"You don't own the dataset {dataset_id}.")
        for caller in (api, rival):
            swapped = path.replace(dataset_id, (await make_dataset(caller))["id"])
            assert await caller.refusal("GET", swapped + end) == missing(f"You don't own the document {document_id}.")


@pytest.mark.promise("3.2-ignored")
async def test_unknown_parameters_are_ignored(api: Api, path: str) -> None:
    found = await api.ok("GET", path, params={"odd": "\x00", "keywords": "。"})
    assert (found["total"], found["chunks"]) == (0, [])
    assert (await api.ok("GET", path, params={"odd": "1"}))["total"] == 5
