"""Tables between their forms: pipe tables, rows of cells, HTML, lines of `header: value`."""

import html
import re
from collections.abc import Iterator, Sequence

_RULE = re.compile(r"\s*+\|?\s*+:?-++:?\s*+(?:\|\s*+:?-++:?\s*+)*+\|?\s*+")  # `*+`: long blanks are read once
_BAR = re.compile(r"(?<!\\)\|")
Rows = Sequence[Sequence[str]]
"""Rows of cells; they may differ in length."""


def pipe_rows(text: str) -> list[tuple[str, ...]]:
    """Return the rows of a Markdown table, head first; none if `text` is something else."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or "|" not in lines[0] or not _RULE.fullmatch(lines[1]):
        return []
    return [_cells(line) for line in (lines[0], *lines[2:])]


def html_table(rows: Rows, caption: str = "", *, has_spans: bool = True) -> str:
    """Return rows as an HTML table on one line; with `has_spans` equal neighbours become one wide cell."""
    written = [f"<caption>{html.escape(caption, quote=False)}</caption>"] if caption else []
    for number, row in enumerate(rows):
        tag = "th" if number == 0 and len(rows) > 1 else "td"
        written.append(f"<tr>{''.join(_html_cells(row, tag, has_spans=has_spans))}</tr>")
    return f"<table>{''.join(written)}</table>"


def row_lines(rows: Rows, sheet: str) -> Iterator[str]:
    """Yield `Header：value; Header：value ——Sheet` for each row under the head row (knowledge.md 5.4).

    Blank cells are left out, and the sheet's name if it holds `sheet`. Headers above nothing but blanks come first,
    as a line of their own, so that nothing is lost.
    """
    if not rows:
        return
    head, *rest = rows
    mark = f" ——{sheet}" if sheet and "sheet" not in sheet.lower() else ""
    used = {at for row in rest for at, cell in enumerate(row) if cell.strip()}
    bare = [cell.strip() for at, cell in enumerate(head) if cell.strip() and at not in used]
    if bare:
        yield "; ".join(bare) + mark
    for row in rest:
        if fields := "; ".join(_fields(head, row, "：")):
            yield fields + mark


def value_lines(rows: Rows) -> Iterator[str]:
    """Yield `header: value; header: value` for each row; the head itself if there is no other row."""
    if len(rows) == 1:
        yield "; ".join(cell.strip() for cell in rows[0] if cell.strip())
        return
    for row in rows[1:]:
        if fields := "; ".join(_fields(rows[0], row, ": ")):
            yield fields


def _fields(head: Sequence[str], row: Sequence[str], colon: str) -> Iterator[str]:
    for at, cell in enumerate(row):
        if value := cell.strip():
            name = head[at].strip() if at < len(head) else ""
            yield f"{name}{colon}{value}" if name else value


def _html_cells(row: Sequence[str], tag: str, *, has_spans: bool) -> Iterator[str]:
    at = 0
    while at < len(row):
        end = at + 1
        while has_spans and row[at].strip() and end < len(row) and row[end] == row[at]:
            end += 1
        span = f' colspan="{end - at}"' if end - at > 1 else ""
        yield f"<{tag}{span}>{html.escape(row[at], quote=False)}</{tag}>"
        at = end


def _cells(line: str) -> tuple[str, ...]:
    line = line.strip().removeprefix("|")
    if line.endswith("|") and not line.endswith("\\|"):
        line = line[:-1]
    return tuple(cell.strip().replace("\\|", "|") for cell in _BAR.split(line))
