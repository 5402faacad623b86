"""What the routes of documents answer under compat=0.22 (knowledge.md 0.1, 0.2, 2)."""

from typing import Any

import pytest

from tests.chats.world import Api
from tests.knowledge.test_chunks_compat import old, told
from tests.knowledge.world import World, make_dataset, parse, shown, upload

__all__ = ["old"]


@pytest.fixture
async def dataset_id(api: Api) -> str:
    made: str = (await make_dataset(api))["id"]
    return made


async def refused(old: Api, method: str, path: str, sent: Any = None, **more: Any) -> tuple[int, str]:
    """Return code and message of a refusal: HTTP 200 and nothing else, but `data` null with code 100."""
    body = await told(old, method, path, sent, **more)
    assert set(body) == {"code", "message"} | ({"data"} if body["code"] == 100 else set())
    assert body.get("data") is None
    return body["code"], body["message"]


@pytest.mark.promise("2.1-compat-codes")
async def test_the_codes_of_uploads(old: Api, dataset_id: str) -> None:
    path = f"/datasets/{dataset_id}/documents"
    nameless = b'--B\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\nx\r\n--B--\r\n'
    form = {"content": nameless, "headers": {"Content-Type": "multipart/form-data; boundary=B"}}
    long = [("file", ("x" * 252 + ".txt", b"x"))]
    files = [("file", (name, b"x")) for name in ("a.exe", "b.txt", "c.markdown")]

    assert await refused(old, "POST", path, files=[("other", ("a.txt", b"x"))]) == (101, "No file part!")
    assert await refused(old, "POST", path, **form) == (101, "No file selected!")
    assert await refused(old, "POST", path, files=long) == (101, "File name must be 255 bytes or less.")
    code, message = await refused(old, "POST", "/datasets/nope/documents", files=files)
    assert (code, "Can't find the dataset with ID nope!" in message) == (100, True)
    some = await told(old, "POST", path, files=files)
    assert (some["code"], [each["name"] for each in some["data"]]) == (500, ["b.txt"])
    assert some["message"] == (
        "a.exe: This type of file has not been supported yet!\n"
        "c.markdown: This type of file has not been supported yet!"
    )
    made = await told(old, "POST", path, files=[("file", ("e.txt", b""))])
    assert (set(made), made["code"], made["data"][0]["size"]) == ({"code", "data"}, 0, 0)


@pytest.mark.promise("2.2-compat-codes")
async def test_the_codes_of_changes(old: Api, rival: Api, api: Api, dataset_id: str) -> None:
    made, _, slides = await upload(api, dataset_id, ("a.txt", b"x"), ("b.txt", b"x"), ("c.pptx", b"x"))
    path = f"/datasets/{dataset_id}/documents/{made['id']}"
    theirs = (await make_dataset(rival))["id"]

    assert await refused(old, "PUT", path.replace(dataset_id, theirs), {}) == (102, "You don't own the dataset.")
    unknown = path.replace(made["id"], "nope")
    assert await refused(old, "PUT", unknown, {}) == (102, "The dataset doesn't own the document.")
    refusals: list[tuple[int, str, dict[str, Any]]] = [
        (102, "Can't change `chunk_count`.", {"chunk_count": 9}),
        (102, "Can't change `token_count`.", {"token_count": 9}),
        (102, "Can't change `progress`.", {"progress": 0.5}),
        (102, "meta_fields must be a dictionary", {"meta_fields": "x"}),
        (101, "File name must be 255 bytes or less.", {"name": "x" * 252 + ".txt"}),
        (101, "The extension of file can't be changed", {"name": ""}),
        (102, "Duplicated document name in the same dataset.", {"name": "b.txt"}),
        (102, "`chunk_method` other doesn't exist", {"chunk_method": "other"}),
    ]
    for code, message, sent in refusals:
        assert await refused(old, "PUT", path, sent) == (code, message)
    for name in (7, None):
        assert (await refused(old, "PUT", path, {"name": name}))[0] == 100
    fixed = await refused(old, "PUT", path.replace(made["id"], slides["id"]), {"chunk_method": "naive"})
    assert fixed == (102, "Not supported yet!")
    changed = await told(old, "PUT", path, {"enabled": 0})
    assert (set(changed), changed["code"], changed["data"]["status"]) == ({"code", "data"}, 0, "0")


