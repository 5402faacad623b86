"""The forms of an upload: files, the page at an address, or a document without bytes (knowledge.md 2.1)."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import orjson
from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from app.domain.errors import BadArgument, WrongType
from app.net.pages import PageFetcher
from app.services.file_names import check_length, check_name, clean_name
from app.services.uploads import IncomingFile
from app.services.web_uploads import page_file
from routers.deps import EdgeConfig
from routers.uploads import pieces_of, uploaded_files, uploaded_form

UploadKind = Literal["local", "web", "empty"]

FORM: dict[str, Any] = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "name": {"type": "string", "description": "`type=web`: the document's name."},
                        "url": {"type": "string", "description": "`type=web`: where the page is."},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "description": "`type=empty`: the document's name."}},
                }
            },
        }
    }
}
"""What the body of an upload may hold, for the OpenAPI page."""


@asynccontextmanager
async def incoming(request: Request, edge: EdgeConfig, kind: UploadKind) -> AsyncGenerator[list[IncomingFile], None]:
    """Lend the files that an upload is about.

    Raises:
        BadArgument: a name or an address is missing or wrong.
        PageFailed: the page could not be had.
        TooLarge: a file, the body, or the number of files is over its cap.
        Invalid: the body is none of its kind.
    """
    match kind:
        case "local":
            async with uploaded_files(request, edge) as files:
                yield _files(files)
        case "web":
            pages: PageFetcher = request.app.state.pages
            yield [await _page(await _fields(request, edge), edge, pages)]
        case "empty":
            yield [_empty(await request.body())]


def _files(files: Sequence[UploadFile]) -> list[IncomingFile]:
    if not files:
        raise BadArgument("No file part!")
    for file in files:
        check_name(file.filename or "")
    return [IncomingFile(name=clean_name(file.filename or ""), pieces=partial(pieces_of, file)) for file in files]


async def _fields(request: Request, edge: EdgeConfig) -> dict[str, str]:
    if request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return _texts(await request.form())
    async with uploaded_form(request, edge) as form:
        return _texts(form)


def _texts(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


async def _page(fields: dict[str, str], edge: EdgeConfig, pages: PageFetcher) -> IncomingFile:
    name, url = fields.get("name", ""), fields.get("url", "").strip()
    if not url:
        raise BadArgument("`url` is required", param="url")
    return await page_file(pages, name, url, max_bytes=edge.upload_max_bytes)


def _empty(body: bytes) -> IncomingFile:
    try:
        sent = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise WrongType("Malformed JSON syntax: Missing commas/brackets or invalid encoding") from error
    name = sent.get("name") if isinstance(sent, dict) else None
    if not isinstance(name, str):
        raise WrongType("`name` should be a string", param="name")
    if not clean_name(name):
        raise BadArgument("File name can't be empty.", param="name")
    check_length(name)
    return IncomingFile(name=clean_name(name), pieces=_nothing, is_virtual=True)


async def _nothing() -> AsyncIterator[bytes]:
    no_pieces: tuple[bytes, ...] = ()
    for piece in no_pieces:
        yield piece
