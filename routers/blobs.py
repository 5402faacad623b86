"""What routes that send stored files and pictures have in common."""

import re
from typing import Annotated

from fastapi import Depends, Request, Response

from app.domain.files import File
from app.ingest.blobs import BlobStore
from app.ingest.file_types import DocumentType, suffix
from routers.downloads import Stored, disposition, send_bytes

_SUBTYPE = re.compile(r"[a-z0-9]{1,32}")


async def _blobs(request: Request) -> BlobStore:
    blobs: BlobStore = request.app.state.blobs
    return blobs


Blobs = Annotated[BlobStore, Depends(_blobs)]


async def send_file(request: Request, blobs: BlobStore, file: File, key: str) -> Response:
    """Answer with the bytes of a file, or with those that `Range` asks for; never shown as a page.

    Raises:
        BlobMissing: its bytes are gone.
    """
    headers = {
        "Content-Disposition": disposition(file.name),
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    return await send_bytes(request, blobs, Stored(key, file.size_bytes, file_media_type(file)), headers)


def file_media_type(file: File) -> str:
    """Return `image/<extension>` of what can be seen, `application/<extension>` of all else (knowledge.md 6)."""
    extension = suffix(file.name)
    if _SUBTYPE.fullmatch(extension) is None:
        return "application/octet-stream"
    return f"{'image' if file.type == DocumentType.VISUAL else 'application'}/{extension}"
