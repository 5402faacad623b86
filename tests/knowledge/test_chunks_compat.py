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


@pytest.mark.promise("3-compat-codes")
async def test_the_codes_of_chunks(old: Api, path: str) -> None:
    _, _, dataset_id, _, document_id, _ = path.split("/")
    assert await told(old, "POST", path, {}) == {"code": 102, "message": "`content` is required"}
    assert (await told(old, "POST", path, {"content": None}))["code"] == 100
    assert (await told(old, "POST", path, {"content": "x", "questions": [1]}))["code"] == 100
    assert (await told(old, "POST", path, {"content": "x", "questions": 1}))["code"] == 102
    added = await told(old, "POST", path, {"content": "x"})
    assert set(added) == {"code", "data"}
    chunk = f"{path}/{added['data']['chunk']['id']}"

    unknown = await told(old, "GET", path, params={"id": "nope"})
    assert unknown == {"code": 404, "message": f"Chunk not found: {dataset_id}/nope"}
    assert await told(old, "PUT", chunk, {"content": "y"}) == {"code": 0}
    assert (await told(old, "PUT", chunk, {"content": None}))["code"] == 100
    assert (await told(old, "PUT", chunk, {"available": "word"}))["code"] == 100
    assert (await told(old, "PUT", chunk, {"positions": 1}))["code"] == 102
    assert (await told(old, "PUT", chunk[:-1] + "!", {}))["code"] == 102

    gone = await told(old, "DELETE", path.replace(document_id, "nope"), {})
    assert (gone["code"], gone["message"]) == (100, "Can't find the document with ID nope!")
    assert await told(old, "DELETE", path, {"chunk_ids": ["nope"]}) == {
        "code": 102,
        "message": "rm_chunk deleted chunks 0, expect 1",
    }
    twice = {"chunk_ids": [chunk.rpartition("/")[2]] * 2}
    assert (await told(old, "DELETE", path, twice))["data"]["success_count"] == 1
    assert await told(old, "DELETE", path, {}) == {"code": 0}


@pytest.mark.promise("6-compat-envelope")
async def test_the_envelope_and_codes_of_files(old: Api) -> None:
    made = await told(old, "POST", "/file/create", {"name": "in", "type": "folder"})
    assert (made["code"], made["message"], made["data"]["name"]) == (0, "success", "in")
    again = await told(old, "POST", "/file/create", {"name": "in", "type": "folder"})
    assert (again["code"], again["message"]) == (409, "Duplicated folder name in the same folder.")
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
    ]
    for code, message, sent in refusals:
        found = await told(old, *sent)
        assert (found["code"], found["message"]) == (code, message), sent
    assert await told(old, "POST", "/file/rm", {"file_ids": [made["data"]["id"]]}) == {
        "code": 0,
        "message": "success",
        "data": True,
    }
