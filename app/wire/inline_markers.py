"""The markers of an answer as `/v1` shows them: `[n]`, from 1, for the model's `[ID:n]`, from 0 (openai.md 9)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LIST = r"(?:\s*[,;，、&]\s*(?:and\s+)?(?:ID\s*[:：]?\s*)?\d{1,9})*"
_MARKER = re.compile(rf"([ \t]{{0,3}})[\[(【（]\s*(?:ID|ref)\s*[:：#]?\s*(\d{{1,9}}{_LIST})\s*[\])】）]", re.IGNORECASE)
_EXACT_MARKER = re.compile(r"([ \t]{0,3})\[ID:(\d{1,9})\]")
_BEGINNING = re.compile(r"[\[(【（]\s*(?:I|ID|r|re|ref|(?:ID|ref)[\s:：#\d,;，、&andIDid]*)?", re.IGNORECASE)
_FENCE = re.compile(r"[ \t]{0,3}(`{3,}|~{3,})")
_TICKS = re.compile(r"`+")
_NUMBER = re.compile(r"\d+")
_WATCHED = frozenset("[(【（`")
_MOST_HELD = 64
_GAP = " \t"
_BLOCKS = ("|", "#", "=")  # tables, headings, and their underlines


@dataclass(frozen=True, slots=True)
class Span:
    """A marker in the text shown: code points `start` to `end` are `[n]`; `number` is the reference's, from 0."""

    start: int
    end: int
    number: int


