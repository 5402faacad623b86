"""Taking the table of contents out of a book, and finding titles that end with a colon (knowledge.md 5.5)."""

import re
from collections.abc import Sequence
from dataclasses import replace

from app.ingest.methods.headings import Line

_CONTENTS = re.compile(r"(?:#+)?(?:contents|tableofcontents|目录|目次|致谢|acknowledge(?:ments?|s)?)", re.IGNORECASE)
_REACH = 128
_LONG = 32
_SENTENCE_END = re.compile(r"(?:[。？！?!;；]|\.(?=\s))\s*")


def without_contents(lines: Sequence[Line]) -> list[Line]:
    """Return the lines without a table of contents: its title and what follows until its first entry comes again.

    Where that does not come again within 128 lines, there is no such table, and nothing is taken out.
    """
    kept: list[Line] = []
    at = 0
    while at < len(lines):
        end = _end_of_contents(lines, at)
        if end is None:
            kept.append(lines[at])
            at += 1
        else:
            at = end
    return kept


def with_colon_titles(lines: Sequence[Line]) -> list[Line]:
    """Return the lines with the last sentence of long ones that end with a colon as titles of their own."""
    found: list[Line] = []
    for line in lines:
        text = line.text.rstrip()
        if line.is_table or line.level or not text.endswith((":", "：")):
            found.append(line)
            continue
        ends = [match.end() for match in _SENTENCE_END.finditer(text)]
        if not ends or ends[-1] < _LONG:
            found.append(line)
            continue
        found.append(replace(line, text=text[: ends[-1]].rstrip()))
        found.append(replace(line, text=text[ends[-1] :], is_title=True, picture=None))
    return found


def _end_of_contents(lines: Sequence[Line], at: int) -> int | None:
    if not _CONTENTS.fullmatch("".join(lines[at].text.split())):
        return None
    first = at + 1
    if first >= len(lines):
        return None
    prefix = _prefix(lines[first].text)
    if not prefix:
        return None
    return next(
        (at for at in range(first + 1, min(first + _REACH, len(lines))) if _prefix(lines[at].text) == prefix), None
    )


def _prefix(text: str) -> str:
    """The first two words, or the first three characters where words are not set apart."""
    words = text.lstrip("#-*+ \t").split()
    if not words:
        return ""
    return " ".join(words[:2]).lower() if words[0].isascii() else "".join(words)[:3]
