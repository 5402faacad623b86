"""Formats that only the parser library reads: RTF, and Office files from before 2007."""

import re
from collections.abc import Callable

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.formats.source import Source
from app.ingest.markdown_blocks import markdown_blocks, split_front_matter
from app.ingest.native import NativeText, read_native

_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()\s]*\)")
_WORDS = re.compile(r"\w")
_SLIDE_RULE = re.compile(r"\n-----\n")
_DOC, _PPT, _RTF = "application/msword", "application/vnd.ms-powerpoint", "application/rtf"
_IWORK = {
    "pages": "application/x-iwork-pages-sffpages",
    "key": "application/x-iwork-keynote-sffkey",
    "numbers": "application/x-iwork-numbers-sffnumbers",
}


def parse_rtf(source: Source) -> ParsedDocument:
    """Read RTF."""
    if not source.data.lstrip().startswith(b"{\\rtf"):
        return _renamed(source)
    return _document(source, _markdown(_read(source, _RTF).markdown))


def parse_doc(source: Source) -> ParsedDocument:
    """Read a Word document from before 2007 as running text, or whatever else was saved under that name."""
    if not source.is_ole:
        return _renamed(source)
    text = _read(source, _DOC, output="plain").markdown.strip()
    return _document(source, [Block(kind="plain", text=text)])


def parse_ppt(source: Source) -> ParsedDocument:
    """Read a PowerPoint presentation from before 2007, a page for each slide."""
    if not source.is_ole:
        return _renamed(source)
    slides = _SLIDE_RULE.split("\n" + _read(source, _PPT).markdown)
    slides = slides[1:] if not slides[0].strip() else slides
    blocks = [block for number, slide in enumerate(slides, 1) for block in _markdown(slide, number)]
    return _document(source, blocks, pages=len(slides))


def parse_iwork(source: Source) -> ParsedDocument:
    """Read a file of Apple's Pages, Keynote or Numbers."""
    from app.ingest.archives import Parts
    from app.ingest.file_types import suffix

    if not source.is_zip:
        raise source.damaged()
    Parts(source.data, source.filename, source.caps.archive, must_hold="Index/Document.iwa")
    return _document(source, _markdown(_read(source, _IWORK[suffix(source.filename)]).markdown))


def _renamed(source: Source) -> ParsedDocument:
    """Word processors write RTF, HTML and newer formats into files they call .doc."""
    from app.ingest.formats.plain import parse_html
    from app.ingest.formats.slides import parse_pptx
    from app.ingest.formats.word import parse_docx

    readers: tuple[tuple[bool, Callable[[Source], ParsedDocument]], ...] = (
        (source.data.lstrip().startswith(b"{\\rtf"), parse_rtf),
        (source.is_zip and b"word/" in source.data, parse_docx),
        (source.is_zip and b"ppt/" in source.data, parse_pptx),
        (b"<html" in source.data[:4000].lower(), parse_html),
    )
    for is_it, read in readers:
        if is_it:
            return read(source)
    raise source.damaged()


def _read(source: Source, mime_type: str, *, output: str = "markdown") -> NativeText:
    if source.is_protected_ole:
        raise source.protected()
    return read_native(
        source.data, source.filename, mime_type, timeout_s=source.caps.timeout_s, max_pages=None, output=output
    )


def _document(source: Source, blocks: list[Block], *, pages: int | None = None) -> ParsedDocument:
    if not any(_WORDS.search(block.text) for block in blocks):
        raise ParseFailed(f"No text could be read from {source.filename}. Save it in a current format, or as PDF.")
    return ParsedDocument(blocks=tuple(blocks), pages=pages)


def _markdown(text: str, page: int | None = None) -> list[Block]:
    _, _, body = split_front_matter(text)
    return markdown_blocks(_IMAGE.sub("", body), page)
