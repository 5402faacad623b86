"""Blocks to the pieces that chunks are merged of (knowledge.md 5.2 to 5.4)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from app.domain.documents import Block, OutlineSection
from app.ingest.cutting import CountTokens, cut, cut_lines
from app.ingest.delimiters import Delimiters, parse_delimiters
from app.ingest.json_parts import json_parts
from app.ingest.tables import html_table, pipe_rows, row_lines

MAX_CHUNK_TOKENS = 2048
_MIN_CUT_TOKENS = 32  # a monstrous piece is not cut finer than this, however small chunk_token_num is
_ROWS_PER_TABLE = 12  # of a sheet as HTML (knowledge.md 5.4)
_APART = frozenset({"sheet", "json", "image"})  # kinds that quoted delimiters leave alone


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveConfig:
    """What the `naive` method reads from a parser config.

    `table_caption` is the file name that opens the captions of tables, which then become HTML (docx); with None they
    become so without a caption where `has_html_tables` (Markdown), and else stay as they are. No chunk is larger than
    `most_tokens`, unless a single character is.
    """

    chunk_token_num: int = 512
    delimiter: str = "\n"
    html4excel: bool = False
    table_caption: str | None = None
    has_html_tables: bool = False
    most_tokens: int = MAX_CHUNK_TOKENS


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a chunk; `picture` is an index into the document's pictures. Only images may be without text."""

    text: str
    page: int | None
    role: Literal["body", "heading", "table", "image"] = "body"
    picture: int | None = None


class PieceCutter:
    """Cuts one section at a time."""

    def __init__(self, config: NaiveConfig, count: CountTokens) -> None:
        self.most = max(2, config.most_tokens)
        self.limit = max(1, min(config.chunk_token_num, self.most))
        self._config = config
        self._cut_at = max(self.limit, min(_MIN_CUT_TOKENS, self.most))
        self._delimiters: Delimiters = parse_delimiters(config.delimiter)
        self._count = count

    def pieces(self, section: OutlineSection) -> list[Piece]:
        """Return the body as pieces no longer than `most`."""
        blocks = section.blocks
        if not self._delimiters.quoted or any(block.kind == "plain" for block in blocks):
            return [piece for block in blocks for piece in self._block_pieces(block, section)]
        found: list[Piece] = []
        for is_apart, group in groupby(blocks, key=lambda block: block.kind in _APART or block.picture is not None):
            if is_apart:
                found += [piece for block in group for piece in self._block_pieces(block, section)]
            else:
                found += self._quoted_pieces(group)
        return found

    def headings(self, headings: Iterable[Piece]) -> Iterator[Piece]:
        """Yield headings no longer than a piece may be: one may be a paragraph that its author only made large."""
        for heading in headings:
            picture = heading.picture
            for part in self._cut(heading.text, self._cut_at):
                yield Piece(part, heading.page, "heading", picture)
                picture = None

    def bounded(self, text: str) -> list[str]:
        """A long piece stays whole, a monstrous one does not."""
        if len(text) <= self.most * 16 and self._count(text) < self.most:
            return [text]
        return cut(text, self._cut_at, self._count)

    def _quoted_pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        text = "\n\n".join(block.markdown for block in blocks)
        for part in self._delimiters.split_quoted(text):
            yield from (Piece(piece, None) for piece in self.bounded(part.strip("\n")))

    def _block_pieces(self, block: Block, section: OutlineSection) -> Iterator[Piece]:
        role: Literal["body", "table", "image"] = "body"
        parts: Iterable[str]
        match block.kind:
            case "plain":
                parts = self._plain(block.text)
            case "table":
                role, parts = "table", self._table(block, section)
            case "code":
                parts = self._cut_listing(block.text)
            case "sheet" if self._config.html4excel:
                role, parts = "table", self._sheet_tables(block)
            case "sheet":
                parts = (part for line in row_lines(block.rows, block.text) for part in self.bounded(line))
            case "json":
                parts = (part for text in json_parts(block.text, self.limit) for part in self.bounded(text))
            case "image":
                role, parts = "image", self._cut(block.text, self._cut_at) if block.text.strip() else [""]
            case _:
                parts = self._cut(block.text, self._cut_at)
        picture = block.picture
        for part in parts:
            yield Piece(part, block.page, role, picture)
            picture = None

    def _plain(self, text: str) -> Iterator[str]:
        if len(text) <= self.limit * 16 and self._count(text) <= self.limit:
            if text.strip():
                yield text.strip()
            return
        for piece in self._delimiters.split(text):
            yield from self.bounded(piece)

    def _cut(self, text: str, limit: int) -> list[str]:
        if len(text) <= limit * 16 and self._count(text) < max(limit, 2):
            return [text]
        return cut(text, max(1, limit - 1), self._count)

    def _cut_listing(self, text: str) -> list[str]:
        if self._count(text) < max(self._cut_at, 2):
            return [text]
        return cut_lines(text, max(1, self._cut_at - 1), self._count)

    def _table(self, block: Block, section: OutlineSection) -> list[str]:
        if self._config.table_caption is not None and (rows := block.rows or pipe_rows(block.text)):
            path = section.path if section.heading else ()
            caption = "Table Location: " + " > ".join((self._config.table_caption, *path))
            return self._html(rows, caption)
        if self._config.has_html_tables and (rows := block.rows or pipe_rows(block.text)):
            return self._html(rows, "", has_spans=False)
        text, limit = block.text, self.most - 1
        if self._count(text) < limit:
            return [text]
        lines = text.split("\n")
        head = "\n".join(lines[:2]) + "\n" if len(lines) > 2 and lines[0].lstrip().startswith("|") else ""
        room = limit - self._count(head)
        if not head or room < limit // 2:
            return cut_lines(text, limit, self._count)
        return [head + part for part in cut_lines("\n".join(lines[2:]), room, self._count)]

    def _sheet_tables(self, block: Block) -> Iterator[str]:
        head, *rest = block.rows or [()]
        for start in range(0, max(1, len(rest)), _ROWS_PER_TABLE):
            yield from self._html((head, *rest[start : start + _ROWS_PER_TABLE]), block.text, has_spans=False)

    def _html(self, rows: Sequence[Sequence[str]], caption: str, *, has_spans: bool = True) -> list[str]:
        """As one HTML table; where that is too long, as several under the same head; a row that is, cut as text."""

        def written(some: Sequence[Sequence[str]]) -> str:
            return html_table(some, caption, has_spans=has_spans)

        return _halved(rows, written, lambda text: self._count(text) < self.most, self.bounded)


def _halved(
    rows: Sequence[Sequence[str]],
    written: Callable[[Sequence[Sequence[str]]], str],
    fits: Callable[[str], bool],
    cut_text: Callable[[str], list[str]],
) -> list[str]:
    found: list[str] = []
    waiting = [rows]
    while waiting:
        part = waiting.pop()
        text = written(part)
        if fits(text):
            found.append(text)
        elif len(part) <= 2:
            found += cut_text(text)
        else:
            half = 1 + (len(part) - 1) // 2
            waiting += [(part[0], *part[half:]), part[:half]]
    return found
