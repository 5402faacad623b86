"""Files taken in and sent (knowledge.md 6 upload, get)."""

from typing import Any

import pytest

from app.domain.errors import Broken
from app.domain.files import root_id
from app.ingest.blobs import BlobMissing
from tests.chats.world import Api, invalid, missing
from tests.knowledge.files_world import mkdir, names, put
from tests.knowledge.world import World


@pytest.mark.promise("6-upload", "6-file-object")
async def test_an_upload_tells_of_its_files_in_order(world: World, api: Api) -> None:
    folder = await mkdir(api, "in")
    made = await put(api, ("b.bin", b"\x00\x01"), ("a.pdf", b""), ("c.mp3", b"x"), folder=folder)

    assert [(file["name"], file["type"], file["size"], file["location"]) for file in made] == [
        ("b.bin", "other", 2, "b.bin"),
        ("a.pdf", "pdf", 0, "a.pdf"),
        ("c.mp3", "aural", 1, "c.mp3"),
    ]
    assert {(file["parent_id"], file["source_type"]) for file in made} == {(folder, "")}
    [listed] = (await api.ok("GET", "/file/list", params={"parent_id": folder, "keywords": "b.bin"}))["files"]
    assert listed == {**made[0], "kbs_info": []}
    assert set(made[0]) == {
        "id", "parent_id", "tenant_id", "created_by", "name", "location", "size", "type", "source_type",
        "create_time", "create_date", "update_time", "update_date",
    }  # fmt: skip
    assert (made[0]["tenant_id"], made[0]["created_by"]) == (api.tenant_id, api.tenant_id)
    for sent in ({}, {"parent_id": ""}):
        [at_root] = await api.ok("POST", "/file/upload", files=[("file", ("r.txt", b"x"))], data=sent)
        assert at_root["parent_id"] == root_id(api.tenant_id)
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
    [row] = await world.rows(api, "SELECT blob_key FROM files WHERE name = 'b.bin'")
    assert row.blob_key == f"{api.tenant_id}/files/{made[0]['id']}"


@pytest.mark.promise("6-upload-folders")
async def test_slashes_in_a_name_open_folders(api: Api) -> None:
    await put(api, ("x/y/a.txt", b"1"), ("x/b.txt", b"2"), ("X\\y\\..\\c.txt", b"3"), ("/d.txt", b"4"))
    assert await names(api) == [".knowledgebase", "d.txt", "x"]
    x = (await api.ok("GET", "/file/list", params={"keywords": "x", "orderby": "name"}))["files"][0]["id"]
    assert await names(api, x) == ["b.txt", "y"]
    [y] = (await api.ok("GET", "/file/list", params={"parent_id": x, "keywords": "y"}))["files"]
    assert await names(api, y["id"]) == ["a.txt", "c.txt"]


@pytest.mark.promise("6-upload-folders")
async def test_a_name_that_leads_nowhere_is_refused(api: Api) -> None:
    await put(api, ("a.txt", b"1"))
    assert await api.refusal("POST", "/file/upload", files=[("file", ("a.txt/b.txt", b"x"))]) == invalid(
        "Duplicated folder name in the same folder."
    )
    for name in (".knowledgebase/x.txt", "/".join(["d"] * 33) + "/x.txt", "é" * 128 + ".txt", "x" * 256 + "/a.txt"):
        assert (await api.refusal("POST", "/file/upload", files=[("file", (name, b"x"))]))[:2] == (400, 102), name
    assert await names(api) == [".knowledgebase", "a.txt"]


@pytest.mark.promise("6-duplicate-names")
async def test_a_taken_name_is_counted_on(api: Api) -> None:
    made = await put(api, ("a.txt", b"1"), ("A.txt", b"2"))
    again = await put(api, ("a.txt", b"3"), (".knowledgebase", b"4"))
    assert [file["name"] for file in (*made, *again)] == ["a.txt", "A(1).txt", "a(2).txt", ".knowledgebase(1)"]
    elsewhere = await put(api, ("a.txt", b"5"), folder=await mkdir(api, "in"))
    assert elsewhere[0]["name"] == "a.txt"


