"""Lines to chunks: the soft limit, and bodies under their headings."""

from collections.abc import Iterable, Iterator, Sequence

from app.domain.documents import RawChunk
from app.ingest.chunking import Draft
from app.ingest.cutting import CountTokens
from app.ingest.methods.headings import Line
from app.ingest.pieces import MAX_CHUNK_TOKENS

_LEAST_ROOM = 256  # tokens for the text below the headings it stands under


def draft_of(lines: Sequence[Line], *, section: int | None = None) -> Draft:
    """Return one chunk of these lines, in the section of the last heading among them unless it is given."""
    home = section if section is not None else lines[-1].section
    pictures = [line.picture for line in lines if line.picture is not None]
    is_table = all(line.is_table for line in lines)
    chunk = RawChunk(
        content="\n".join(line.text for line in lines if line.text),
        section_order=home,
        positions=(),
        ordinal=0,
        picture=pictures[0] if pictures else None,
        doc_type="table" if is_table else "",
    )
    return Draft(chunk, tuple(line.page for line in lines if line.page is not None))


def soft_merged(lines: Iterable[Line], limit: int, count: CountTokens) -> Iterator[Draft]:
    """Merge lines in order: a chunk ends once it is longer than `limit` tokens; tables are chunks of their own."""
    held: list[Line] = []
    size = 0
    for line in lines:
        tokens = count(line.text) + 1
        if held and (line.is_table or size > limit or size + tokens > MAX_CHUNK_TOKENS):
            yield draft_of(held, section=held[0].section)
            held, size = [], 0
        if line.is_table:
            yield draft_of([line])
            continue
        held.append(line)
        size += tokens
    if held:
        yield draft_of(held, section=held[0].section)


def under_headings(path: Sequence[Line], body: Sequence[Line], count: CountTokens) -> Iterator[Draft]:
    """Yield `path` with `body` below it; a body too long for one chunk is cut, its path repeated.

    Tables are chunks of their own in their place. A path too long to be repeated stands in the first chunk only.
    """
    over = sum(count(line.text) + 1 for line in path)
    room = MAX_CHUNK_TOKENS - over
    if room < _LEAST_ROOM:
        yield from soft_merged((*path, *body), MAX_CHUNK_TOKENS, count)
        return
    held: list[Line] = []
    size = 0
    is_shown = False
    for line in body:
        tokens = count(line.text) + 1
        if held and (line.is_table or size + tokens > room):
            yield draft_of([*path, *held], section=held[0].section)
            held, size, is_shown = [], 0, True
        if line.is_table:
            if path and not is_shown:
                yield draft_of(path)
                is_shown = True
            yield draft_of([line])
            continue
        if tokens > room:
            yield from soft_merged((*path, line), MAX_CHUNK_TOKENS, count)
            is_shown = True
            continue
        held.append(line)
        size += tokens
    if held:
        yield draft_of([*path, *held], section=held[0].section)
    elif path and not is_shown:
        yield draft_of(path)