class MarkerStream:
    """Rewrites the markers of a text that comes in pieces cut anywhere; however it is cut, the same comes out.

    Markers that name none of `count` references are removed, with the space before them. Code, fenced or between
    backticks on one line, is not touched. A few characters are held back where they may become a marker.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._marker = _MARKER if count else _EXACT_MARKER
        self._line = ""  # as it came: from its beginning, or from where nothing before it matters any more
        self._first = ""  # character of the line, once that is gone
        self._is_inside = False  # the line's beginning is gone: it opens no fence
        self._told = 0  # characters of the rewritten `_line` that were given out
        self._before = 0  # characters given out before it
        self._fence = ""
        self.spans: list[Span] = []

    def feed(self, text: str) -> str:
        """Return what can be shown now."""
        if "\n" not in text:
            return self._feed_within(text)
        *whole, rest = text.split("\n")
        out: list[str] = []
        for line in whole:
            self._line += line + "\n"
            out.append(self._emit(len(self._line)))
            self._end_line()
        if rest:
            out.append(self._feed_within(rest))
        return "".join(out)

    def flush(self) -> str:
        """Return what was held back; call once, at the end."""
        return self._emit(len(self._line))

    def add(self, numbers: Sequence[int]) -> str:
        """Return markers for the end of the text, which has been flushed, and take them for shown.

        They stand in a paragraph of their own where they would break what the last line is; behind code that was never
        closed there are none.
        """
        closes = self._closes_code()
        if self._is_listing(self._line) and not closes:
            return ""
        first = self._first or self._line.lstrip(_GAP)[:1]
        shown = "\n\n" if closes or first in _BLOCKS else " "
        for number in numbers:
            start = self._before + self._told + len(shown)
            shown += f"[{number + 1}]"
            self.spans.append(Span(start, self._before + self._told + len(shown), number))
        self._told += len(shown)
        return shown

    def _closes_code(self) -> bool:
        """Say whether the last line is the end of a fence."""
        body = self._line.rstrip("\r\n")
        found = _FENCE.match(body)
        return bool(self._fence and found and _is_end(self._fence, found[1], body))

    def _feed_within(self, text: str) -> str:
        if self._is_inside and not self._line and text[-1:] not in _GAP and _WATCHED.isdisjoint(text):
            self._before += len(text)
            return text
        self._line += text
        end = self._safe()
        shown = self._emit(end)
        self._forget(end)
        return shown

    def _forget(self, end: int) -> None:
        """Drop what is settled, so that a long line is not read again with each of its pieces."""
        head = self._line[:end]
        starts = self._is_inside or head.lstrip(" \t")[:1] not in ("", "`", "~")
        if self._fence or not starts or head[-1:] in ("", "`") or _open_tick(head) is not None:
            return
        self._first = self._first or head.lstrip(_GAP)[:1]
        self._line, self._is_inside = self._line[end:], True
        self._before += self._told
        self._told = 0

    def _emit(self, end: int) -> str:
        rewritten, spans = self._rewritten(self._line[:end])
        fresh = rewritten[self._told :]
        self.spans += [
            Span(self._before + start, self._before + stop, number)
            for start, stop, number in spans
            if stop > self._told
        ]
        self._told += len(fresh)
        return fresh

    def _end_line(self) -> None:
        if not self._is_inside:
            body = self._line.rstrip("\r\n")
            found = _FENCE.match(body)
            if not self._fence:
                self._fence = found[1] if found else ""
            elif found and _is_end(self._fence, found[1], body):
                self._fence = ""
        self._before += self._told
        self._line, self._first, self._told, self._is_inside = "", "", 0, False

    def _is_listing(self, line: str) -> bool:
        return bool(self._fence) or (not self._is_inside and _FENCE.match(line) is not None)

    def _safe(self) -> int:
        """Return up to where the unfinished line is settled, whatever follows."""
        line = self._line
        if self._is_listing(line):
            return len(line)
        end = len(line)
        opened = _open_tick(line)
        if opened is not None:
            found = self._marker.search(line, opened)
            end = found.start() if found else end
        for at in range(max(0, end - _MOST_HELD), end):
            if line[at] in "[(【（" and _BEGINNING.fullmatch(line, at, end):
                end = at
                break
        while end and line[end - 1] in _GAP:
            end -= 1
        return end

    def _rewritten(self, line: str) -> tuple[str, list[tuple[int, int, int]]]:
        if self._is_listing(line) or not self._marker.search(line):
            return line, []
        out: list[str] = []
        spans: list[tuple[int, int, int]] = []
        size = at = 0
        for found in self._marker.finditer(line):
            if _in_code(line, found.start()):
                continue
            out.append(line[at : found.start()])
            size += found.start() - at
            numbers = [n for n in map(int, _NUMBER.findall(found[2])) if n < self._count]
            if numbers:
                out.append(found[1])
                size += len(found[1])
            for number in numbers:
                shown = f"[{number + 1}]"
                out.append(shown)
                spans.append((size, size + len(shown), number))
                size += len(shown)
            at = found.end()
        out.append(line[at:])
        return "".join(out), spans


def _is_end(fence: str, run: str, body: str) -> bool:
    """Say whether a line that begins with `run` ends the code that `fence` began."""
    return run.startswith(fence) and not body.strip(_GAP + fence[0])


def _in_code(line: str, place: int) -> bool:
    """Say whether `place` lies between two equal runs of backticks."""
    return any(start <= place < end for start, end in _spans_of_code(line))


def _spans_of_code(line: str) -> list[tuple[int, int]]:
    runs = [(found.start(), found.end()) for found in _TICKS.finditer(line)]
    spans: list[tuple[int, int]] = []
    at = 0
    while at < len(runs):
        size = runs[at][1] - runs[at][0]
        closing = next((n for n in range(at + 1, len(runs)) if runs[n][1] - runs[n][0] == size), None)
        if closing is None:
            at += 1
            continue
        spans.append((runs[at][0], runs[closing][1]))
        at = closing + 1
    return spans


def _open_tick(line: str) -> int | None:
    """Return where backticks begin that may yet open code, or a last run of them that may yet grow."""
    spans = _spans_of_code(line)
    for found in _TICKS.finditer(line):
        if not any(start <= found.start() < end for start, end in spans):
            return found.start()
    return spans[-1][0] if spans and spans[-1][1] == len(line) else None