@pytest.mark.promise("6-upload-refusals")
@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ({"files": [("other", ("a.txt", b"x"))]}, invalid("No file part!")),
        ({"data": {"file": "text"}}, invalid("No file part!")),
        ({"json": {}}, invalid("No file part!")),
        ({"content": b""}, invalid("No file part!")),
        ({"files": [("file", ("/", b"x"))]}, invalid("No selected file!")),
        ({"files": [("file", ("..", b"x"))]}, None),
        (
            {
                "content": b'--B\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\nx\r\n--B--\r\n',
                "headers": {"Content-Type": "multipart/form-data; boundary=B"},
            },
            invalid("No selected file!"),
        ),
        ({"files": [("file", ("a.txt", b"x"))], "data": {"parent_id": "nope"}}, missing("Can't find this folder!")),
        ({"files": [("file", ("a.txt", b"x"))], "data": {"parent_id": "\x00"}}, missing("Can't find this folder!")),
        (
            {"content": b"--B\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=B"}},
            None,
        ),
    ],
)
async def test_uploads_that_are_refused(
    world: World, api: Api, sent: dict[str, Any], refusal: tuple[int, int, str] | None
) -> None:
    is_multipart = "files" in sent or "headers" in sent
    for path in ("/file/upload", "/files") if is_multipart else ("/file/upload",):
        found = await api.refusal("POST", path, **sent)
        assert found == refusal if refusal else found[:2] == (400, 102)
    assert await world.rows(api, "SELECT 1 FROM files") == []
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("6-upload-caps")
async def test_uploads_over_the_caps_leave_nothing(world: World, api: Api) -> None:
    large = [("file", ("small.txt", b"x")), ("file", ("a.txt", b"x" * 3 * 1024 * 1024))]
    many = [("file", (f"{number}.txt", b"x")) for number in range(6)]
    for files in (large, many):
        assert (await api.refusal("POST", "/file/upload", files=files))[:2] == (413, 102)
    assert await world.rows(api, "SELECT 1 FROM files") == []
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("6-upload-all-or-none")
async def test_a_store_that_fails_leaves_no_file_and_no_bytes(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_one, keys = world.blobs.put, list[str]()

    async def failing(key: str, data: Any, **more: Any) -> int:
        keys.append(key)
        if len(keys) == 2:
            raise Broken("The disk is full.")
        return await put_one(key, data, **more)

    monkeypatch.setattr(world.blobs, "put", failing)
    files = [("file", (f"{number}.txt", b"x")) for number in range(3)]
    assert (await api.refusal("POST", "/file/upload", files=files))[0] == 500
    assert await world.rows(api, "SELECT 1 FROM files") == []
    with pytest.raises(BlobMissing):
        await world.blobs.get(keys[0])
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("6-get")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.PDF", "application/pdf"),
        ("a.html", "application/html"),
        ("a.svg", "image/svg"),
        ("a", "application/octet-stream"),
        ("a.t x", "application/octet-stream"),
        ('日本 "q".txt', "application/txt"),
    ],
)
async def test_a_file_comes_back_byte_for_byte_and_never_as_a_page(api: Api, name: str, kind: str) -> None:
    data = b"<script>alert(1)</script>" + bytes(range(256)) * 40
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="' + name.replace('"', '\\"').encode()
    body += b'"\r\n\r\n' + data + b"\r\n--B--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    [file] = await api.ok("POST", "/file/upload", content=body, headers=headers)
    assert file["name"] == name

    for path in (f"/file/get/{file['id']}", f"/files/{file['id']}"):
        answer = await api.raw("GET", path)
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["content-type"] == kind
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert answer.headers["content-disposition"].isascii()
        assert answer.headers["x-content-type-options"] == "nosniff"
    part = await api.raw("GET", f"/file/get/{file['id']}", headers={"Range": "bytes=1-6"})
    assert (part.status_code, part.content) == (206, b"script")
    none = await api.raw("GET", f"/file/get/{file['id']}", headers={"Range": "bytes=999999-"})
    assert (none.status_code, none.json()["code"]) == (416, 102)


@pytest.mark.promise("6-get")
async def test_what_has_no_bytes_cannot_be_got(world: World, api: Api) -> None:
    folder = await mkdir(api, "in")
    [empty] = await put(api, ("e.txt", b""), folder=folder)
    answer = await api.raw("GET", f"/file/get/{empty['id']}")
    assert (answer.status_code, answer.content) == (200, b"")
    virtual = (await api.ok("POST", "/file/create", json={"name": "v", "type": "virtual"}))["id"]
    for each in (folder, virtual, "nope", "%00"):
        assert await api.refusal("GET", f"/file/get/{each}") == missing("Document not found!")
