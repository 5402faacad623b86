"""What the routes of chunks and files answer under compat=0.22 (knowledge.md 0.1, 0.2, 3, 6)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from routers.middleware import RequestContext
from tests.chats.world import Api
from tests.knowledge.world import World, make_dataset, upload


@pytest.fixture
async def old(world: World, api: Api) -> AsyncIterator[Api]:
    """The same caller, who speaks the older dialect."""
    transport = ASGITransport(app=RequestContext(world.app, is_compat22=True), raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://parley") as client:
        yield replace(api, client=client)


@pytest.fixture
async def path(api: Api) -> str:
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.txt", b"x"))
    return f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"


async def told(old: Api, method: str, path: str, sent: Any = None, **more: Any) -> dict[str, Any]:
    answer = await old.raw(method, path, **({"json": sent} if sent is not None else {}), **more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.promise("3-compat-codes", "8-images-missing")
async def test_the_codes_of_chunks(old: Api, path: str) -> None:
    _, _, dataset_id, _, document_id, _ = path.split("/")
    assert await told(old, "POST", path, {}) == {"code": 102, "message": "`content` is required"}
    assert (await told(old, "POST", path, {"content": None}))["code"] == 100
    assert (await told(old, "POST", path, {"content": "x", "questions": [1]}))["code"] == 100
    assert (await told(old, "POST", path, {"content": "x", "questions": 1}))["code"] == 102
    added = await told(old, "POST", path, {"content": "x"})
    assert set(added) == {"code", "data"}
    chunk = f"{path}/{added['data']['chunk']['id']}"

    for field in ("important_keywords", "questions"):
        for wrong, code in (("x", 102), ([1], 100)):
            assert (await told(old, "POST", path, {"content": "x", field: wrong}))["code"] == code
            assert (await told(old, "PUT", chunk, {field: wrong}))["code"] == code
    again = await told(old, "POST", path, {"content": "x"})
    assert again["data"]["chunk"]["id"] == added["data"]["chunk"]["id"]

    no_dataset = {"code": 102, "message": "You don't own the dataset nope."}
    no_document = {"code": 102, "message": "You don't own the document nope."}
    for method, place in (("POST", path), ("GET", path), ("PUT", chunk), ("DELETE", path)):
        sent = None if method == "GET" else {"content": "x"}
        assert await told(old, method, place.replace(dataset_id, "nope"), sent) == no_dataset
        if method != "DELETE":
            assert await told(old, method, place.replace(document_id, "nope"), sent) == no_document
    listed = await told(old, "GET", path)
    assert (listed["code"], set(listed), set(listed["data"])) == (0, {"code", "data"}, {"total", "chunks", "doc"})
    unknown = await told(old, "GET", path, params={"id": "nope"})
    assert unknown == {"code": 404, "message": f"Chunk not found: {dataset_id}/nope"}
    assert await told(old, "PUT", chunk, {"content": "y"}) == {"code": 0}
    assert (await told(old, "PUT", chunk, {"content": None}))["code"] == 100
    assert (await told(old, "PUT", chunk, {"available": "word"}))["code"] == 100
    assert (await told(old, "PUT", chunk, {"positions": 1}))["code"] == 102
    unknown = await told(old, "PUT", chunk[:-1] + "!", {})
    assert unknown == {"code": 102, "message": f"Can't find this chunk {chunk.rpartition('/')[2][:-1]}!"}
    assert await told(old, "PUT", chunk, {}) == {"code": 0}
    assert await told(old, "PATCH", path, {"chunk_ids": [chunk.rpartition("/")[2]], "available": True}) == {
        "code": 0,
        "data": True,
    }
    headers = {"Authorization": f"Bearer {old.key}"}
    for image in ("/api/v1/documents/images/x", "/v1/document/image/x"):
        answer = await old.client.get(image, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"code": 102, "message": "Image not found."})

    gone = await told(old, "DELETE", path.replace(document_id, "nope"), {})
    assert (gone["code"], gone["message"]) == (100, "Can't find the document with ID nope!")
    assert await told(old, "DELETE", path, {"chunk_ids": ["nope"]}) == {
        "code": 102,
        "message": "rm_chunk deleted chunks 0, expect 1",
    }
    twice = {"chunk_ids": [chunk.rpartition("/")[2]] * 2}
    duplicates = [f"Duplicate chunk ids: {chunk.rpartition('/')[2]}"]
    assert await told(old, "DELETE", path, twice) == {"code": 0, "data": {"success_count": 1, "errors": duplicates}}
    without_ids: list[dict[str, Any]] = [{}, {"chunk_ids": []}, {"chunk_ids": None}]
    for everything in without_ids:
        assert await told(old, "DELETE", path, everything) == {"code": 0}


@pytest.mark.promise("6-compat-envelope")
async def test_the_envelope_and_codes_of_files(old: Api) -> None:
    made = await told(old, "POST", "/file/create", {"name": "in", "type": "folder"})
    assert (made["code"], made["message"], made["data"]["name"]) == (0, "success", "in")
    again = await told(old, "POST", "/file/create", {"name": "in", "type": "folder"})
    assert (again["code"], again["message"]) == (409, "Duplicated folder name in the same folder.")
    parts = [("file", ("a.txt", b"x")), ("file", ("b.txt", b"x"))]
    uploaded = await told(old, "POST", "/file/upload", files=parts)
    assert (set(uploaded), uploaded["code"], uploaded["message"]) == ({"code", "message", "data"}, 0, "success")
    one = uploaded["data"][0]["id"]
    for name, data, refusal in (
        ("c.txt", {"parent_id": "nope"}, (404, "Can't find this folder!")),
        ("/", {}, (400, "No selected file!")),
    ):
        found = await told(old, "POST", "/file/upload", files=[("file", (name, b"x"))], data=data)
        assert (found["code"], found["message"]) == refusal
    refusals: list[tuple[int, str, tuple[Any, ...]]] = [
        (400, "Parent Folder Doesn't Exist!", ("POST", "/file/create", {"name": "x", "parent_id": "nope"})),
        (404, "Folder not found!", ("GET", "/file/list?parent_id=nope")),
        (404, "Folder not found!", ("GET", "/file/parent_folder?file_id=nope")),
        (404, "File or Folder not found!", ("POST", "/file/rm", {"file_ids": ["nope"]})),
        (404, "File not found!", ("POST", "/file/rename", {"file_id": "nope", "name": "x"})),
        (404, "Document not found!", ("GET", "/file/get/nope")),
        (404, "Parent Folder not found!", ("POST", "/file/mv", {"src_file_ids": [], "dest_file_id": "nope"})),
        (404, "File not found!", ("POST", "/file/convert", {"file_ids": ["nope"], "kb_ids": []})),
        (400, "No file part!", ("POST", "/file/upload", {})),
        (404, "Folder not found!", ("GET", "/file/all_parent_folder?file_id=nope")),
        (404, "Can't find this knowledgebase!", ("POST", "/file/convert", {"file_ids": [one], "kb_ids": ["nope"]})),
        (400, "The extension of file can't be changed", ("POST", "/file/rename", {"file_id": one, "name": "a.md"})),
        (409, "Duplicated file name in the same folder.", ("POST", "/file/rename", {"file_id": one, "name": "b.txt"})),
    ]
    for code, message, sent in refusals:
        found = await told(old, *sent)
        assert (found["code"], found["message"]) == (code, message), sent
    assert await told(old, "POST", "/file/rm", {"file_ids": [made["data"]["id"]]}) == {
        "code": 0,
        "message": "success",
        "data": True,
    }


@pytest.mark.promise("6-later-codes-compat")
async def test_the_later_routes_of_files_have_the_codes_of_other_routes(old: Api) -> None:
    made = await told(old, "POST", "/files", {"name": "in", "type": "folder"})
    assert (set(made), made["code"]) == ({"code", "data"}, 0)
    [one, _] = (await told(old, "POST", "/files", files=[("file", (f"{n}.txt", b"x")) for n in "ab"]))["data"]
    moved = {"src_file_ids": [one["id"]]}
    refusals: list[tuple[int, str, tuple[Any, ...]]] = [
        (101, "Extra inputs are not permitted: odd", ("GET", "/files?odd=1")),
        (101, "`ids` is required.", ("DELETE", "/files", {})),
        (101, "`ids` should be a list of strings.", ("DELETE", "/files", {"ids": "x"})),
        (102, "Folder not found!", ("GET", "/files?parent_id=nope")),
        (102, "Folder not found!", ("GET", "/files/nope/parent")),
        (102, "Folder not found!", ("GET", "/files/nope/ancestors")),
        (102, "Document not found!", ("GET", "/files/nope")),
        (102, "Duplicated folder name in the same folder.", ("POST", "/files", {"name": "IN", "type": "folder"})),
        (102, "Parent Folder Doesn't Exist!", ("POST", "/files", {"name": "x", "parent_id": "nope"})),
        (102, "Parent Folder not found!", ("POST", "/files/move", {**moved, "dest_file_id": "nope"})),
        (102, "Duplicated file name in the same folder.", ("POST", "/files/move", {**moved, "new_name": "b.txt"})),
        (102, "The extension of file can't be changed", ("POST", "/files/move", {**moved, "new_name": "a.md"})),
        (102, "File not found!", ("POST", "/files/link-to-datasets", {"file_ids": ["nope"], "kb_ids": []})),
        (102, "File or Folder not found!", ("DELETE", "/files", {"ids": ["nope"]})),
    ]
    for code, message, sent in refusals:
        assert await told(old, *sent) == {"code": code, "message": message}, sent
    assert await told(old, "DELETE", "/files", {"ids": [one["id"]]}) == {"code": 0, "data": {"success_count": 1}}
