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
        depth = _head_rows(rows[start:])
        names = _names(rows[start : start + depth], max(map(len, rows)))
        yield _Table(sheet, order, names, list(rows[start + depth :]), start + depth + 1)


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


def _head_rows(rows: _Rows) -> int:
    """How many rows make the head: more than one where cells were merged over others (up to 5)."""
    depth = 1
    while depth < min(_MOST_HEAD_ROWS, len(rows) - 1) and _goes_on(rows[depth - 1], rows[depth]):
        depth += 1
    return depth


def _goes_on(above: Sequence[str], below: Sequence[str]) -> bool:
    """Tell whether `below` names the columns under merged cells of `above`.

    It does if some cell of `above` spans several columns that `below` names apart, while under the other cells
    `below` is blank or says the same again, and if nothing in it is a number or a date.
    """
    width = max(len(above), len(below))
    upper, lower = ([*(cell.strip() for cell in row), *[""] * (width - len(row))] for row in (above, below))
    if any(kind_of(cell) != "text" for cell in lower if cell):
        return False
    spans = _spans(upper)
    wide = [(start, end) for start, end in spans if end - start > 1]
    if not wide or (len(spans) == 1 and width < 3):
        return False
    for start, end in spans:
        names = lower[start:end]
        if end - start > 1:
            if not all(names) or len(set(names)) < len(names):
                return False
        elif names[0] not in ("", upper[start]):
            return False
    return True


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
    for depth, row in enumerate(head):
        cells = [*(" ".join(cell.split()) for cell in row), *[""] * (width - len(row))]
        if depth < len(head) - 1:
            for start, end in _spans(cells):
                cells[start:end] = [cells[start]] * (end - start)
        for at, cell in enumerate(cells):
            if cell and (not parts[at] or parts[at][-1] != cell):
                parts[at].append(cell)
    return ["-".join(part) or f"Column {at + 1}" for at, part in enumerate(parts)]
