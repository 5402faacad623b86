"""Pages that a document links to, read as parts of it (`analyze_hyperlink`, knowledge.md 5.4): a few, one level."""

import tempfile
from collections.abc import Sequence
from functools import partial
from typing import IO

import anyio
import anyio.to_thread

from app.domain.documents import Attachment, ParsedDocument, ParseFailed
from app.ingest.sandbox import SandboxLimits, parse_in_child
from app.ingest.several import each
from app.net.pages import Page, PageFailed, PageFetcher

PAGES_MOST = 20
_AT_ONCE = 4
_WITHIN_S = 120.0
_BYTES_MOST = 16 * 1024**2


async def linked_pages(
    links: Sequence[str], pages: PageFetcher, limits: SandboxLimits
) -> tuple[list[Attachment], tuple[str, ...]]:
    """Return the pages behind the first twenty links, each as a part under its address, and lines for the log.

    A page that cannot be had or read is a part with the reason as its `failure`; what is not there after two minutes
    is left out, with a line.
    """
    wanted = list(dict.fromkeys(link.partition("#")[0] for link in links))
    read: dict[str, Attachment] = {}
    turn = anyio.Lock()  # to parse: each parser may take all the memory that a document is given

    async def one(link: str) -> None:
        read[link] = await _read(link, pages, limits, turn)

    with anyio.move_on_after(_WITHIN_S):
        await each(wanted[:PAGES_MOST], one, at_once=_AT_ONCE)
    notes: list[str] = []
    if len(wanted) > PAGES_MOST:
        notes.append(f"{len(wanted)} links; the pages of the first {PAGES_MOST} are read.")
    if late := min(len(wanted), PAGES_MOST) - len(read):
        notes.append(f"{late} linked pages did not come in time.")
    return [read[link] for link in wanted if link in read], tuple(notes)


async def _read(link: str, pages: PageFetcher, limits: SandboxLimits, turn: anyio.Lock) -> Attachment:
    try:
        page = await pages.fetch(link, max_bytes=_BYTES_MOST)
        async with turn:
            return Attachment(name=link, document=await _parsed(page, limits))
    except (PageFailed, ParseFailed) as error:
        return Attachment(name=link, document=ParsedDocument(), failure=error.message)


async def _parsed(page: Page, limits: SandboxLimits) -> ParsedDocument:
    with tempfile.TemporaryFile() as file:
        await anyio.to_thread.run_sync(partial(_write, file, page.data))
        return await parse_in_child(file, page.name, limits)


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.seek(0)
