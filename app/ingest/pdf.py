"""PDF to blocks: text and tables by the parser library, the outline from the file's own bookmarks."""

import re
import unicodedata
from dataclasses import dataclass, replace

import pypdfium2
import pypdfium2.raw as pdfium

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.decoding import clean
from app.ingest.markdown_blocks import markdown_blocks
from app.ingest.native import read_native

_WORDS = re.compile(r"\w+")
_NUMBERED = re.compile(r"^\W*(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.?\s+(?=\S)")
_TITLE_STARTS = re.compile(
    r"\A[\s*_#]*(?:(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.?\s+)?[*_]*|(?<!\S)[*_]*(?:\d+(?:\.\d+)+)\.?\s+[*_]*|\n[*_]*"
)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")  # the parser library escapes Markdown in PDFs, told not to
_MAX_TITLE_BLOCKS = 4
_MIN_INNER_KEY = 8
_MAX_BOOKMARKS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bookmark:
    title: str
    level: int
    page: int


def parse_pdf(data: bytes, filename: str, *, timeout_s: float, max_pages: int) -> ParsedDocument:
    """Return the text layer of a PDF, with headings where its bookmarks say, else where the type is larger.

    Raises:
        ParseFailed: damaged, protected by a password, too long, or scanned without a text layer.
    """
    pages, title, bookmarks = _look_inside(data, filename, max_pages)
    native = read_native(data, filename, "application/pdf", timeout_s=timeout_s, max_pages=max_pages)
    blocks = [block for page in native.pages for block in markdown_blocks(page.markdown, page.number)]
    if not native.pages:
        blocks = markdown_blocks(native.markdown, 1)
    blocks = [_unescaped(block) for block in blocks]
    if not any(_WORDS.search(block.text) for block in blocks):
        raise ParseFailed(
            f"{filename} has no text layer: its {pages} page{'s' if pages != 1 else ''} look scanned, and reading "
            "pictures (OCR) is not available. Upload a version with selectable text."
        )
    if bookmarks:
        blocks = _place_bookmarks(blocks, bookmarks)
    return ParsedDocument(blocks=tuple(blocks), pages=pages, title=title)


def _look_inside(data: bytes, filename: str, max_pages: int) -> tuple[int, str | None, list[_Bookmark]]:
    if b"%PDF-" not in data[:1024]:
        raise ParseFailed(f"{filename} is not a PDF file, although its name says so.")
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in {pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY}:
            raise ParseFailed(
                "The PDF is protected by a password. Remove the protection and upload it again."
            ) from error
        raise ParseFailed(f"{filename} is damaged and cannot be opened as a PDF.") from error
    try:
        pages = len(document)
        if pages > max_pages:
            raise ParseFailed(f"{filename} has {pages} pages; at most {max_pages} are read.")
        title = clean(document.get_metadata_value("Title")).strip()
        return pages, title if title.lower() not in {"", "untitled", "(anonymous)"} else None, _bookmarks(document)
    finally:
        document.close()


def _bookmarks(document: pypdfium2.PdfDocument) -> list[_Bookmark]:
    found: list[_Bookmark] = []
    for item in document.get_toc(max_depth=6):
        title = " ".join(clean(item.get_title()).split())
        destination = item.get_dest()
        index = destination.get_index() if destination else None
        if title and index is not None:
            found.append(_Bookmark(title=title, level=min(item.level + 1, 6), page=index + 1))
        if len(found) >= _MAX_BOOKMARKS:
            break
    return found


def _place_bookmarks(blocks: list[Block], bookmarks: list[_Bookmark]) -> list[Block]:
    """Return `blocks` with a heading for each bookmark; guessed headings become text again.

    A bookmark stands where its page says its title, over several blocks if it is broken so, else at the page's
    start. Bookmarks are taken in the file's order, so a later one never lands before an earlier one.
    """
    placed: list[Block] = []
    rest = [_as_text(block) for block in blocks]
    for bookmark in bookmarks:
        start = next((i for i, block in enumerate(rest) if (block.page or 0) >= bookmark.page), len(rest))
        end = next((i for i in range(start, len(rest)) if (rest[i].page or 0) > bookmark.page), len(rest))
        found = _find(rest[start:end], bookmark.title)
        heading = Block(kind="heading", text=bookmark.title, level=bookmark.level, page=bookmark.page)
        if found is None:
            placed += [*rest[:start], heading]
            rest = rest[start:]
            continue
        first, before, last, after = found
        placed += rest[: start + first]
        if before:
            placed.append(replace(rest[start + first], text=before))
        placed.append(heading)
        tail = [replace(rest[start + last], text=after)] if after else []
        rest = tail + rest[start + last + 1 :]
    return placed + rest


def _find(blocks: list[Block], title: str) -> tuple[int, str, int, str] | None:
    """Return (first block, text before the title in it, last block, text after it), None if it is not there."""
    wanted = _key(_NUMBERED.sub("", title)) or _key(title)
    for first, block in enumerate(blocks):
        for found in _TITLE_STARTS.finditer(block.text):
            ended = _match(blocks, first, found.end(), wanted)
            if ended:
                last, after = ended
                return first, _outer(block.text[: found.start()]), last, _outer(blocks[last].text[after:])
            if len(wanted) < _MIN_INNER_KEY:
                break  # a short title is looked for at the start of a block only
    return None


def _match(blocks: list[Block], first: int, offset: int, wanted: str) -> tuple[int, int] | None:
    """Follow `wanted` letter by letter over marks, hyphens and block ends; return (last block, offset after)."""
    at = 0
    for index in range(first, min(len(blocks), first + _MAX_TITLE_BLOCKS)):
        text = blocks[index].text
        for position in range(offset if index == first else 0, len(text)):
            letters = _key(text[position])
            if not letters:
                continue
            if not wanted.startswith(letters, at):
                return None
            at += len(letters)
            if at == len(wanted):
                follows = text[position + 1 : position + 2]
                return None if follows.isalnum() else (index, position + 1)
    return None


def _key(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKC", text).casefold() if letter.isalnum())


def _outer(text: str) -> str:
    """The text before or after a title, nothing if it is only marks."""
    return text.strip(" *_\n\t") if _WORDS.search(text) else ""


def _as_text(block: Block) -> Block:
    return replace(block, kind="text", level=0) if block.kind == "heading" else block


def _unescaped(block: Block) -> Block:
    return block if block.kind in {"table", "code"} else replace(block, text=_ESCAPED.sub(r"\1", block.text))
