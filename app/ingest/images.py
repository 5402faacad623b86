"""Where the pictures of chunks and the thumbnails of documents lie.

An image id is `<dataset>-<name>`; the name is a chunk's id, or `thumbnail_<document>.png`.
"""

import struct

from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from app.ingest.blobs import blob_key

_PNG = b"\x89PNG\r\n\x1a\n"
_MEDIA_TYPES = (
    (_PNG, "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def image_id(dataset_id: DatasetId, chunk_id: ChunkId) -> str:
    """Return the `image_id` of a chunk's picture."""
    return f"{dataset_id}-{chunk_id}"


def thumbnail_name(document_id: DocumentId) -> str:
    """Return the `thumbnail` of a document."""
    return f"thumbnail_{document_id}.png"


def image_key(tenant_id: TenantId, dataset_id: DatasetId, name: str) -> str:
    """Return the blob key of an image by its name (what follows `<dataset>-` in an image id).

    Raises:
        UnsafeKey: `name` is none of ours.
    """
    return blob_key(tenant_id, dataset_id, "images", name)


def image_size(data: bytes) -> tuple[int, int]:
    """Return `(width, height)` in pixels of a PNG or JPEG; `(0, 0)` of anything else."""
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    at = 2
    while data.startswith(b"\xff\xd8") and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return int(width), int(height)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def picture_media_type(data: bytes) -> str | None:
    """Return the media type of a picture by its first bytes; None for what is none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _MEDIA_TYPES if data.startswith(begin)), None)
