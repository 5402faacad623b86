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
- A chunk has one picture: the first among its pieces; the next picture begins the next chunk.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import xxhash

from app.domain.documents import OutlineSection, Position, RawChunk
from app.ingest.cutting import CountTokens
from app.ingest.pieces import MAX_CHUNK_TOKENS, NaiveConfig, Piece, PieceCutter

__all__ = [
    "MAX_CHUNK_TOKENS",
    "Draft",
    "NaiveConfig",
    "chunk_id",
    "chunk_naive",
    "distinct_chunks",
    "draft_naive",
    "number_drafts",
]


@dataclass(frozen=True, slots=True)
class Draft:
    """A chunk that does not know yet which one it is; its page and place are told by `pages`.

    `chunk.positions` that are there already stay; without them, and without pages, the place is the ordinal.
    """

    chunk: RawChunk
    pages: tuple[int, ...] = ()


def chunk_id(content: str, document_id: str) -> str:
    """Return 16 hex digits of xxh64 over content and document id (knowledge.md 5.1)."""
    return xxhash.xxh64((content + document_id).encode("utf-8", "replace")).hexdigest()


def distinct_chunks(chunks: Sequence[RawChunk], document_id: str) -> list[RawChunk]:
    """Return the chunks that hold anything, in order. Those of the same text are one, the first; those that are only a
    picture are told apart by it.
    """
    found: dict[str, RawChunk] = {}
    for chunk in chunks:
        has_text = bool(chunk.content.strip())
        if has_text or chunk.picture is not None:
            key = chunk_id(chunk.content, document_id) if has_text else f"picture {chunk.picture}"
            found.setdefault(key, chunk)
    return sorted(found.values(), key=lambda chunk: chunk.ordinal)


def chunk_naive(sections: Sequence[OutlineSection], config: NaiveConfig, count: CountTokens) -> list[RawChunk]:
    """Return the chunks of all sections in reading order. Same input, same chunks.

    Every character of the sections that is neither white space nor a delimiter is in a chunk, in order. A chunk
    without text holds a picture.
    """
    return number_drafts(draft_naive(sections, config, count))


def draft_naive(sections: Sequence[OutlineSection], config: NaiveConfig, count: CountTokens) -> Iterator[Draft]:
    """Like `chunk_naive`, not numbered yet."""
    cutter = PieceCutter(config, count)
    carried: list[Piece] = []
    for index, section in enumerate(sections):
        if section.heading:
            carried.append(Piece(section.heading.markdown, section.heading.page, "heading", section.heading.picture))
        pieces = cutter.pieces(section)
        if pieces or index == len(sections) - 1:
            yield from _merged(cutter, count, section.order, (*cutter.headings(carried), *pieces))
            carried = []


def number_drafts(drafts: Iterable[Draft]) -> list[RawChunk]:
    """Return the chunks numbered in their order, each with its positions.

    A chunk without a page in a file that has pages stands on that of the chunk before it.
    """
    made = list(drafts)
    page = 1 if any(draft.pages for draft in made) else None
    chunks: list[RawChunk] = []
    for ordinal, draft in enumerate(made):
        pages = sorted({*draft.pages}) or ([] if page is None else [page])
        page = pages[-1] if pages else None
        positions = draft.chunk.positions or _positions(pages, ordinal)
        chunks.append(replace(draft.chunk, ordinal=ordinal, positions=positions))
    return chunks


def _positions(pages: Sequence[int], ordinal: int) -> tuple[Position, ...]:
    """`[i+1,i,i,i,i]` without pages; with pages, the ordinal stands as top so that page and top order chunks."""
    if not pages:
        return ((ordinal + 1, ordinal, ordinal, ordinal, ordinal),)
    return tuple((page, 0, 0, ordinal, ordinal) for page in pages)


def _merged(cutter: PieceCutter, count: CountTokens, order: int, pieces: Iterable[Piece]) -> Iterator[Draft]:
    """Merge pieces by the soft limit (knowledge.md 5.3); headings open the first chunk."""
    held: list[Piece] = []
    size = 0
    for piece in pieces:
        tokens = count(piece.text) + 1  # the line end that joins it
        is_full = size > cutter.limit or size + tokens > cutter.most
        only_headings = all(other.role == "heading" for other in held)
        is_apart = piece.role == "table" or (bool(held) and held[-1].role == "table")
        is_second_picture = piece.picture is not None and any(other.picture is not None for other in held)
        opens = is_full or is_apart or is_second_picture
        if held and opens and (is_second_picture or not (only_headings and size + tokens <= cutter.most)):
            yield _draft(order, held)
            held, size = [], 0
        held.append(piece)
        size += tokens
    if held:
        yield _draft(order, held)


def _draft(order: int, pieces: list[Piece]) -> Draft:
    text = "\n".join(piece.text for piece in pieces if piece.text)
    roles = {piece.role for piece in pieces} - {"heading"}
    picture = next((piece.picture for piece in pieces if piece.picture is not None), None)
    doc_type = next((role for role in ("table", "image") if roles == {role}), "")
    chunk = RawChunk(content=text, section_order=order, positions=(), ordinal=0, picture=picture, doc_type=doc_type)
    return Draft(chunk, tuple(piece.page for piece in pieces if piece.page is not None))
