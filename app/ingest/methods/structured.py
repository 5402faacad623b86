"""Methods that follow the headings of long texts: book and laws (knowledge.md 5.5)."""

from collections.abc import Iterator, Sequence

from app.ingest.chunking import Draft
from app.ingest.cutting import CountTokens
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.methods.contents import with_colon_titles, without_contents
from app.ingest.methods.headings import Line, levels, lines_of
from app.ingest.methods.packing import draft_of, soft_merged, under_headings
from app.ingest.pieces import MAX_CHUNK_TOKENS

_SOFT_TOKENS = 256
_PACKED_TOKENS = 218
_BOOK_DEPTH = 5
_LAWS_DEPTH = 2

_Ranked = Sequence[tuple[Line, int | None]]


def book(source: Source) -> Cut:
    """Text below the nearest headings, up to five of them, packed to about 218 tokens; else merged at 256."""
    lines = with_colon_titles(without_contents(lines_of(source)))
    found = levels(lines)
    if found is None:
        return Cut(chunks=number_drafts(soft_merged(lines, _SOFT_TOKENS, source.count)))
    return Cut(chunks=number_drafts(_packed(list(zip(lines, found, strict=True)), source.count)))


def laws(source: Source) -> Cut:
    """Text joined to its nearest heading of the two highest levels, below the path of headings; else merged at 256."""
    lines = without_contents(lines_of(source))
    found = levels(lines)
    if found is None:
        return Cut(chunks=number_drafts(soft_merged(lines, _SOFT_TOKENS, source.count)))
    deepest = sorted({level for level in found if level is not None})[:_LAWS_DEPTH][-1]
    ranked = [
        (line, level if level is not None and level <= deepest else None)
        for line, level in zip(lines, found, strict=True)
    ]
    drafts = (draft for path, body in _bodies(ranked) for draft in under_headings(path, body, source.count))
    return Cut(chunks=number_drafts(drafts))


def _bodies(ranked: _Ranked) -> Iterator[tuple[list[Line], list[Line]]]:
    """Yield every heading that has a body, or nothing below it, with the path to it; before the first, no path."""
    path: list[tuple[int, Line]] = []
    body: list[Line] = []
    for at, (line, level) in enumerate(ranked):
        if level is None:
            body.append(line)
        else:
            if body:
                yield [above for _, above in path], body
                body = []
            while path and path[-1][0] >= level:
                path.pop()
            path.append((level, line))
        after = ranked[at + 1][1] if at + 1 < len(ranked) else None
        is_leaf = level is not None and (at + 1 == len(ranked) or (after is not None and after <= level))
        if is_leaf:
            yield [above for _, above in path], []
    if body:
        yield [above for _, above in path], body


def _packed(ranked: _Ranked, count: CountTokens) -> Iterator[Draft]:
    """Pack lines below their headings; a chunk begins with the headings that its first line stands under."""
    path: list[tuple[int, Line]] = []
    held: list[Line] = []
    size = 0
    has_body = False
    for line, level in ranked:
        tokens = count(line.text) + 1
        if level is not None:
            while path and path[-1][0] >= level:
                path.pop()
        is_full = size + tokens > _PACKED_TOKENS
        if held and (line.is_table or size + tokens > MAX_CHUNK_TOKENS or (is_full and has_body)):
            yield draft_of(held, section=_home(held))
            held, size, has_body = [], 0, False
        if line.is_table:
            yield draft_of([line])
            continue
        if not held:
            above = [heading for _, heading in path[-_BOOK_DEPTH:]]
            size = sum(count(heading.text) + 1 for heading in above)
            held = above if size + tokens < MAX_CHUNK_TOKENS // 2 else []
            size = size if held else 0
        if level is not None:
            path.append((level, line))
        held.append(line)
        size += tokens
        has_body = has_body or level is None
    if held:
        yield draft_of(held, section=_home(held))


def _home(lines: Sequence[Line]) -> int:
    """The section of the first line that is not a heading repeated from above: sections only grow."""
    return lines[-1].section if len({line.section for line in lines}) == 1 else _first_own(lines)


def _first_own(lines: Sequence[Line]) -> int:
    body = [line.section for line in lines if not line.level]
    return body[0] if body else lines[-1].section
