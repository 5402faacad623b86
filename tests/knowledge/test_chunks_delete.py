"""Chunks deleted and switched (knowledge.md 3.4)."""

from typing import Any

import pytest

from app.domain.ids import DatasetId, TenantId
from app.ingest.blobs import BlobMissing
from app.ingest.images import image_key
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, assert_exact_counters, make_dataset, shown, upload


@pytest.fixture
async def paths(api: Api) -> tuple[str, str]:
    """The chunks of two documents of one dataset, three each."""
    dataset = await make_dataset(api)
    documents = await upload(api, dataset["id"], ("a.txt", b"x"), ("b.txt", b"x"))
    one, two = (f"/datasets/{dataset['id']}/documents/{document['id']}/chunks" for document in documents)
    for path in (one, two):
        for number in range(3):
            await api.ok("POST", path, json={"content": f"text {number}"})
    return one, two


async def listed(api: Api, path: str) -> list[str]:
    return [chunk["id"] for chunk in (await api.ok("GET", path))["chunks"]]


@pytest.mark.promise("3.4-some", "3.4-counters")
async def test_named_chunks_go_and_the_counters_follow(world: World, api: Api, paths: tuple[str, str]) -> None:
    _, _, dataset_id, _, document_id, _ = paths[0].split("/")
    first, second, third = await listed(api, paths[0])
    answer = await api.raw("DELETE", paths[0], json={"chunk_ids": [first, second]})

    assert answer.json() == {"code": 0, "data": None}
    assert await listed(api, paths[0]) == [third]
    assert (await shown(api, dataset_id, document_id))["chunk_count"] == 1
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.4-some-unknown")
async def test_known_chunks_go_though_others_are_unknown(world: World, api: Api, paths: tuple[str, str]) -> None:
    [first, *rest] = await listed(api, paths[0])
    [foreign, *_] = await listed(api, paths[1])
    refusal = await api.refusal("DELETE", paths[0], json={"chunk_ids": [first, "nope", foreign, "nope"]})

    assert refusal == missing("rm_chunk deleted chunks 1, expect 3")
    assert await listed(api, paths[0]) == rest
    assert len(await listed(api, paths[1])) == 3
    again = await api.refusal("DELETE", paths[0], json={"chunk_ids": [first]})
    assert again == missing("rm_chunk deleted chunks 0, expect 1")
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.4-duplicates")
async def test_an_id_twice_is_told_of(api: Api, paths: tuple[str, str]) -> None:
    first, second, third = await listed(api, paths[0])
    done = await api.ok("DELETE", paths[0], json={"chunk_ids": [second, first, second, first, second]})
    assert done == {"success_count": 2, "errors": [f"Duplicate chunk ids: {second}", f"Duplicate chunk ids: {first}"]}
    assert await listed(api, paths[0]) == [third]


