"""Spreadsheets and CSV: each sheet one `sheet` block, its cells as text."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.archives import Parts
from app.ingest.caps import ParseCaps
from app.ingest.decoding import clean
from app.ingest.formats.plain import text_of
from app.ingest.formats.source import Source

_MAX_FIELD = 2**31 - 1  # the module's limit holds for the process; the size of a file is bounded before
_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 100
_MAX_QUOTED_LINES = 200  # more line ends in one cell than any spreadsheet writes: a quote that never closes
_QUOTED = re.compile(r'"[^"]*+"')
Rows = tuple[tuple[str, ...], ...]


def parse_csv(source: Source) -> ParsedDocument:
    """Read a CSV file; the delimiter is found by what divides its lines most evenly, a `sep=` line may say it."""
    text = text_of(source)
    first, _, rest = text.partition("\n")
    if first[:4].lower() == "sep=" and len(first) == 5:
        delimiter, text = first[4], rest
    elif source.hints.method == "qa" and "\t" in _QUOTED.sub("", text):
        delimiter = "\t"  # pairs are told so by any line that has one (knowledge.md 5.6)
    else:
        delimiter = sniff_delimiter(text)
    csv.field_size_limit(_MAX_FIELD)
    rows = list(_csv_rows(text, delimiter, csv.QUOTE_MINIMAL, source))
    if any(cell.count("\n") > _MAX_QUOTED_LINES for row in rows for cell in row):
        rows = list(_csv_rows(text, delimiter, csv.QUOTE_NONE, source))
    return ParsedDocument(blocks=_sheet("", rows))


def sniff_delimiter(text: str) -> str:
    """Return the delimiter that gives most of the first rows one number of cells above one; else the comma."""
    csv.field_size_limit(_MAX_FIELD)
    lines = text[: 256 * 1024].split("\n")
    sample = "\n".join(lines[:_SAMPLE_LINES] if len(lines) > 1 else lines)
    best, delimiter = 0.0, ","
    for candidate in _DELIMITERS:
        widths = [len(row) for row in csv.reader(io.StringIO(sample, newline=""), delimiter=candidate) if row]
        usual = Counter(widths).most_common(1)
        if not usual or usual[0][0] < 2:
            continue
        share = usual[0][1] / len(widths)
        score = share + min(usual[0][0], 50) / 1000
        if score > best:
            best, delimiter = score, candidate
    return delimiter


def _csv_rows(text: str, delimiter: str, quoting: int, source: Source) -> Iterable[tuple[str, ...]]:
    cells = 0
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if quoting == csv.QUOTE_NONE else csv.QUOTE_MINIMAL,
        skipinitialspace=True,
    )
    try:
        for row in reader:
            cells += len(row)
            _check_cells(cells, source)
            yield tuple(row)
    except csv.Error as error:
        raise ParseFailed(f"{source.filename} is not a CSV file that can be read: {error}.") from error


def parse_workbook(source: Source) -> ParsedDocument:
    """Read XLSX, XLS and ODS, whichever of them the bytes are; an .xls that holds text is read as what it holds."""
    if source.is_protected_ole:
        raise source.protected()
    if not (source.is_zip or source.is_ole):
        return _disguised(source)
    notes: tuple[str, ...] = ()
    inside: list[tuple[str, bytes]] = []
    if source.is_zip:
        parts = Parts(source.data, source.filename, source.caps.archive, must_hold=None)
        inside = [
            (name.rsplit("/", 1)[1], parts.read(name))
            for name in parts.names
            if name.startswith("xl/embeddings/") and not name.endswith(".bin")
        ]
    blocks = [block for name, rows in _sheets(source) for block in _sheet(name, rows)]
    attachments, notes = source.attach(inside)
    return ParsedDocument(blocks=tuple(blocks), attachments=attachments, notes=notes)


def _disguised(source: Source) -> ParsedDocument:
    """Programs write HTML tables and CSV into files they call .xls."""
    from app.ingest.formats.plain import parse_html

    if source.filename.lower().endswith(".xls"):
        start = source.data[:2000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith((b"<html", b"<!doctype", b"<table", b"<meta", b"<div")):
            return parse_html(source)
        if b"\0" not in source.data[:4096] and any(mark in start for mark in (b"\t", b",", b";")):
            return parse_csv(source)
    raise source.damaged()


def _sheets(source: Source) -> list[tuple[str, Rows]]:
    import python_calamine as calamine

    sheets: list[tuple[str, Rows]] = []
    cells = 0
    try:
        with calamine.CalamineWorkbook.from_object(io.BytesIO(source.data)) as book:
            for about in book.sheets_metadata:
                if about.typ != calamine.SheetTypeEnum.WorkSheet:
                    continue
                sheet = book.get_sheet_by_name(about.name)
                row, column = sheet.end or (-1, -1)  # the last ones, from 0
                cells += (row + 1) * (column + 1)
                _check_cells(cells, source)
                rows = [list(row) for row in sheet.to_python(skip_empty_area=False)]
                texts = [[_cell(value) for value in row] for row in rows]
                _repeat_merged(texts, sheet.merged_cell_ranges or [])
                sheets.append((clean(about.name), _trimmed(texts)))
    except calamine.PasswordError as error:
        raise source.protected() from error
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise source.damaged() from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # how the library falls over cut files; it has no name to import
            raise source.damaged() from error
        raise
    return sheets


def _repeat_merged(rows: list[list[str]], ranges: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> None:
    """Write the text of merged cells into each of them."""
    for (top, left), (bottom, right) in ranges:
        if top >= len(rows) or left >= len(rows[top]) or not rows[top][left]:
            continue
        for row in rows[top : bottom + 1]:
            for column in range(left, min(right + 1, len(row))):
                row[column] = row[column] or rows[top][left]


def _cell(value: object) -> str:
    """Return a cell as its reader sees it: dates as `YYYY-MM-DD HH:MM:SS`, whole numbers without `.0`."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S") if value.year >= 1000 else value.isoformat(" ", "seconds")
        case date():
            return f"{value.isoformat()} 00:00:00"
        case time():
            return value.isoformat("seconds")
        case timedelta():
            seconds = round(value.total_seconds())
            return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
        case _:
            return clean(str(value)).strip()


def _trimmed(rows: Iterable[Iterable[str]]) -> Rows:
    """Drop what is empty after the last filled row and column."""
    kept = [tuple(row) for row in rows]
    while kept and not any(kept[-1]):
        kept.pop()
    width = max((index + 1 for row in kept for index, cell in enumerate(row) if cell), default=0)
    return tuple(row[:width] for row in kept)


def _sheet(name: str, rows: Iterable[tuple[str, ...]]) -> tuple[Block, ...]:
    kept = tuple(rows)
    return (Block(kind="sheet", text=name, rows=kept),) if any(cell.strip() for row in kept for cell in row) else ()


def _check_cells(cells: int, source: Source) -> None:
    caps: ParseCaps = source.caps
    if cells > caps.cells:
        raise ParseFailed(f"{source.filename} has more than {caps.cells} cells. Split it into smaller files.")
