"""Pictures of chunks and thumbnails of documents (knowledge.md 3.2, 8)."""

import struct
import zlib

import pytest

from app.domain.ids import DatasetId, TenantId
from app.ingest.images import image_key
from tests.chats.world import Api, missing
from tests.knowledge.world import World, make_dataset

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 1, 1, 8, 0, 0, 0, 0, zlib.crc32(b"")) + b"IDAT"
GONE = missing("Image not found.")


async def stored(world: World, api: Api, name: str, data: bytes) -> str:
    """Store a picture in a new dataset; its id."""
    dataset_id = (await make_dataset(api))["id"]
    await world.blobs.put(image_key(TenantId(api.tenant_id), DatasetId(dataset_id), name), data)
    return f"{dataset_id}-{name}"


@pytest.mark.promise("8-images", "3.2-image-id")
@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("12ccdc56e59837e5", PNG, "image/png"),
        ("thumbnail_0123456789abcdef.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("12ccdc56e59837e5", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ("12ccdc56e59837e5", b"<html><script>alert(1)</script>", "application/octet-stream"),
    ],
)
async def test_a_picture_is_sent_as_what_it_is(world: World, api: Api, name: str, data: bytes, kind: str) -> None:
    image_id = await stored(world, api, name, data)
    headers = {"Authorization": f"Bearer {api.key}"}
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


@pytest.mark.promise("8-images-missing")
async def test_what_is_no_picture_is_not_found(world: World, api: Api) -> None:
    image_id = await stored(world, api, "12ccdc56e59837e5", PNG)
    dataset_id = image_id.partition("-")[0]
    for each in (
        "x", "-", f"{dataset_id}-", f"{dataset_id}-nope", f"{dataset_id}-..",
        f"nope-{image_id}", f"{dataset_id}-%00", f"{dataset_id}-" + "x" * 5000, "%F0%9F%9A%A2",
    ):  # fmt: skip
        assert await api.refusal("GET", f"/documents/images/{each}") == GONE, each
    await api.ok("DELETE", "/datasets", json={"ids": [dataset_id]})
    assert await api.refusal("GET", f"/documents/images/{image_id}") == GONE