@pytest.mark.promise("3.4-all-of-this-document")
@pytest.mark.parametrize("sent", [{"chunk_ids": []}, {"chunk_ids": None}, {}, {"delete_all": True}])
async def test_without_ids_all_chunks_of_this_document_go_and_no_others(
    world: World, api: Api, paths: tuple[str, str], sent: Any
) -> None:
    answer = await api.raw("DELETE", paths[0], json=sent)
    assert answer.json() == {"code": 0, "data": None}
    assert await listed(api, paths[0]) == []
    assert len(await listed(api, paths[1])) == 3
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.4-nothing-by-accident")
async def test_a_lost_body_or_a_refusal_deletes_nothing(world: World, api: Api, paths: tuple[str, str]) -> None:
    for content in (b"", b"[]", b"{", b"null", b'"x"'):
        for headers in ({}, {"Content-Type": "application/json"}):
            answer = await api.raw("DELETE", paths[0], content=content, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (400, 102), (content, headers)
    for ids in ("x", {"a": 1}, [1], [None], 7):
        assert await api.refusal("DELETE", paths[0], json={"chunk_ids": ids}) == invalid(
            "`chunk_ids` should be a list of strings"
        )
    for none in ({"delete_all": False}, {"chunk_ids": [], "delete_all": False}, {"chunk_ids": None, "delete_all": 0}):
        assert await api.ok("DELETE", paths[0], json=none) is None
    assert len(await listed(api, paths[0])) == 3
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.4-access")
async def test_what_is_not_there_is_missing(api: Api, rival: Api, paths: tuple[str, str]) -> None:
    _, _, dataset_id, _, document_id, _ = paths[0].split("/")
    elsewhere = paths[0].replace(dataset_id, "nope")
    assert await api.refusal("DELETE", elsewhere, json={}) == missing("You don't own the dataset nope.")
    elsewhere = paths[0].replace(document_id, "nope")
    assert await api.refusal("DELETE", elsewhere, json={}) == missing("Can't find the document with ID nope!")
    unknown = f"/datasets/nope/documents/{document_id}x/chunks"
    assert await api.refusal("DELETE", unknown, json={}) == missing("You don't own the dataset nope.")
    assert await rival.refusal("DELETE", paths[0], json={}) == missing(f"You don't own the dataset {dataset_id}.")
    for caller in (api, rival):
        other = paths[0].replace(dataset_id, (await make_dataset(caller))["id"])
        refusal = missing(f"Can't find the document with ID {document_id}!")
        assert await caller.refusal("DELETE", other, json={}) == refusal
    assert len(await listed(api, paths[0])) == 3


@pytest.mark.promise("3.4-pictures")
async def test_the_pictures_of_deleted_chunks_go_too(world: World, api: Api, paths: tuple[str, str]) -> None:
    _, _, dataset_id, _, _, _ = paths[0].split("/")
    first, second, _ = await listed(api, paths[0])
    for each in (first, second):
        await world.blobs.put(image_key(TenantId(api.tenant_id), DatasetId(dataset_id), each), b"picture")
        statement = "UPDATE chunks SET image_id = dataset_id || '-' || id WHERE id = :id"
        await world.rows(api, statement + " RETURNING id", id=each)
    await api.ok("DELETE", paths[0], json={"chunk_ids": [first]})

    with pytest.raises(BlobMissing):
        await world.blobs.get(image_key(TenantId(api.tenant_id), DatasetId(dataset_id), first))
    assert await world.blobs.get(image_key(TenantId(api.tenant_id), DatasetId(dataset_id), second)) == b"picture"
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("3.4-switch")
@pytest.mark.parametrize("sent", [{"available": False}, {"available_int": 0}, {"available_int": 0, "available": True}])
async def test_chunks_are_switched_together(world: World, api: Api, paths: tuple[str, str], sent: Any) -> None:
    first, second, third = await listed(api, paths[0])
    assert await api.ok("PATCH", paths[0], json={"chunk_ids": [first, second, first], **sent}) is True

    off = (await api.ok("GET", paths[0], params={"available": "false"}))["chunks"]
    assert {chunk["id"] for chunk in off} == {first, second}
    on_again = {"available_int": 1} if "available_int" in sent else {"available": True}
    await api.ok("PATCH", paths[0], json={"chunk_ids": [first], **on_again})
    on = (await api.ok("GET", paths[0], params={"available": "true"}))["chunks"]
    assert {chunk["id"] for chunk in on} == {first, third}
    assert (await api.ok("GET", paths[1], params={"available": "true"}))["total"] == 3
    await assert_exact_counters(world, api)


@pytest.mark.promise("3.4-switch-refusals")
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "`chunk_ids` is required."),
        ({"chunk_ids": None, "available": True}, "`chunk_ids` is required."),
        ({"chunk_ids": [], "available": True}, "`chunk_ids` is required."),
        ({"chunk_ids": ["x"]}, "`available_int` or `available` is required."),
        ({"chunk_ids": ["x"], "available": None}, "`available_int` or `available` is required."),
        ({"chunk_ids": "x", "available": True}, "`chunk_ids` should be a list of strings"),
        ({"chunk_ids": ["x"], "available": "maybe"}, "`available` should be true or false"),
    ],
)
async def test_a_switch_has_to_say_what_and_how(api: Api, paths: tuple[str, str], sent: Any, message: str) -> None:
    assert await api.refusal("PATCH", paths[0], json=sent) == invalid(message)


@pytest.mark.promise("3.4-switch-refusals")
async def test_an_unknown_chunk_switches_none(api: Api, rival: Api, paths: tuple[str, str]) -> None:
    _, _, dataset_id, _, document_id, _ = paths[0].split("/")
    [first, *_] = await listed(api, paths[0])
    sent = {"json": {"chunk_ids": [first, "nope"], "available": False}}
    assert await api.refusal("PATCH", paths[0], **sent) == missing(f"Chunk not found: {dataset_id}/nope")
    assert (await api.ok("GET", paths[0], params={"available": "false"}))["total"] == 0
    assert (await rival.refusal("PATCH", paths[0], **sent)) == missing(f"You don't own the dataset {dataset_id}.")
    assert await api.refusal("PATCH", paths[0].replace(document_id, "nope"), **sent) == missing(
        "You don't own the document nope."
    )
