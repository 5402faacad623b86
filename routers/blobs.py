"""What routes that send stored files and pictures have in common."""

import re
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import StreamingResponse

from app.domain.files import File
from app.ingest.blobs import BlobStore
from app.ingest.file_types import DocumentType, suffix
from routers.deps import OrjsonResponse
from routers.downloads import Stretch, disposition, wanted_stretch

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
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    stretch = wanted_stretch(request.headers.get("range"), file.size_bytes)
    if stretch == "none":
        body = {"code": 102, "message": "The range cannot be satisfied.", "data": None}
        return OrjsonResponse(body, 416, headers={"Content-Range": f"bytes */{file.size_bytes}"})
    status = 200
    if stretch == "whole":
        stretch = Stretch(0, file.size_bytes - 1)
    else:
        status = 206
        headers["Content-Range"] = f"bytes {stretch.first}-{stretch.last}/{file.size_bytes}"
    headers["Content-Length"] = str(stretch.length)
    if not stretch.length:
        return Response(b"", status, media_type=file_media_type(file), headers=headers)
    pieces = await blobs.open_range(key, start=stretch.first, length=stretch.length)
    return StreamingResponse(pieces, status, media_type=file_media_type(file), headers=headers)


def file_media_type(file: File) -> str:
    """Return `image/<extension>` of what can be seen, `application/<extension>` of all else (knowledge.md 6)."""
    extension = suffix(file.name)
    if _SUBTYPE.fullmatch(extension) is None:
        return "application/octet-stream"
    return f"{'image' if file.type == DocumentType.VISUAL else 'application'}/{extension}"
