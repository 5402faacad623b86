"""The paper method: the abstract by itself, the rest by section (knowledge.md 5.5)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.documents import RawChunk
from app.ingest.chunking import Draft
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.methods.headings import Line, levels, lines_of
from app.ingest.methods.manual import section_ids
from app.ingest.methods.packing import draft_of, under_headings

ABSTRACT_KEYWORDS = ("abstract", "summary", "summarize", "摘要", "总结", "概括")
_FIRST_LINES = 32
_MOST_CHARACTERS = 4000  # of an abstract whose end cannot be told
_ABSTRACT = re.compile(r"[#*_\s]*(?:abstract(?![a-z])|摘\s*要)[\s:：.—–*_-]*", re.IGNORECASE)
_AFTER = re.compile(
    r"[#*_\s]*(?:(?:1|I)[.\s]+)?(?:introduction|keywords?|key words|index terms|ccs concepts|关键词|引言)\b",
    re.IGNORECASE,
)
_NO_NAME = re.compile(
    r"[0-9]{3,}|[?!:;。]|\b(?:the|of|for|with|we|is|are|in|on|university|institute|department)\b", re.IGNORECASE
)
_NAMES = re.compile(r"(?:[^\W\d_][\w.'’-]*\s+){1,3}[^\W\d_][\w.'’-]*")
_NAME_MARKS = re.compile(r"[\d*†‡§¶∗]+")


@dataclass(frozen=True, slots=True)
class _Front:
    """Where the abstract is: lines `start` up to `end`; no lines if none was found. `authors` as they were written."""

    start: int = 0
    end: int = 0
    authors: str = ""


def paper(source: Source) -> Cut:
    """The abstract is one chunk with keywords of its own; the rest is merged per section.

    The text search finds every chunk by the names of the authors too.
    """
    lines = lines_of(source)
    front = _front(lines)
    drafts: list[Draft] = []
    drafts += _sections(lines[: front.start], source)
    if front.end > front.start:
        found = draft_of(lines[front.start : front.end], section=lines[front.start].section)
        drafts.append(replace(found, chunk=replace(found.chunk, important_keywords=ABSTRACT_KEYWORDS)))
    drafts += _sections(lines[front.end :], source)
    if front.authors:
        drafts = [replace(each, chunk=_with_authors(each.chunk, front.authors)) for each in drafts]
    return Cut(chunks=number_drafts(drafts))


def _sections(lines: Sequence[Line], source: Source) -> list[Draft]:
    ids = section_ids(lines)
    groups = [
        [line for line, number in zip(lines, ids, strict=True) if number == section] for section in sorted({*ids})
    ]
    return [draft for group in groups for draft in under_headings([], group, source.count)]


def _front(lines: Sequence[Line]) -> _Front:
    start = next((at for at, line in enumerate(lines[:_FIRST_LINES]) if _ABSTRACT.match(line.text)), None)
    if start is None:
        return _Front(authors=_authors(lines[1:_FIRST_LINES]))
    end = start + 1
    if not _ABSTRACT.sub("", lines[start].text, count=1).strip():
        end += 1  # the word stands alone, the text below it
    size = sum(len(line.text) for line in lines[start:end])
    found = levels(lines[: start + 4 * _FIRST_LINES])
    while end < min(len(lines), start + 4 * _FIRST_LINES) and size < _MOST_CHARACTERS:
        line = lines[end]
        is_heading = line.level or (found is not None and found[end] is not None)
        if is_heading or line.is_table or _AFTER.match(line.text):
            break
        size += len(line.text)
        end += 1
    return _Front(start, min(end, len(lines)), _authors(lines[1:start]))


def _authors(lines: Sequence[Line]) -> str:
    """Lines below the title that are made of names; the first other line ends them."""
    found: list[str] = []
    for line in lines[:8]:
        text = _NAME_MARKS.sub(" ", line.text).strip()
        parts = [part for part in re.split(r",|，|、|;|\band\b|&", text) if part.strip()]
        is_names = (
            bool(parts) and not _NO_NAME.search(line.text) and all(_NAMES.fullmatch(part.strip()) for part in parts)
        )
        if line.level or line.is_table or not is_names:
            if found:
                break
            continue
        found.append(", ".join(part.strip() for part in parts))
    return ", ".join(found)


def _with_authors(chunk: RawChunk, authors: str) -> RawChunk:
    return replace(chunk, searched=f"{chunk.content}\n{authors}")
