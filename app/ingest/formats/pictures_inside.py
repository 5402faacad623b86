"""The text on pictures that stand inside a document: scans in a DOCX, screenshots on a slide."""

import io
from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from app.domain.documents import Block, ParsedDocument
from app.ingest.formats.ocr import TextReader
from app.ingest.formats.source import Source

_LEAST_PX = 64  # shorter sides are icons
_LEAST_WORDS = 3  # fewer are what a program reads into lines and logos


def read_pictures(document: ParsedDocument, source: Source) -> ParsedDocument:
    """Return the document with the words on its pictures, behind their descriptions or the text they stand in.

    Each picture is read once, within the limits of OCR; without the program for it the document stays as it is.
    Blocking.
    """
    reader = TextReader(source.caps.ocr)
    if not (source.hints.ocr and reader.is_installed and document.pictures):
        return document
    read: dict[int, str] = {}
    for block in document.blocks:
        if block.picture is not None and block.picture not in read:
            read[block.picture] = _words(document.pictures[block.picture].data, reader)
    blocks = tuple(each for block in document.blocks for each in _with_words(block, read))
    notes = (f"{reader.failures} pictures could not be read by OCR.",) if reader.failures else ()
    return replace(document, blocks=blocks, notes=(*document.notes, *notes))


def _words(data: bytes, reader: TextReader) -> str:
    """Our own encoding of the picture opens; what was kept is small enough to be read."""
    with Image.open(io.BytesIO(data)) as picture:
        if min(picture.size) < _LEAST_PX:
            return ""
        text = reader.read(picture) or ""
    return text if len(text.split()) >= _LEAST_WORDS else ""


def _with_words(block: Block, read: dict[int, str]) -> Iterator[Block]:
    words = read.get(block.picture, "") if block.picture is not None else ""
    if words and block.kind == "image":
        yield replace(block, text=f"{block.text}\n{words}" if block.text else words)
        return
    yield block
    if words:
        yield Block(kind="text", text=words, page=block.page)
