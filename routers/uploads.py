"""Reading uploads: multipart bodies with hard caps, stopped before they are read to their end."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.domain.errors import Invalid, TooLarge
from routers.deps import EdgeConfig

_ENVELOPE_BYTES = 1024 * 1024  # what boundaries and part headers may add
_PIECE_BYTES = 1024 * 1024
_FIELDS = 100


@asynccontextmanager
async def uploaded_files(request: Request, edge: EdgeConfig) -> AsyncGenerator[list[UploadFile], None]:
    """Lend the parts named `file`, in order; their temporary files are gone at the end.

    Raises:
        TooLarge: the body, or the number of files, is over the cap.
        Invalid: it is no multipart body, or a broken one.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Invalid("No file part!")
    too_large = TooLarge(f"The upload is larger than {edge.upload_max_bytes} bytes.")
    most = edge.upload_max_bytes + _ENVELOPE_BYTES
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > most):
        raise too_large

    async def capped() -> AsyncGenerator[bytes, None]:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise too_large
            yield piece

    parser = MultiPartParser(request.headers, capped(), max_files=edge.upload_max_files, max_fields=_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooLarge(f"At most {edge.upload_max_files} files can be uploaded at once.") from error
        raise Invalid("Malformed multipart body.") from error
    except (KeyError, UnicodeDecodeError, ValueError) as error:
        raise Invalid("Malformed multipart body.") from error
    try:
        yield [part for part in form.getlist("file") if isinstance(part, UploadFile)]
    finally:
        await form.close()


async def pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield the bytes of an uploaded file."""
    await file.seek(0)
    while piece := await file.read(_PIECE_BYTES):
        yield piece
