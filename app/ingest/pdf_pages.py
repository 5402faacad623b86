"""Pages of a PDF one by one: what is on them, pictures of them, the text on those that were scanned."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pypdfium2
from PIL import Image

from app.domain.documents import Block, ParseFailed, Picture
from app.ingest.caps import PictureCaps
from app.ingest.formats.ocr import MISSING, TextReader
from app.ingest.formats.pictures import Gallery, thumbnail
from app.ingest.formats.source import Source

_WORDS = re.compile(r"\w+")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n+")
_OCR_DPI = 300
_POINTS = 72
_TOLD_PAGES = 10


@dataclass(frozen=True, slots=True)
class PageLook:
    """A page at a glance: its number from 1, its text layer and the words in it, whether anything is drawn on it."""

    number: int
    text: str
    words: int
    has_objects: bool

    @classmethod
    def of(cls, document: pypdfium2.PdfDocument, numbers: Sequence[int]) -> "list[PageLook]":
        """Look at each of the pages; one that cannot be opened counts as empty."""
        looks: list[PageLook] = []
        for number in numbers:
            try:
                page = document[number - 1]
                layer = page.get_textpage()
                text = layer.get_text_bounded()
                layer.close()
                words = len(_WORDS.findall(text))
                has_objects = bool(words) or next(iter(page.get_objects(max_depth=2)), None) is not None
                page.close()
            except pypdfium2.PdfiumError:
                text, words, has_objects = "", 0, False
            looks.append(cls(number, text, words, has_objects))
        return looks


@dataclass(slots=True)
class ScannedText:
    """What OCR read, and the log lines on what it did not."""

    is_installed: bool
    blocks: list[Block] = field(default_factory=list[Block])
    notes: list[str] = field(default_factory=list[str])


def read_scanned(document: pypdfium2.PdfDocument, numbers: Sequence[int], source: Source) -> ScannedText:
    """Read the pages by OCR, within its limits."""
    reader = TextReader(source.caps.ocr)
    found = ScannedText(reader.is_installed)
    if not numbers:
        return found
    if not source.hints.ocr or not reader.is_installed:
        why = "OCR is switched off" if not source.hints.ocr else MISSING
        found.notes.append(_unread(numbers, why))
        return found
    unread: list[int] = []
    for number in numbers:
        image = None if reader.is_spent else _drawn(document, number, _OCR_DPI / _POINTS, source.caps.ocr.side_px)
        text = reader.read(image) if image else None
        if text is None:
            unread.append(number)
            continue
        pieces = (piece.strip() for piece in _PARAGRAPHS.split(text))
        found.blocks += [Block(kind="text", text=piece, page=number) for piece in pieces if _WORDS.search(piece)]
    if unread:
        why = "the time or number of pages for OCR was used up" if reader.is_spent else "OCR failed"
        found.notes.append(_unread(unread, why))
    return found


def draw_pages(
    document: pypdfium2.PdfDocument, numbers: Sequence[int], blocks: list[Block], source: Source
) -> tuple[tuple[Picture, ...], list[Block], tuple[str, ...]]:
    """Draw each page where that is asked for; return `(pictures, blocks, notes)`.

    A page's picture is an `image` block without text before the page's other blocks.
    """
    if not source.hints.page_pictures:
        return (), blocks, ()
    caps = source.caps.pictures
    gallery = Gallery(caps)
    drawn: list[Block] = []
    for number in numbers:
        image = None if gallery.is_full else _drawn(document, number, 1.5, caps.side_px)
        index = gallery.add_drawn(image) if image else None
        if index is not None:
            drawn.append(Block(kind="image", text="", page=number, picture=index))
    notes = (f"{len(numbers) - len(drawn)} pages were not drawn.",) if len(drawn) < len(numbers) else ()
    ordered = sorted([*drawn, *blocks], key=lambda block: block.page or 0)  # stable: pictures stay first
    return tuple(gallery.pictures), ordered, notes


def first_page(document: pypdfium2.PdfDocument, caps: PictureCaps) -> bytes | None:
    """Return a small PNG of the first page."""
    image = _drawn(document, 1, 1.0, 2 * caps.thumbnail_px)
    return thumbnail(image, caps) if image else None


def subset(document: pypdfium2.PdfDocument, numbers: Sequence[int]) -> bytes:
    """Return a PDF of these pages only.

    Raises:
        ParseFailed: damaged.
    """
    chosen = pypdfium2.PdfDocument.new()
    try:
        chosen.import_pages(document, [number - 1 for number in numbers])
        file = io.BytesIO()
        chosen.save(file)
    except pypdfium2.PdfiumError as error:
        raise ParseFailed("The chosen pages of the PDF are damaged.") from error
    finally:
        chosen.close()
    return file.getvalue()


def _drawn(document: pypdfium2.PdfDocument, number: int, scale: float, side_px: int) -> Image.Image | None:
    """Draw a page, no longer on a side than `side_px`; None if it cannot be drawn."""
    try:
        page = document[number - 1]
        longest = max(*page.get_size(), 1.0)
        bitmap = page.render(scale=min(scale, side_px / longest), rev_byteorder=True)
        image: Image.Image = bitmap.to_pil().convert("RGB")
        page.close()
    except (pypdfium2.PdfiumError, ValueError, OSError):
        return None
    return image


def _unread(numbers: Sequence[int], why: str) -> str:
    told = ", ".join(map(str, numbers[:_TOLD_PAGES]))
    more = f" and {len(numbers) - _TOLD_PAGES} more" if len(numbers) > _TOLD_PAGES else ""
    which = f"Pages {told}{more} look scanned and were" if len(numbers) > 1 else f"Page {told} looks scanned and was"
    return f"{which} not read: {why}."
