"""The parser library: every call to it goes through here, with its caches, OCR and models switched off."""

import asyncio
from dataclasses import dataclass

import xberg

from app.domain.documents import ParseFailed
from app.ingest.decoding import clean


class ReadTooLong(ParseFailed):
    """The library was not done in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativePage:
    """One page as Markdown; `number` counts from 1."""

    number: int
    markdown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeText:
    """What the library read: the whole as Markdown, and by page where the format has pages."""

    markdown: str
    pages: tuple[NativePage, ...]


def read_native(
    data: bytes,
    filename: str,
    mime_type: str,
    *,
    timeout_s: float,
    max_pages: int | None,
    output: str = "markdown",
) -> NativeText:
    """Return the file's text as Markdown, or as `output` "plain" says. Blocking; meant for the parse child.

    Raises:
        ReadTooLong: it was not done in `timeout_s`.
        ParseFailed: the library cannot read it.
    """
    config = xberg.ExtractionConfig(
        output_format=output,
        use_cache=False,  # it writes document text under the user's cache folder otherwise
        disable_ocr=True,
        escape_markdown=False,
        enable_quality_processing=False,  # heuristics that rewrite text
        extraction_timeout_secs=max(1, int(timeout_s)),
        max_archive_depth=0,
        max_embedded_file_bytes=0,
        pages=xberg.PageConfig(extract_pages=True),
        security_limits=xberg.SecurityLimits(max_pages=max_pages, max_xml_depth=256, max_nesting_depth=256),
    )
    given = xberg.ExtractInput(kind="bytes", bytes=data, filename=filename, mime_type=mime_type)

    async def read() -> xberg.ExtractionResult:
        return await xberg.extract(given, config)

    try:
        answer = asyncio.run(read())  # the library wants a running loop; this thread has none of its own
    except (RuntimeError, ValueError, OSError, xberg.XbergError) as error:  # broken input is a bare RuntimeError
        if isinstance(error, xberg.XbergTimeoutError) or "timed out" in str(error):  # so is time that ran out
            raise ReadTooLong(f"{filename} took longer than {timeout_s:g} s to read and was given up.") from error
        raise ParseFailed(f"{filename} is damaged or is not what its extension says.") from error
    if not answer.results:
        raise ParseFailed(f"{filename} could not be read.")
    result = answer.results[0]
    pages = tuple(NativePage(number=page.page_number, markdown=clean(page.content)) for page in result.pages or ())
    return NativeText(markdown=clean(result.content), pages=pages)
