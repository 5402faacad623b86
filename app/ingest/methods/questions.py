"""Numbered questions in running text, for the qa method on PDF files (knowledge.md 5.6)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.domain.documents import Block
from app.ingest.methods.numerals import number_of

_NUMERAL = "[0-9零〇一二三四五六七八九十百千]"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"第({_NUMERAL}+)[问题条]",
        rf"[(（]({_NUMERAL}{{1,4}})[)）]",
        r"([0-9]{1,3})[.、)](?![0-9])",
        r"([零〇一二三四五六七八九十百]{1,5})[、.]",
        r"(?:question|q)\s*+(?:\.\s*+)?([0-9]{1,3})\b",
        r"question\s+([IVXLC]{1,7}|one|two|three|four|five|six|seven|eight|nine|ten)\b",
    )
)
_END = re.compile(r"[?？]\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer; `number` is the row or the place among the pairs, from 1."""

    question: str
    answer: str
    page: int
    number: int
    section: int | None
    picture: int | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    page: int
    section: int
    picture: int | None


def numbered_pairs(blocks: Sequence[tuple[Block, int]]) -> list[Pair]:
    """Return the pairs: a line that carries the next number asks, what follows up to the next one answers.

    The pattern of numbers is the one that most lines begin with. What stands before the first number belongs to no
    question and makes none; neither does a number out of its order.
    """
    lines = list(_lines(blocks))
    pattern = _vote([line.text for line in lines])
    if pattern is None:
        return []
    found: list[Pair] = []
    last = 0
    for line in lines:
        number = _number(pattern, line.text)
        if number is not None and (last < number <= last + 3 or not found):
            last = number
            question, answer = _question(line.text)
            found.append(Pair(question, answer, line.page, len(found) + 1, line.section, line.picture))
        elif found:
            before = found[-1]
            found[-1] = replace(
                before,
                answer="\n".join(part for part in (before.answer, line.text) if part),
                picture=before.picture if before.picture is not None else line.picture,
            )
    return found


def _lines(blocks: Sequence[tuple[Block, int]]) -> Iterator[_Line]:
    for block, section in blocks:
        picture = block.picture
        text = block.text if block.kind == "heading" else block.markdown
        for line in text.split("\n"):
            if line.strip() or picture is not None:
                yield _Line(line.strip(), block.page or 1, section, picture)
            picture = None


def _vote(texts: Sequence[str]) -> re.Pattern[str] | None:
    votes = [sum(_number(pattern, text) is not None for text in texts) for pattern in _PATTERNS]
    most = max(votes, default=0)
    return _PATTERNS[votes.index(most)] if most else None


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.match(text)
    return number_of(found[1]) if found else None


def _question(text: str) -> tuple[str, str]:
    """A line may hold the answer too, after its question mark."""
    found = _END.search(text)
    return (text[: found.end()].strip(), text[found.end() :].strip()) if found else (text, "")
