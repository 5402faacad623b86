"""Rows of the files that qa, table and tag read: spreadsheets, CSV and delimited text."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.ingest.methods.base import Source

SHEETS = frozenset({"xls", "xlsx", "ods", "xlsm"})
_SEPARATORS = "\t,;|"


@dataclass(frozen=True, slots=True)
class Row:
    """A row with its place: sheets and rows count from 1. `line` is the row as text."""

    sheet: int
    number: int
    cells: tuple[str, ...]
    section: int
    line: str = ""


def sheets(source: Source) -> Iterator[tuple[str, int, list[tuple[str, ...]]]]:
    """Yield `(name, section order, rows)` of every sheet; blank rows stay, so that numbers are right."""
    for block, order in source.blocks:
        if block.kind == "sheet":
            yield block.text, order, list(block.rows)


def lines(source: Source) -> list[tuple[str, int]]:
    """Return the lines of what is no sheet, each with the order of its section."""
    return [
        (line, order) for block, order in source.blocks if block.kind != "sheet" for line in block.markdown.split("\n")
    ]


def pairs(source: Source) -> Iterator[Row]:
    """Yield every row of a file of pairs; what has not two cells is for the caller to judge.

    Spreadsheets: the first two cells that are not blank. Text: split at tabs if at least as many lines have two parts
    so as with commas. CSV: as its sheet was read, of qa at tabs if any line has one; quoting is respected.
    """
    sheet = 0
    for sheet, (_, order, rows) in enumerate(sheets(source), start=1):
        is_book = source.suffix in SHEETS
        for number, row in enumerate(rows, start=1):
            cells = tuple(cell for cell in row if cell.strip())
            if is_book:
                cells = cells[:2]
            elif len(row) != len(cells):
                cells = _bare(row)
            if cells:
                yield Row(sheet, number, cells, order, ",".join(row) if not is_book else " ".join(cells))
    found = lines(source)
    separator = _pair_separator([line for line, _ in found], is_csv=source.suffix == "csv")
    for number, (line, order) in enumerate(found, start=1):
        if line.strip():
            yield Row(sheet + 1, number, tuple(_split(line, separator)), order, line)


def delimited(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return rows of delimited text; the separator is the one that cuts the head and most lines into as many cells."""
    kept = [text for text in texts if text.strip()]
    if not kept:
        return []
    return [tuple(cell.strip() for cell in _split(line, _separator(kept))) for line in kept]


def _bare(row: Sequence[str]) -> tuple[str, ...]:
    """A CSV row without the blank cells at its end."""
    end = len(row)
    while end and not row[end - 1].strip():
        end -= 1
    return tuple(row[:end])


def _pair_separator(texts: Sequence[str], *, is_csv: bool) -> str:
    if is_csv:
        return "\t" if any("\t" in text for text in texts) else ","
    tabs = sum(len(text.split("\t")) == 2 for text in texts)
    commas = sum(len(_split(text, ",")) == 2 for text in texts)
    return "\t" if tabs >= commas else ","


def _separator(texts: Sequence[str]) -> str:
    head = texts[0]
    best, most = "\t", 0
    for separator in _SEPARATORS:
        width = len(_split(head, separator))
        if width < 2:
            continue
        agreeing = Counter(len(_split(text, separator)) for text in texts[:200])[width]
        if agreeing > most:
            best, most = separator, agreeing
    return best


def _split(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [line])
    except csv.Error:
        return line.split(separator)
