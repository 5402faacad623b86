"""The table method: one chunk per row, with typed cells (knowledge.md 5.7)."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.documents import ParseFailed, RawChunk
from app.ingest.chunking import Draft
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.methods.cells import Kind, kind_of, typed
from app.ingest.methods.rows import delimited, lines, sheets

_DROPPED = frozenset({"id", "_id", "index", "idx"})
_MOST_HEAD_ROWS = 5
_CUT_FROM_NAME = re.compile(r"/.*|（[^（）]+?）|\([^()]+?\)", re.DOTALL)
_UNFIT = re.compile(r"[^\w]+")
_SUFFIXES: dict[Kind, str] = {"int": "_long", "float": "_flt", "datetime": "_dt", "bool": "_kwd", "text": "_tks"}
_Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table with its head told apart; `first` is the number of its first row of values, from 1."""

    sheet: int
    section: int
    names: list[str]
    rows: list[Sequence[str]]
    first: int


@dataclass(frozen=True, slots=True)
class _Column:
    at: int
    name: str
    code: str
    kind: Kind


def table(source: Source) -> Cut:
    """One chunk `Col:value; Col:value` per row; its typed cells beside it, under codes that `field_map` explains.

    The text shows values as they were written; the cells hold numbers, `YYYY-MM-DD HH:MM:SS` and yes/no, and null for
    what is not of its column's kind.

    Raises:
        ParseFailed: two columns have the same name.
    """
    drafts: list[Draft] = []
    field_map: dict[str, str] = {}
    for found in _tables(source):
        columns = _columns(found)
        field_map |= {column.code: column.name.replace("_", " ") for column in columns}
        drafts += _drafts(found, columns)
    return Cut(chunks=number_drafts(drafts), field_map=field_map)


def _tables(source: Source) -> Iterator[_Table]:
    found = [(order, rows) for _, order, rows in sheets(source)]
    texts = lines(source)
    if rows := delimited([line for line, _ in texts]):
        found.append((texts[0][1], rows))
    for sheet, (order, rows) in enumerate(found, start=1):
        start = next((at for at, row in enumerate(rows) if any(cell.strip() for cell in row)), len(rows))
        if start == len(rows):
            continue
        head = _head(rows[start:])
        names = _names(head, max(map(len, rows)))
        yield _Table(sheet, order, names, list(rows[start + len(head) :]), start + len(head) + 1)


def _drafts(found: _Table, columns: Sequence[_Column]) -> Iterator[Draft]:
    for number, row in enumerate(found.rows, start=found.first):
        cells = [(column, row[column.at].strip()) for column in columns if column.at < len(row)]
        shown = "; ".join(f"{column.name}:{value}" for column, value in cells if value)
        if not shown:
            continue
        typed_cells: dict[str, Any] = {column.code: typed(value, column.kind) for column, value in cells}
        chunk = RawChunk(
            content=shown,
            section_order=found.section,
            positions=((found.sheet, 0, 0, number, number),),
            ordinal=0,
            row=typed_cells,
        )
        yield Draft(chunk)


def _columns(found: _Table) -> list[_Column]:
    named = [(at, name) for at, name in enumerate(found.names) if name and name not in _DROPPED]
    twice = [name for name, times in Counter(name for _, name in named).items() if times > 1]
    if twice:
        raise ParseFailed(f"Duplicate column names detected: {', '.join(twice)}")
    columns: list[_Column] = []
    taken: set[str] = set()
    for at, name in named:
        kind = _majority([row[at].strip() for row in found.rows if at < len(row)])
        code = base = _code(name) + _SUFFIXES[kind]
        number = 1
        while code in taken:
            number += 1
            code = f"{number}_{base}"
        taken.add(code)
        columns.append(_Column(at, name, code, kind))
    return columns


def _majority(values: Sequence[str]) -> Kind:
    votes: Counter[Kind] = Counter(kind_of(value) for value in values if value)
    return votes.most_common(1)[0][0] if votes else "text"


def _code(name: str) -> str:
    """The column's name without synonyms and enumerations, as one lower-cased word."""
    bare = _UNFIT.sub("_", _CUT_FROM_NAME.sub("", name)).strip("_").lower()
    return bare or "column"


def _head(rows: _Rows) -> list[list[str]]:
    """Return the rows of the head: more than one where cells were merged over others (up to 5).

    Of several rows every cell is filled: what is blank below a merged cell, or beside it, says the same.
    """
    width = max(len(row) for row in rows[:_MOST_HEAD_ROWS])
    first = _padded(rows[0], width)
    spans = _spans(first)
    below = _below(rows, 1, first, spans)
    return [_filled(first, spans), *below] if below else [first]


def _below(rows: _Rows, at: int, above: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[list[str]]:
    """Return the rows of the head from `at`, filled; none if that row is one of values.

    It belongs to the head if some cell above spans several columns that it names apart, while under the other cells it
    is blank or says the same again, and if nothing in it is a number or a date. A name of it may span several columns
    only if the next row names those apart.
    """
    if at >= min(_MOST_HEAD_ROWS, len(rows) - 1):
        return []
    cells = _padded(rows[at], len(above))
    is_bare = all(end - start == 1 for start, end in spans) or (len(spans) == 1 and len(above) < 3)
    if is_bare or any(kind_of(cell) != "text" for cell in cells if cell):
        return []
    inner: list[tuple[int, int]] = []
    for start, end in spans:
        runs = [(start + first, start + last) for first, last in _spans(cells[start:end])]
        names = [cells[first] for first, _ in runs]
        if end - start == 1:
            if names[0] not in ("", above[start]):
                return []
            cells[start] = above[start]
        elif len(names) < 2 or not all(names) or len(set(names)) < len(names):
            return []
        inner += runs
    cells = _filled(cells, inner)
    deeper = _below(rows, at + 1, cells, inner)
    return [cells, *deeper] if deeper or all(end - start == 1 for start, end in inner) else []


def _padded(row: Sequence[str], width: int) -> list[str]:
    return [*(" ".join(cell.split()) for cell in row), *[""] * width][:width]


def _filled(cells: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[str]:
    return [cells[start] for start, end in spans for _ in range(start, end)]


def _spans(cells: Sequence[str]) -> list[tuple[int, int]]:
    """Runs of a cell with the blank or equal ones after it."""
    found: list[tuple[int, int]] = []
    for at, cell in enumerate(cells):
        if found and cell in ("", cells[found[-1][0]]) and cells[found[-1][0]]:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


def _names(head: _Rows, width: int) -> list[str]:
    """The names of the columns, the parts of merged heads joined by `-`; columns without a name are numbered."""
    parts: list[list[str]] = [[] for _ in range(width)]
    for row in head:
        for at, cell in enumerate(row):
            if cell and (not parts[at] or parts[at][-1] != cell):
                parts[at].append(cell)
    return ["-".join(part) or f"Column {at + 1}" for at, part in enumerate(parts)]
