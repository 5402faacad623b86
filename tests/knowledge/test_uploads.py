"""Uploads: names in all their forms, calls that come again, processes that die (knowledge.md 2.1, design.md 1.5)."""

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from app.domain.errors import TooLarge
from app.domain.ids import TenantId
from app.ingest.blobs import BlobMissing, BlobStore
from app.ingest.sweeping import Sweeper, sweep_tenant
from routers.deps import EdgeConfig
from routers.edge import Edge
from routers.middleware import RequestContext
from routers.part_names import encoded_name
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, make_dataset, stored_blobs, upload

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def dataset_id(api: Api) -> str:
    made: str = (await make_dataset(api))["id"]
    return made


async def sent_as(api: Api, dataset_id: str, disposition: bytes) -> Any:
    body = b'--B\r\nContent-Disposition: form-data; name="file"; ' + disposition + b"\r\n\r\nx\r\n--B--\r\n"
    return await api.raw(
        "POST",
        f"/datasets/{dataset_id}/documents",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=B"},
    )


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b"filename*=utf-8''%E2%82%AC%20a.txt", "€ a.txt"),
        (b"filename=\"fallback.txt\"; filename*=UTF-8'en'%E2%82%AC.txt", "€.txt"),
        (b"filename*=iso-8859-1''%E9.txt", "é.txt"),
        (b"filename*=nonsense''%E9.txt", None),
        (b'filename="=?utf-8?B?w6kudHh0?="', "é.txt"),
        (b'filename="=?utf-8?Q?=C3=A9=20x.txt?="', "é x.txt"),
        ('filename="日本 (x).txt"'.encode(), "日本 (x).txt"),
        (b"filename=plain.txt", "plain.txt"),
        (b'filename="a \\"q\\".txt"', 'a "q".txt'),
        (b'filename="50%25 off; really, [x]!.txt"', "50%25 off; really, [x]!.txt"),
        ('filename="👩\u200d🚀 \u00a0x.txt"'.encode(), "👩\u200d🚀 \u00a0x.txt"),
        ('filename="a\u202etxt.md"'.encode(), "atxt.md"),
    ],
)
@pytest.mark.promise("2.1-name-as-sent", "2.1-name-encoded")
async def test_names_are_read_in_every_form(api: Api, dataset_id: str, disposition: bytes, name: str | None) -> None:
    answer = await sent_as(api, dataset_id, disposition)

    assert answer.status_code < 500
    if name is not None:
        assert answer.json()["data"][0]["name"] == name


@pytest.mark.parametrize("name", ["日" * 83 + "ab.txt", "x" * 251 + ".txt"])
@pytest.mark.promise("2.1-name-255-bytes")
async def test_a_name_of_255_bytes_is_taken_in_and_sent_back(api: Api, dataset_id: str, name: str) -> None:
    assert len(name.encode()) == 255
    [document] = await upload(api, dataset_id, (name, b"x"))
    answer = await api.raw("GET", f"/datasets/{dataset_id}/documents/{document['id']}")

    assert (document["name"], answer.content) == (name, b"x")
    refusal = await api.refusal("POST", f"/datasets/{dataset_id}/documents", files=[("file", ("x" + name, b"x"))])
    assert refusal == (400, 102, "File name must be 255 bytes or less.")


def test_plain_names_are_left_to_the_parser() -> None:
    assert encoded_name(b'form-data; name="file"; filename="a.txt"') is None
    assert encoded_name(b"form-data; name=\"file\"; filename*=utf-8''%zz.txt") is not None


@pytest.mark.promise("2.1-other-fields")
async def test_other_form_fields_are_ignored(api: Api, dataset_id: str) -> None:
    made = await api.ok(
        "POST",
        f"/datasets/{dataset_id}/documents",
        files=[("file", ("a.txt", b"x"))],
        data={"parent_path": "/a/b", "other": "x", "name": "b.txt"},
    )
    assert [(each["name"], each["location"]) for each in made] == [("a.txt", "a.txt")]
    assert [each["name"] for each in (await api.ok("GET", f"/datasets/{dataset_id}/documents"))["docs"]] == ["a.txt"]


