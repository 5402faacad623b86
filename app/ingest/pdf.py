"""PDF to blocks: text and tables by the parser library, headings from bookmarks, scanned pages by OCR."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pypdfium2
import pypdfium2.raw as pdfium

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.decoding import clean
from app.ingest.formats.ocr import MISSING
from app.ingest.formats.source import Source
from app.ingest.markdown_blocks import markdown_blocks
from app.ingest.native import ReadTooLong, read_native
from app.ingest.pdf_bookmarks import place_bookmarks, read_bookmarks
from app.ingest.pdf_links import read_links
from app.ingest.pdf_pages import PageLook, draw_pages, first_page, read_scanned, subset

_WORDS = re.compile(r"\w+")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")  # the parser library escapes Markdown in PDFs, told not to
_SCANNED_WORDS = 3  # a page with objects on it and fewer words than these in its text layer is a picture
_LAYOUT_SHARE = 0.3  # of the time a document has; the text layer is read when it is used up
_NOT_TITLES = {"", "untitled", "(anonymous)"}


@dataclass(slots=True)
class _Work:
    """What is known of the file while it is read; `numbers` are the pages to read, from 1."""

    source: Source
    document: pypdfium2.PdfDocument
    pages: int
    numbers: list[int]
    looks: list[PageLook]

    @property
    def scanned(self) -> list[int]:
        return [look.number for look in self.looks if look.words < _SCANNED_WORDS and look.has_objects]


def parse_pdf(source: Source) -> ParsedDocument:
    """Return the text of a PDF, with headings where its bookmarks say, else where the type is larger.

    Pages without a text layer are read by OCR, within its limits; what could not be read is told in the notes.

    Raises:
        ParseFailed: damaged, protected by a password, too long, or nothing on any page could be read.
    """
    document = _open(source)
    try:
        work = _work(source, document)
        is_plain = source.hints.layout.strip().lower() == "plain text"
        blocks, late = (_text_layer(work), ()) if is_plain else _layout_in_time(work)
        scanned = [] if is_plain else work.scanned
        read = read_scanned(document, scanned, source)
        blocks = sorted([*blocks, *read.blocks], key=lambda block: block.page or 0)
        pictures, blocks, drawn_notes = draw_pages(document, work.numbers, blocks, source)
        has_text = any(_WORDS.search(block.text) for block in blocks)
        if not has_text and not pictures and (scanned or work.pages):
            raise _nothing_read(work, is_ocr_installed=read.is_installed, is_plain=is_plain)
        if not is_plain and (bookmarks := [mark for mark in read_bookmarks(document) if mark.page in work.numbers]):
            blocks = place_bookmarks(blocks, bookmarks)
        title = clean(document.get_metadata_value("Title")).strip()
        return ParsedDocument(
            blocks=tuple(blocks),
            pages=work.pages,
            title=title if title.lower() not in _NOT_TITLES else None,
            pictures=pictures,
            notes=(*late, *read.notes, *drawn_notes),
            thumbnail=None if source.is_inside else first_page(document, source.caps.pictures),
            links=read_links(document, work.numbers) if source.hints.links else (),
        )
    finally:
        document.close()


def _open(source: Source) -> pypdfium2.PdfDocument:
    if b"%PDF-" not in source.data[:1024]:
        raise ParseFailed(f"{source.filename} is not a PDF file, although its name says so.")
    try:
        return pypdfium2.PdfDocument(source.data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in {pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY}:
            raise ParseFailed(
                "The PDF is protected by a password. Remove the protection and upload it again."
            ) from error
        raise ParseFailed(f"{source.filename} is damaged and cannot be opened as a PDF.") from error


def _work(source: Source, document: pypdfium2.PdfDocument) -> _Work:
    pages = len(document)
    numbers = chosen_pages(pages, source.hints.pages)
    if len(numbers) > source.caps.pages:
        raise ParseFailed(
            f"{source.filename} has {pages} pages; at most {source.caps.pages} are read. Split the file, or choose "
            "pages with `pages` in the parser config."
        )
    if not numbers:
        raise ParseFailed(f"{source.filename} has {pages} pages; none of them is among those chosen by `pages`.")
    return _Work(source, document, pages, numbers, PageLook.of(document, numbers))


def chosen_pages(pages: int, ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the page numbers within `ranges` (from 1, both ends included) in order, all where there are none."""
    if not ranges:
        return list(range(1, pages + 1))
    chosen: set[int] = set()
    for first, last in ranges:
        chosen.update(range(max(1, first), min(pages, last) + 1))
    return sorted(chosen)


def _text_layer(work: _Work) -> list[Block]:
    """Return the lines of the text layer, a block for each page."""
    texts = ((look.number, clean(look.text).strip()) for look in work.looks)
    return [Block(kind="plain", text=text, page=number) for number, text in texts if text]


def _layout_in_time(work: _Work) -> tuple[list[Block], tuple[str, ...]]:
    """Return `(blocks, notes)`: the layout, or the text layer where that takes too long."""
    try:
        return _layout(work), ()
    except ReadTooLong:
        note = (
            f"{work.source.filename} is too long for its layout to be read: tables and type sizes were not looked at."
        )
        return _text_layer(work), (note,)


def _layout(work: _Work) -> list[Block]:
    """Return headings, paragraphs, lists and tables as the parser library tells them apart."""
    source, numbers = work.source, work.numbers
    if all(look.words == 0 for look in work.looks):
        return []
    data = source.data if len(numbers) == work.pages else subset(work.document, numbers)
    native = read_native(
        data,
        source.filename,
        "application/pdf",
        timeout_s=source.caps.timeout_s * _LAYOUT_SHARE,
        max_pages=len(numbers),
    )
    pages = [(numbers[min(page.number, len(numbers)) - 1], page.markdown) for page in native.pages]
    blocks = [
        block for number, text in pages or [(numbers[0], native.markdown)] for block in markdown_blocks(text, number)
    ]
    lost = {look.number for look in work.looks if look.words} - {block.page for block in blocks}
    blocks += [block for block in _text_layer(work) if block.page in lost]  # pages the library passed over
    return [_unescaped(block) for block in sorted(blocks, key=lambda block: block.page or 0)]


def _nothing_read(work: _Work, *, is_ocr_installed: bool, is_plain: bool) -> ParseFailed:
    pages = f"{work.pages} page{'s' if work.pages != 1 else ''}"
    if not work.scanned:
        return ParseFailed(f"{work.source.filename} has no text on its {pages}.")
    told = f"{work.source.filename} has no text layer: its {pages} look scanned"
    if is_plain:
        return ParseFailed(f"{told}, and the layout `Plain Text` reads the text layer only. Choose another one.")
    if not work.source.hints.ocr:
        return ParseFailed(f"{told}, and reading pictures (OCR) is switched off.")
    if is_ocr_installed:
        return ParseFailed(f"{told}, and OCR found no text on them. Upload a sharper scan.")
    return ParseFailed(f"{told}, and {MISSING}. Install it, or upload a version with selectable text.")


def _unescaped(block: Block) -> Block:
    return block if block.kind in {"table", "code"} else replace(block, text=_ESCAPED.sub(r"\1", block.text))
