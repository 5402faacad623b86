"""The `naive` chunk method (knowledge.md 5.2 to 5.4).

What is decided here where the contract leaves room:

- A chunk never spans two sections: a section can be re-chunked alone (sections.md 1), a citation names one
  place, and an embedding has one subject. A heading without a body of its own opens the next section's
  first chunk instead of being a chunk of three words.
- A section's first chunk begins with its heading line.
- A section that fits `chunk_token_num` is one chunk, except for its tables, which are chunks of their own
  in their place.
- The soft limit stays soft, but no piece is longer than 2048 tokens and no chunk grows beyond that: a
  monstrous piece is cut after sentences, else words, into parts of about `chunk_token_num`. Paragraphs and
  listings of structured files are cut so already beyond `chunk_token_num`.
- A table beyond 2048 tokens is cut between rows, its head repeated.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import xxhash

from app.domain.documents import Block, OutlineSection, Position, RawChunk
from app.ingest.cutting import CountTokens, cut, cut_lines
from app.ingest.delimiters import Delimiters, parse_delimiters

MAX_CHUNK_TOKENS = 2048
_MIN_CUT_TOKENS = 32  # a monstrous piece is not cut finer than this, however small chunk_token_num is


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveConfig:
    """What the `naive` method reads from a parser config."""

    chunk_token_num: int = 512
    delimiter: str = "\n"


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    page: int | None
    role: Literal["body", "heading", "table"] = "body"


@dataclass(frozen=True, slots=True)
class _Draft:
    content: str
    pages: tuple[int, ...]
    section_order: int


def chunk_id(content: str, document_id: str) -> str:
    """Return 16 hex digits of xxh64 over content and document id (knowledge.md 5.1)."""
    return xxhash.xxh64((content + document_id).encode("utf-8", "replace")).hexdigest()


def chunk_naive(sections: Sequence[OutlineSection], config: NaiveConfig, count: CountTokens) -> list[RawChunk]:
    """Return the chunks of all sections in reading order. Same input, same chunks.

    Every character of the sections that is neither white space nor a delimiter is in a chunk, in order.
    """
    chunker = _Chunker(config, count)
    drafts: list[_Draft] = []
    carried: list[_Piece] = []
    for index, section in enumerate(sections):
        if section.heading:
            carried.append(_Piece(section.heading.markdown, section.heading.page, "heading"))
        pieces = chunker.pieces(section)
        if pieces or index == len(sections) - 1:
            drafts += chunker.drafts(section.order, carried, pieces)
            carried = []
    return [
        RawChunk(
            content=draft.content,
            section_order=draft.section_order,
            positions=_positions(draft.pages, ordinal),
            ordinal=ordinal,
        )
        for ordinal, draft in enumerate(drafts)
    ]


def _positions(pages: tuple[int, ...], ordinal: int) -> tuple[Position, ...]:
    """`[i+1,i,i,i,i]` without pages; with pages, the ordinal stands as top so that page and top order chunks."""
    if not pages:
        return ((ordinal + 1, ordinal, ordinal, ordinal, ordinal),)
    return tuple((page, 0, 0, ordinal, ordinal) for page in pages)


class _Chunker:
    """Cuts one section at a time."""

    def __init__(self, config: NaiveConfig, count: CountTokens) -> None:
        self._limit = max(1, min(config.chunk_token_num, MAX_CHUNK_TOKENS))
        self._cut_at = max(self._limit, _MIN_CUT_TOKENS)
        self._delimiters: Delimiters = parse_delimiters(config.delimiter)
        self._count = count

    def pieces(self, section: OutlineSection) -> list[_Piece]:
        """Return the body as pieces no longer than `MAX_CHUNK_TOKENS`."""
        if self._delimiters.quoted and not any(block.kind == "plain" for block in section.blocks):
            return list(self._quoted_pieces(section.blocks))
        return [piece for block in section.blocks for piece in self._block_pieces(block)]

    def drafts(self, order: int, headings: list[_Piece], pieces: list[_Piece]) -> Iterator[_Draft]:
        """Merge pieces by the soft limit (knowledge.md 5.3); headings open the first chunk."""
        held: list[_Piece] = []
        size = 0
        for piece in (*self._bounded_headings(headings), *pieces):
            tokens = self._count(piece.text) + 1  # the line end that joins it
            is_full = size > self._limit or size + tokens > MAX_CHUNK_TOKENS
            only_headings = all(other.role == "heading" for other in held)
            is_apart = piece.role == "table" or (bool(held) and held[-1].role == "table")
            if held and (is_full or is_apart) and not (only_headings and size + tokens <= MAX_CHUNK_TOKENS):
                yield _draft(order, held)
                held, size = [], 0
            held.append(piece)
            size += tokens
        if held:
            yield _draft(order, held)

    def _bounded_headings(self, headings: list[_Piece]) -> Iterator[_Piece]:
        """A `heading` may be a paragraph that its author only made large."""
        for heading in headings:
            for part in self._cut(heading.text, self._cut_at):
                yield _Piece(part, heading.page, "heading")

    def _quoted_pieces(self, blocks: Iterable[Block]) -> Iterator[_Piece]:
        text = "\n\n".join(block.markdown for block in blocks)
        for part in self._delimiters.split_quoted(text):
            yield from (_Piece(piece, None) for piece in self._bounded(part.strip("\n")))

    def _block_pieces(self, block: Block) -> Iterator[_Piece]:
        match block.kind:
            case "plain":
                yield from (_Piece(part, block.page) for part in self._plain(block.text))
            case "table":
                yield from (_Piece(part, block.page, "table") for part in self._table(block.text))
            case "code":
                yield from (_Piece(part, block.page) for part in self._cut_listing(block.text))
            case _:
                yield from (_Piece(part, block.page) for part in self._cut(block.text, self._cut_at))

    def _plain(self, text: str) -> Iterator[str]:
        if len(text) <= self._limit * 16 and self._count(text) <= self._limit:
            if text.strip():
                yield text.strip()
            return
        for piece in self._delimiters.split(text):
            yield from self._bounded(piece)

    def _bounded(self, piece: str) -> list[str]:
        """A long piece stays whole, a monstrous one does not."""
        if len(piece) <= MAX_CHUNK_TOKENS * 16 and self._count(piece) < MAX_CHUNK_TOKENS:
            return [piece]
        return cut(piece, self._cut_at, self._count)

    def _cut(self, text: str, limit: int) -> list[str]:
        if len(text) <= limit * 16 and self._count(text) < max(limit, 2):
            return [text]
        return cut(text, max(1, limit - 1), self._count)

    def _cut_listing(self, text: str) -> list[str]:
        if self._count(text) < max(self._cut_at, 2):
            return [text]
        return cut_lines(text, max(1, self._cut_at - 1), self._count)

    def _table(self, text: str) -> list[str]:
        limit = MAX_CHUNK_TOKENS - 1
        if self._count(text) < limit:
            return [text]
        lines = text.split("\n")
        head = "\n".join(lines[:2]) + "\n" if len(lines) > 2 and lines[0].lstrip().startswith("|") else ""
        room = limit - self._count(head)
        if not head or room < limit // 2:
            return cut_lines(text, limit, self._count)
        return [head + part for part in cut_lines("\n".join(lines[2:]), room, self._count)]


def _draft(order: int, pieces: list[_Piece]) -> _Draft:
    pages = sorted({piece.page for piece in pieces if piece.page is not None})
    return _Draft("\n".join(piece.text for piece in pieces), tuple(pages), order)