@pytest.mark.promise("2.1-caps")
async def test_a_body_over_its_cap_is_too_large_though_every_part_of_it_fits(
    world: World, api: Api, dataset_id: str
) -> None:
    """operations.md 3: the files an upload may have, together, and a mebibyte for what is around them."""
    edge = EdgeConfig(upload_max_bytes=100_000, upload_max_files=2, body_max_bytes=10_000)
    world.app.state.edge = edge
    transport = ASGITransport(app=RequestContext(Edge(world.app, edge)), raise_app_exceptions=False)
    path = f"/datasets/{dataset_id}/documents"

    def body(parts: int) -> bytes:
        file = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nx\r\n'
        field = b'--B\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n' + b"x" * 99_000 + b"\r\n"
        return file + b"".join(field % number for number in range(parts)) + b"--B--\r\n"

    async def streamed(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 50_000):
            yield data[start : start + 50_000]

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    async with AsyncClient(transport=transport, base_url="http://parley") as client:
        capped = replace(api, client=client)
        assert edge.upload_total_bytes == 200_000 + 1024**2 < len(body(13))
        for content in (body(13), streamed(body(13))):
            refusal = await capped.refusal("POST", path, content=content, headers=headers)
            assert refusal == (413, 102, f"The request body is over the limit of {edge.upload_total_bytes} bytes.")
        assert await world.rows(api, "SELECT 1 FROM documents") == []
        assert [each["name"] for each in await capped.ok("POST", path, content=body(12), headers=headers)] == ["a.txt"]


@pytest.mark.promise("2.1-idempotency")
async def test_an_upload_that_comes_again_is_answered_and_not_stored_again(
    world: World, api: Api, dataset_id: str
) -> None:
    path = f"/datasets/{dataset_id}/documents"
    headers = {"Idempotency-Key": "once"}
    files = [("file", ("a.txt", b"one")), ("file", ("b.exe", b"two"))]

    first = await api.raw("POST", path, files=files, headers=headers)
    again = await api.raw("POST", path, files=files, headers=headers)
    other = await api.refusal("POST", path, files=[("file", ("a.txt", b"other"))], headers=headers)

    assert (first.status_code, first.json()["data"][0]["name"]) == (400, "a.txt")
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert other[:2] == (400, 102)
    assert len(await world.rows(api, "SELECT 1 FROM documents")) == 1
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
    assert stored_blobs(world) == [f"{api.tenant_id}/{dataset_id}/{first.json()['data'][0]['id']}"]
    good = {"files": files[:1], "headers": {"Idempotency-Key": "twice"}}
    assert "idempotent-replayed" not in (await api.raw("POST", path, **good)).headers
    assert (await api.raw("POST", path, **good)).headers["idempotent-replayed"] == "true"


@pytest.mark.promise("2.1-access", "2.1-dataset-unknown", "2.1-checks-order")
async def test_files_are_not_stored_in_datasets_of_others(world: World, api: Api, rival: Api, dataset_id: str) -> None:
    files = [("file", ("a.txt", b"x")), ("file", ("b.exe", b"x"))]
    long = [("file", ("a.txt", b"x")), ("file", ("x" * 252 + ".txt", b"x"))]
    for where in (dataset_id, "nope", "0" * 32):
        path = f"/datasets/{where}/documents"
        assert await rival.refusal("POST", path, files=files) == missing(f"Can't find the dataset with ID {where}!")
        # what is wrong with the body is told first
        assert await rival.refusal("POST", path, files=[("other", ("a.txt", b"x"))]) == invalid("No file part!")
        assert await rival.refusal("POST", path, files=long) == invalid("File name must be 255 bytes or less.")
    assert (await rival.refusal("POST", "/datasets/../documents", files=files))[0] in (404, 405)
    for tenant in (api, rival):
        for table in ("documents", "stray_blobs"):
            assert await world.rows(tenant, f"SELECT 1 FROM {table}") == [], table  # noqa: S608
    assert stored_blobs(world) == []


