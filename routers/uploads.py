"""Reading uploads: multipart bodies with hard caps, stopped before they are read to their end."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.domain.errors import BadArgument, Invalid, TooLarge
from routers.deps import EdgeConfig
from routers.part_names import encoded_name

_PIECE_BYTES = 1024 * 1024
_FIELDS = 100


class _TooMuch(MultiPartException):
    """A cap was passed; the parser closes its temporary files for it."""


class _CappedParser(MultiPartParser):
    """Stops in the middle of a part that is too large."""

    most_of_a_part = 0
    _part_bytes = 0

    def on_part_begin(self) -> None:
        """Begin to count."""
        self._part_bytes = 0
        super().on_part_begin()

    def on_headers_finished(self) -> None:
        """Begin a file whose name came encoded under that name."""
        part = self._current_part
        name = encoded_name(part.content_disposition or b"")
        if name is not None:
            part.content_disposition = (part.content_disposition or b"") + b'; filename="x"'
        super().on_headers_finished()
        if name is not None and part.file is not None:
            part.file.filename = name

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take in more of a part."""
        self._part_bytes += end - start
        if self._part_bytes > self.most_of_a_part:
            raise _TooMuch(f"A file is larger than {self.most_of_a_part} bytes.")
        super().on_part_data(data, start, end)


@asynccontextmanager
async def uploaded_files(request: Request, edge: EdgeConfig) -> AsyncGenerator[list[UploadFile], None]:
    """Lend the parts named `file`, in order. Raises as `uploaded_form`."""
    async with uploaded_form(request, edge) as form:
        yield [part for part in form.getlist("file") if isinstance(part, UploadFile)]


@asynccontextmanager
async def uploaded_form(request: Request, edge: EdgeConfig) -> AsyncGenerator[FormData, None]:
    """Lend the parts of a multipart body; their temporary files are gone at the end.

    Raises:
        TooLarge: a file, the body, or the number of files is over its cap.
        Invalid: it is no multipart body, or a broken one.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise BadArgument("No file part!")
    widen: Callable[[], None] | None = getattr(request.state, "widen_body", None)
    if widen is not None:
        widen()

    async def sent() -> AsyncGenerator[bytes, None]:
        try:
            async for piece in request.stream():
                yield piece
        except TooLarge as error:  # of the edge
            raise _TooMuch(error.message) from error

    parser = _CappedParser(request.headers, sent(), max_files=edge.upload_max_files, max_fields=_FIELDS)
    parser.most_of_a_part = edge.upload_max_bytes
    try:
        form = await parser.parse()
    except _TooMuch as error:
        raise TooLarge(error.message) from error
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooLarge(f"At most {edge.upload_max_files} files can be uploaded at once.") from error
        raise Invalid("Malformed multipart body.") from error
    except (KeyError, UnicodeDecodeError, ValueError) as error:
        raise Invalid("Malformed multipart body.") from error
    try:
        yield form
    finally:
        await form.close()


async def pieces_of(file: UploadFile) -> AsyncIterator[bytes]:
    """Yield the bytes of an uploaded file."""
    await file.seek(0)
    while piece := await file.read(_PIECE_BYTES):
        yield piece
