"""Lines of a document and which of them are headings, by their own marks or by a vote over numbering families
(knowledge.md 5.5).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.ingest.cutting import cut
from app.ingest.methods.base import Source
from app.ingest.pieces import MAX_CHUNK_TOKENS
from app.ingest.tables import html_table, pipe_rows

_CN = "[零〇一二三四五六七八九十百0-9]"
_ROMAN = r"(?:[IVXLC]{1,7}|[ivxlc]{1,7})\b"
_COUNT = r"(?:ONE|TWO|THREE|FOUR|FIVE|SIX|SEVEN|EIGHT|NINE|TEN|One|Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten)"
_FAMILIES = tuple(
    tuple(re.compile(pattern) for pattern in family)
    for family in (
        (rf"第{_CN}+(?:分?编|部分)", rf"第{_CN}+章", rf"第{_CN}+节", rf"第{_CN}+条", rf"[(（]{_CN}+[)）]"),
        (
            r"第[0-9]+章",
            r"第[0-9]+节|[0-9]{1,2}[.、](?![0-9])|[0-9]{1,2} (?=[^\W\d_])",
            r"[0-9]{1,2}\.[0-9]{1,2}(?![0-9.%/~-]|[A-Za-z])\.?",
            r"[0-9]{1,2}(?:\.[0-9]{1,2}){2}(?![0-9.%/~-]|[A-Za-z])\.?",
            r"[0-9]{1,2}(?:\.[0-9]{1,2}){3}(?![0-9.%/~-]|[A-Za-z])\.?",
        ),
        (
            rf"第{_CN}+章",
            rf"第{_CN}+节",
            r"[零〇一二三四五六七八九十百]+[ 、]",
            r"[(（][零〇一二三四五六七八九十百]+[)）]",
            r"[(（][0-9]{1,2}[)）]",
        ),
        (
            rf"(?:PART|Part) (?:{_COUNT}|{_ROMAN}|[0-9]+)",
            rf"(?:CHAPTER|Chapter) (?:{_ROMAN}|{_COUNT}|[0-9]+)",
            r"(?:SECTION|Section) [0-9]+",
            r"(?:ARTICLE|Article) [0-9]+",
        ),
        tuple(rf"#{{{level}}} " for level in range(1, 7)),
    )
)
_MARKS = 4  # the family of `#`
_NO_NUMBER = re.compile(r"0(?![0-9.])|[0-9]+ +[0-9~个只-]|[0-9]+\.{2,}")
_LEADER, _LEADERS = frozenset(".·…"), 4
_ARTICLE = re.compile(rf"第{_CN}+条")
_SENTENCE = re.compile(r"[,;，。；！!]")
_LEAST_HEADINGS = 2  # that make a document one with headings of its own


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text, a heading, or a table as a whole. `level` is 1 to 6 for headings of the file's own.

    `is_title` marks what reads as a title without a number; pictures and pages are those of the block.
    """

    text: str
    section: int
    page: int | None = None
    level: int = 0
    is_table: bool = False
    is_title: bool = False
    picture: int | None = None


def lines_of(source: Source) -> list[Line]:
    """Return all lines in reading order, blank ones left out; none is longer than a chunk may be."""
    found: list[Line] = []
    path: tuple[str, ...] = ()
    for section in source.sections:
        path = section.path if section.heading else ()
        for block in (*((section.heading,) if section.heading else ()), *section.blocks):
            place = Line("", section.order, block.page, block.level, picture=block.picture)
            if block.kind in {"table", "sheet"}:
                text = block.markdown
                if block.kind == "table" and (caption := source.naive_config().table_caption):
                    rows = block.rows or pipe_rows(text)
                    text = html_table(rows, "Table Location: " + " > ".join((caption, *path))) if rows else text
                found += [replace(place, text=part, is_table=True) for part in _bounded(text, source)]
            elif block.kind == "image" and not block.text.strip():
                found.append(place)
            else:
                found += _lines(block.markdown, place, source)
    return found


def _lines(text: str, place: Line, source: Source) -> list[Line]:
    texts = [text] if place.level else text.split("\n")
    found = [replace(place, text=part.rstrip()) for line in texts if line.strip() for part in _bounded(line, source)]
    return [found[0], *(replace(line, picture=None) for line in found[1:])] if found else []


def _bounded(text: str, source: Source) -> list[str]:
    if len(text) < MAX_CHUNK_TOKENS or source.count(text) < MAX_CHUNK_TOKENS:
        return [text]
    return cut(text, MAX_CHUNK_TOKENS // 2, source.count)


def levels(lines: Sequence[Line]) -> list[int | None] | None:
    """Return each line's level, 0 for the highest, None for body text; None altogether if there is no heading.

    A file that marks its headings is believed. Else the family of numbers that most lines begin with decides, and
    titles without a number stand below its levels.
    """
    if sum(line.level > 0 for line in lines) >= _LEAST_HEADINGS:
        return [line.level - 1 if line.level else None for line in lines]
    family = _vote([line.text.strip() for line in lines if not line.is_table])
    if family is None:
        return None
    lowest = len(_FAMILIES[family])
    return [_level(line, family, lowest) for line in lines]


def is_title(text: str) -> bool:
    """Tell whether a line could be a title: short, and no sentence."""
    if _ARTICLE.match(text):
        return True
    if len(text.split()) > 12 or (" " not in text and len(text) >= 32):
        return False
    return not _SENTENCE.search(text)


def _level(line: Line, family: int, lowest: int) -> int | None:
    if line.is_table:
        return None
    found = _match(line.text.strip(), family)
    if found is not None:
        return found
    return lowest if (line.is_title or line.level) and is_title(line.text) else None


def _vote(texts: Sequence[str]) -> int | None:
    votes = [sum(_match(text, family) is not None for text in texts) for family in range(len(_FAMILIES))]
    most = max(votes)
    return votes.index(most) if most else None


def _match(text: str, family: int) -> int | None:
    """Return the level of the number the line begins with, the deepest pattern first where several fit."""
    if family != _MARKS and (_NO_NUMBER.match(text) or _leads_to_page(text)):
        return None
    patterns = _FAMILIES[family]
    return next((level for level, pattern in enumerate(patterns) if pattern.match(text)), None)


def _leads_to_page(text: str) -> bool:
    """Tell whether the line ends with dotted leaders and perhaps a page number, as in a table of contents."""
    bare = text.rstrip(" ").rstrip("0123456789").rstrip(" ")
    return len(bare) >= _LEADERS and _LEADER.issuperset(bare[-_LEADERS:])