@pytest.mark.promise("2.1-no-strays")
async def test_a_refused_upload_leaves_nothing_behind(world: World, api: Api, dataset_id: str) -> None:
    async def broken() -> Any:
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nx\r\n--B\r\n'
        yield b'Content-Disposition: form-data; name="file"; filename="b.txt"\r\n\r\n' + b"x" * 2_000_000

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    status, _, _ = await api.refusal("POST", f"/datasets/{dataset_id}/documents", content=broken(), headers=headers)

    assert status == 413
    assert await world.rows(api, "SELECT 1 FROM documents") == []
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
    assert stored_blobs(world) == []


@pytest.mark.promise("2.1-no-strays")
async def test_an_upload_that_fails_after_bytes_were_written_leaves_nothing_behind(
    world: World, api: Api, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second file cannot be stored; later, the last document cannot be made: the first one goes too."""
    path = f"/datasets/{dataset_id}/documents"
    files = [("file", ("a.txt", b"x")), ("file", ("b.txt", b"x"))]
    put, written = BlobStore.put, list[str]()

    async def fails_once(blobs: BlobStore, key: str, *data: Any, **more: Any) -> int:
        if written:
            raise TooLarge("The second file is larger than the store takes.")
        written.append(key)
        return await put(blobs, key, *data, **more)

    async def nothing_left(files: Any, status: int) -> None:
        assert (await api.refusal("POST", path, files=files))[0] == status
        for table in ("documents", "stray_blobs"):
            assert await world.rows(api, f"SELECT 1 FROM {table}") == [], table  # noqa: S608
        assert stored_blobs(world) == []
        assert (await api.ok("GET", f"/datasets/{dataset_id}"))["document_count"] == 0

    def only_itself(name: str) -> list[str]:
        return [name]

    with monkeypatch.context() as patch:
        patch.setattr(BlobStore, "put", fails_once)
        await nothing_left(files, 413)
    assert len(written) == 1
    monkeypatch.setattr("app.services.uploads.free_names", only_itself)
    await nothing_left([*files, files[0]], 400)


@pytest.mark.promise("2.1-kill-mid-upload")
async def test_a_server_killed_in_mid_upload_leaves_nothing_half_there(
    world: World, api: Api, dataset_id: str, tmp_path: Path
) -> None:
    """kill -9 while the second file is written: no document, and the bytes of both go when they are due."""
    folder = tmp_path / "blobs"
    command = [sys.executable, "-m", "tests.knowledge.half_upload"]
    arguments = [world.urls.app, f"file://{folder}", api.tenant_id, dataset_id]
    ended = subprocess.run([*command, *arguments], cwd=_ROOT, capture_output=True, timeout=60, check=False)  # noqa: ASYNC221

    assert ended.returncode == -9, ended.stderr
    blobs = BlobStore.at(f"file://{folder}")
    assert [path for path in folder.rglob("*") if path.is_file()] != []
    assert (await api.ok("GET", f"/datasets/{dataset_id}/documents"))["total"] == 0
    assert (await api.ok("GET", f"/datasets/{dataset_id}"))["document_count"] == 0
    assert len(await world.rows(api, "SELECT 1 FROM stray_blobs")) == 2
    sweeper = Sweeper(world.database, blobs)
    assert await sweeper.sweep() == 0  # it may still be going on, for all the sweeper knows
    await world.rows(api, "UPDATE stray_blobs SET due_at = clock_timestamp() RETURNING 1")

    assert await sweeper.sweep() == 2

    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("2.1-named-blobs-stay")
async def test_bytes_that_a_document_names_are_never_swept(world: World, api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", b"kept"))
    key = f"{api.tenant_id}/{dataset_id}/{document['id']}"
    gone = f"{api.tenant_id}/{dataset_id}/gone"
    await world.blobs.put(gone, b"x")
    async with world.database.unit(TenantId(api.tenant_id)) as unit:
        await unit.stray_blobs.add([key, gone])

    assert await sweep_tenant(world.database, world.blobs, TenantId(api.tenant_id)) == 1

    assert await world.blobs.get(key) == b"kept"
    with pytest.raises(BlobMissing):
        await world.blobs.get(gone)
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
