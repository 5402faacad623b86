"""Sending stored files: whole or in part, under a name that is safe in a header (knowledge.md 2.3, RFC 9110)."""

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.domain.datasets import Document
from app.ingest.blobs import BlobStore
from app.wire.envelope import http_date
from routers.deps import OrjsonResponse

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE | re.ASCII)
_UNSAFE = re.compile(r"[^ !#$&+\-.0-9A-Z^_a-z()\[\]{}=@,;~]")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes `first` to `last`, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes that are."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes in the blob store, and as what they are sent."""

    key: str
    size_bytes: int
    media_type: str


def disposition(name: str, kind: Literal["attachment", "inline"] = "attachment") -> str:
    """Return `Content-Disposition` for `name`, in ASCII for old clients and in UTF-8 for all others."""
    plain = _UNSAFE.sub("_", name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def wanted_stretch(header: str | None, size_bytes: int) -> Stretch | Literal["whole", "none"]:
    """Return which bytes a `Range` header asks for: `whole` when it is absent, or of a sort we need not know.

    `none` means that there are no such bytes (416). Several ranges at once are answered with the whole.
    """
    asked = _RANGE.fullmatch(header.strip()) if header is not None else None
    if asked is None or not any(asked.groups()):
        return "whole"
    first, last = asked.groups()
    if not first:
        length = min(int(last), size_bytes)
        return Stretch(size_bytes - length, size_bytes - 1) if length else "none"
    if last and int(last) < int(first):
        return "whole"
    if int(first) >= size_bytes:
        return "none"
    return Stretch(int(first), min(int(last), size_bytes - 1) if last else size_bytes - 1)


async def send_document(
    request: Request, blobs: BlobStore, document: Document, *, is_preview: bool = False
) -> Response:
    """Answer with the bytes of a document, or with those that `Range` asks for. Raises as `send_bytes`."""
    headers = _headers(document, is_preview=is_preview)
    if request.headers.get("if-none-match", "").strip() in (headers["ETag"], "*"):
        return Response(status_code=304, headers={"ETag": headers["ETag"]})
    stored = Stored(document.blob_key, document.size_bytes, _media_type(document, is_preview=is_preview))
    return await send_bytes(request, blobs, stored, headers)


async def send_bytes(request: Request, blobs: BlobStore, stored: Stored, headers: Mapping[str, str]) -> Response:
    """Answer with stored bytes, or with those that `Range` asks for.

    Raises:
        BlobMissing: they are gone.
    """
    size = stored.size_bytes
    stretch = wanted_stretch(request.headers.get("range"), size) if _may_be_part(request, headers) else "whole"
    if stretch == "none":
        body = {"code": 102, "message": "The range cannot be satisfied.", "data": None}
        return OrjsonResponse(body, 416, headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"})
    told = {**headers, "Accept-Ranges": "bytes"}
    status = 200
    if stretch == "whole":
        stretch = Stretch(0, size - 1)
    else:
        status = 206
        told["Content-Range"] = f"bytes {stretch.first}-{stretch.last}/{size}"
    if not stretch.length:
        return Response(b"", status, media_type=stored.media_type, headers=told)
    told["Content-Length"] = str(stretch.length)
    pieces = await blobs.open_range(stored.key, start=stretch.first, length=stretch.length)
    return StreamingResponse(pieces, status, media_type=stored.media_type, headers=told)


def _may_be_part(request: Request, headers: Mapping[str, str]) -> bool:
    """Tell whether a part may be sent: not when the client has a part of something else already."""
    wanted = request.headers.get("if-range")
    return wanted is None or wanted.strip() in (headers.get("ETag"), headers.get("Last-Modified"))


def _headers(document: Document, *, is_preview: bool) -> dict[str, str]:
    headers = {
        "Content-Disposition": disposition(document.name, "inline" if is_preview else "attachment"),
        "ETag": f'"{document.id}"',  # a document's bytes never change
        "Last-Modified": http_date(document.created_at),
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if is_preview:
        headers["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return headers


def _media_type(document: Document, *, is_preview: bool) -> str:
    if not is_preview:
        return "application/octet-stream"
    guessed, encoding = mimetypes.guess_type(f"x.{document.suffix}", strict=False)
    return guessed if guessed is not None and encoding is None else "application/octet-stream"
