"""A PDF's own bookmarks as headings among its blocks."""

import re
import unicodedata
from dataclasses import dataclass, replace

import pypdfium2

from app.domain.documents import Block
from app.ingest.decoding import clean

_WORDS = re.compile(r"\w+")
_NUMBERED = re.compile(r"^\W*(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.?\s+(?=\S)")
_TITLE_STARTS = re.compile(
    r"\A[\s*_#]*(?:(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)+)\.?\s+)?[*_]*|(?<!\S)[*_]*(?:\d+(?:\.\d+)+)\.?\s+[*_]*|\n[*_]*"
)
_MAX_TITLE_BLOCKS = 4
_MIN_INNER_KEY = 8
_MAX_BOOKMARKS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """One entry of the outline; `level` and `page` count from 1."""

    title: str
    level: int
    page: int


def read_bookmarks(document: pypdfium2.PdfDocument) -> list[Bookmark]:
    """Return the outline's entries that lead to a page of the file, in the file's order."""
    found: list[Bookmark] = []
    for item in document.get_toc(max_depth=6):
        title = " ".join(clean(item.get_title()).split())
        destination = item.get_dest()
        index = destination.get_index() if destination else None
        if title and index is not None:
            found.append(Bookmark(title=title, level=min(item.level + 1, 6), page=index + 1))
        if len(found) >= _MAX_BOOKMARKS:
            break
    return found


def place_bookmarks(blocks: list[Block], bookmarks: list[Bookmark]) -> list[Block]:
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
