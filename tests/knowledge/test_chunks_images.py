"""Pictures of chunks and thumbnails of documents (knowledge.md 3.2, 8)."""

import base64
import struct
import zlib

import pytest

from app.domain.errors import Unavailable
from app.domain.ids import DatasetId, TenantId
from app.ingest.images import image_key
from app.ingest.sweeping import Sweeper
from repositories.chunk_edits import ChunkEdits
from tests.chats.world import Api, missing
from tests.knowledge.world import World, make_dataset, upload

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 1, 1, 8, 0, 0, 0, 0, zlib.crc32(b"")) + b"IDAT"
GONE = missing("Image not found.")


async def stored(world: World, api: Api, name: str, data: bytes) -> str:
    """Store a picture in a new dataset; its id."""
    dataset_id = (await make_dataset(api))["id"]
    await world.blobs.put(image_key(TenantId(api.tenant_id), DatasetId(dataset_id), name), data)
    return f"{dataset_id}-{name}"


@pytest.mark.promise("8-images", "3.2-image-id")
async def test_a_picture_is_sent_as_what_it_is(world: World, api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.key}"}
    for name, data, kind in (
        ("12ccdc56e59837e5", PNG, "image/png"),
        ("thumbnail_0123456789abcdef.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("12ccdc56e59837e5", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ("12ccdc56e59837e5", b"GIF89a", "image/gif"),
        ("12ccdc56e59837e5", b"BM\x00", "image/bmp"),
        ("12ccdc56e59837e5", b"II*\x00", "image/tiff"),
        ("12ccdc56e59837e5", b"MM\x00*", "image/tiff"),
        ("12ccdc56e59837e5", b"<html><script>alert(1)</script>", "application/octet-stream"),
    ):
        image_id = await stored(world, api, name, data)
        for answer in (
            await api.raw("GET", f"/documents/images/{image_id}"),
            await world.client.get(f"/v1/document/image/{image_id}", headers=headers),
        ):
            assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, kind)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.promise("8-images-want-a-key")
async def test_no_picture_without_the_tenants_own_key(world: World, api: Api, rival: Api) -> None:
    image_id = await stored(world, api, "12ccdc56e59837e5", PNG)
    for path in (f"/v1/document/image/{image_id}", f"/api/v1/documents/images/{image_id}"):
        assert (await world.client.get(path)).status_code == 401
        wrong = await world.client.get(path, headers={"Authorization": "Bearer ragflow-nobody"})
        assert wrong.status_code == 401
    assert await rival.refusal("GET", f"/documents/images/{image_id}") == GONE
    theirs = {"Authorization": f"Bearer {rival.key}"}
    assert (await world.client.get(f"/v1/document/image/{image_id}", headers=theirs)).status_code == 404


@pytest.mark.promise("8-images-missing")
async def test_what_is_no_picture_is_not_found(world: World, api: Api) -> None:
    image_id = await stored(world, api, "12ccdc56e59837e5", PNG)
    dataset_id = image_id.partition("-")[0]
    for each in (
        "x", "-", f"{dataset_id}-", f"{dataset_id}-nope", f"{dataset_id}-..",
        f"nope-{image_id}", f"{dataset_id}-%00", f"{dataset_id}-" + "x" * 5000, "%F0%9F%9A%A2",
    ):  # fmt: skip
        assert await api.refusal("GET", f"/documents/images/{each}") == GONE, each
    headers = {"Authorization": f"Bearer {api.key}"}
    answer = await world.client.get(f"/v1/document/image/{dataset_id}-nope", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (404, GONE[2])
    await api.ok("DELETE", "/datasets", json={"ids": [dataset_id]})
    assert await api.refusal("GET", f"/documents/images/{image_id}") == GONE


@pytest.mark.promise("3.1-image", "3.2-image-id")
async def test_an_added_chunk_may_have_a_picture(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [document] = await upload(api, dataset_id, ("a.txt", b"words"))
    path = f"/datasets/{dataset_id}/documents/{document['id']}/chunks"

    for told in (base64.b64encode(PNG).decode(), "data:image/png;base64," + base64.b64encode(PNG).decode()):
        chunk = (await api.ok("POST", path, json={"content": f"A map {len(told)}.", "image_base64": told}))["chunk"]
        assert chunk["image_id"] == f"{dataset_id}-{chunk['id']}"
        assert (await api.raw("GET", f"/documents/images/{chunk['image_id']}")).content == PNG
        listed = await api.ok("GET", f"{path}/{chunk['id']}")
        assert (listed["image_id"], listed["doc_type_kwd"]) == (chunk["image_id"], "image")
    again = (await api.ok("POST", path, json={"content": chunk["content"]}))["chunk"]
    assert (await api.ok("GET", f"{path}/{again['id']}"))["image_id"] == chunk["image_id"]
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []

    await api.ok("DELETE", path, json={"chunk_ids": [chunk["id"]]})
    assert (await api.refusal("GET", f"/documents/images/{chunk['image_id']}")) == GONE


@pytest.mark.promise("3.1-image")
@pytest.mark.parametrize("told", [1, [], "%%%", "words", "data:image/png;base64,", base64.b64encode(b"<svg>").decode()])
async def test_what_is_no_picture_is_no_chunk(world: World, api: Api, told: object) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [document] = await upload(api, dataset_id, ("a.txt", b"words"))
    path = f"/datasets/{dataset_id}/documents/{document['id']}/chunks"
    status, code, message = await api.refusal("POST", path, json={"content": "A map.", "image_base64": told})
    assert (status, code) == (400, 102)
    assert message.startswith("`image_base64` should be")
    assert (await api.ok("GET", path))["total"] == 0
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("3.1-image")
async def test_a_picture_whose_chunk_comes_to_nothing_is_swept(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [document] = await upload(api, dataset_id, ("a.txt", b"words"))

    async def away(*_: object) -> None:
        raise Unavailable("The database went away.")  # no traceback: writing one with all locals takes half a minute

    monkeypatch.setattr(ChunkEdits, "put", away)
    sent = {"content": "A map.", "image_base64": base64.b64encode(PNG).decode()}
    await api.raw("POST", f"/datasets/{dataset_id}/documents/{document['id']}/chunks", json=sent)
    [stray] = await world.rows(api, "SELECT key FROM stray_blobs")
    assert await world.blobs.get(stray.key) == PNG
    await world.rows(api, "UPDATE stray_blobs SET due_at = clock_timestamp() RETURNING 1")
    assert await Sweeper(world.database, world.blobs).sweep() == 1
