"""The manual method: text of one section together (knowledge.md 5.5)."""

from collections import Counter
from collections.abc import Iterator, Sequence

from app.ingest.chunking import Draft
from app.ingest.cutting import CountTokens
from app.ingest.methods.base import WORD_FILES, Cut, Source, number_drafts
from app.ingest.methods.headings import Line, levels, lines_of
from app.ingest.methods.packing import draft_of, under_headings

_SMALL_TOKENS = 32
_MOST_TOKENS = 1024


def manual(source: Source) -> Cut:
    """Word files: a chunk per heading with the headings above it. PDF: lines of one section up to 1024 tokens."""
    lines = lines_of(source)
    if source.suffix in WORD_FILES:
        drafts = (draft for path, body in _leaves(lines) for draft in under_headings(path, body, source.count))
        return Cut(chunks=number_drafts(drafts))
    return Cut(chunks=number_drafts(_grouped(lines, section_ids(lines), source.count)))


def _leaves(lines: Sequence[Line]) -> Iterator[tuple[list[Line], list[Line]]]:
    path: list[Line] = []
    body: list[Line] = []
    for line in lines:
        if not line.level:
            body.append(line)
            continue
        if body or (path and path[-1].level >= line.level):
            yield list(path), body
            body = []
        while path and path[-1].level >= line.level:
            path.pop()
        path.append(line)
    if path or body:
        yield list(path), body


def section_ids(lines: Sequence[Line]) -> list[int]:
    """Number the lines by section: one begins at a heading of the most frequent level, or above it."""
    found = levels(lines)
    if found is None:
        return [0] * len(lines)
    frequent = Counter(level for level in found if level is not None).most_common()
    dominant = max(level for level, times in frequent if times == frequent[0][1])
    ids: list[int] = []
    current = 0
    for at, level in enumerate(found):
        opens = level is not None and level <= dominant
        if opens and at and not (found[at - 1] is not None and (found[at - 1] or 0) < (level or 0)):
            current += 1
        ids.append(current)
    return ids


def _grouped(lines: Sequence[Line], ids: Sequence[int], count: CountTokens) -> Iterator[Draft]:
    """Append lines while the chunk is below 32 tokens, or below 1024 and of the same section."""
    held: list[Line] = []
    size = 0
    last = 0
    for line, section in zip(lines, ids, strict=True):
        goes_on = size < _SMALL_TOKENS or (size < _MOST_TOKENS and section == last)
        if held and (line.is_table or not goes_on):
            yield draft_of(held, section=held[0].section)
            held, size = [], 0
        if line.is_table:
            yield draft_of([line])
            continue
        held.append(line)
        size += count(line.text) + 1
        last = section
    if held:
        yield draft_of(held, section=held[0].section)
