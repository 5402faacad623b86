"""A page of the web taken in as a document (knowledge.md 2.1, `type=web`)."""

from collections.abc import AsyncIterator

from app.net.pages import PageFetcher, named
from app.services.file_names import MAX_NAME_BYTES, check_length, clean_name
from app.services.uploads import IncomingFile


async def page_file(pages: PageFetcher, name: str, url: str, *, max_bytes: int) -> IncomingFile:
    """Fetch the page and return it as a file; the name gets the extension of the page's media type.

    Without a name it is the last part of the address, cut to what a name may have.

    Raises:
        PageFailed: the page could not be had.
        BadArgument: the name is too long.
    """
    check_length(name)
    page = await pages.fetch(url, max_bytes=max_bytes)
    chosen = clean_name(name)
    full = named(chosen, page.extension) if chosen else _fitting(page.name, page.extension)
    check_length(full)

    async def pieces() -> AsyncIterator[bytes]:
        yield page.data

    return IncomingFile(name=full, pieces=pieces)


def _fitting(name: str, extension: str) -> str:
    """Return a name made of an address, cut before its extension where it is too long."""
    clean = clean_name(name) or "page"
    if len(clean.encode()) <= MAX_NAME_BYTES:
        return named(clean, extension)
    room = MAX_NAME_BYTES - len(extension) - 1
    return named(clean.encode()[:room].decode("utf-8", "ignore"), extension)