@pytest.mark.promise("2.3-compat-codes", "2.4-compat-codes")
async def test_the_codes_of_downloads_and_lists(old: Api, api: Api, dataset_id: str) -> None:
    [empty] = await upload(api, dataset_id, ("e.txt", b""))
    path = f"/datasets/{dataset_id}/documents"
    unknown = f"/datasets/nope/documents/{empty['id']}"
    assert await refused(old, "GET", unknown) == (102, "You do not own the dataset nope.")
    assert await refused(old, "GET", f"{path}/nope") == (102, "The dataset not own the document nope.")
    assert await refused(old, "GET", f"{path}/{empty['id']}") == (102, "This file is empty.")

    assert await refused(old, "GET", "/datasets/nope/documents") == (102, "You don't own the dataset nope. ")
    for name in ("id", "name"):
        told_of = await refused(old, "GET", path, params={name: "nope"})
        assert told_of == (102, "You don't own the document nope.")
    assert (await refused(old, "GET", path, params={"orderby": "odd"}))[0] == 101
    for name in ("page", "page_size", "create_time_from", "create_time_to"):
        assert (await refused(old, "GET", path, params={name: "x"}))[0] == 100, name
    told_of = await refused(old, "GET", path, params={"metadata_condition": "{"})
    assert told_of == (102, "metadata_condition must be valid JSON.")
    listed = await told(old, "GET", path)
    assert (set(listed), set(listed["data"]), listed["data"]["total"]) == ({"code", "data"}, {"total", "docs"}, 1)


@pytest.mark.promise("2.5-compat-codes", "2.6-compat-codes", "2.7-compat-codes")
async def test_the_codes_of_parsing_and_deleting(world: World, old: Api, api: Api, dataset_id: str) -> None:
    a, b, c = (each["id"] for each in await upload(api, dataset_id, *[(f"{n}.txt", b"x") for n in "abc"]))
    parsing, path = f"/datasets/{dataset_id}/chunks", f"/datasets/{dataset_id}/documents"

    for method in ("POST", "DELETE"):
        unowned = await refused(old, method, "/datasets/nope/chunks", {"document_ids": [a]})
        assert unowned == (102, "You don't own the dataset nope.")
        assert await refused(old, method, parsing, {}) == (102, "`document_ids` is required")
    assert await told(old, "POST", parsing, {"document_ids": [a]}) == {"code": 0}
    running = (102, "Can't parse document that is currently being processed")
    assert await refused(old, "POST", parsing, {"document_ids": [a]}) == running
    assert await refused(old, "POST", parsing, {"document_ids": ["x", b]}) == (102, "Documents not found: ['x']")
    twice = {"success_count": 1, "errors": [f"Duplicate document ids: {c}"]}
    assert await told(old, "POST", parsing, {"document_ids": [c, c]}) == {"code": 0, "data": twice}
    assert await told(old, "DELETE", parsing, {"document_ids": [a]}) == {"code": 0}
    stopped = (102, "Can't stop parsing document with progress at 0 or 1")
    assert await refused(old, "DELETE", parsing, {"document_ids": [a]}) == stopped
    unknown = (102, "You don't own the document x.")
    assert await refused(old, "DELETE", parsing, {"document_ids": ["x"]}) == unknown
    assert await told(old, "DELETE", parsing, {"document_ids": [c, c]}) == {"code": 0, "data": twice}
    await world.work()
    assert (await shown(api, dataset_id, b))["run"] == "DONE"
    await parse(api, dataset_id, b)

    assert await refused(old, "DELETE", "/datasets/nope/documents", {}) == (102, "You don't own the dataset nope. ")
    assert (await refused(old, "DELETE", path, "x"))[0] == 100
    not_found = (102, "Documents not found: ['x', 'y']")
    assert await refused(old, "DELETE", path, {"ids": ["x", a, "y"]}) == not_found
    assert await told(old, "DELETE", path, {"ids": [c, c]}) == {"code": 0, "data": twice}
    assert await told(old, "DELETE", path) == {"code": 0}
    assert (await told(old, "GET", path))["data"] == {"total": 0, "docs": []}
