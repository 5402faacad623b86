"""JSON and JSON Lines: `json` blocks that `orjson` reads, one for a value."""

import json
from collections.abc import Iterator

import orjson

from app.domain.documents import Block, ParsedDocument
from app.ingest.decoding import clean
from app.ingest.formats.plain import plain, text_of
from app.ingest.formats.source import Source

MAX_DEPTH = 200
_TRIED_LINES = 10
_LINES_SHARE = 0.8


def parse_json(source: Source) -> ParsedDocument:
    """Read one JSON value, or one a line when at least 80 % of the first 10 lines are values (knowledge.md 5.4).

    What is no JSON is read as running text, with a note.
    """
    text = text_of(source).strip()
    is_value = (whole := _value(text)) is not None
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and not is_value:
        tried = lines[:_TRIED_LINES]
        if sum(_value(line) is not None for line in tried) >= _LINES_SHARE * len(tried):
            return _by_line(lines)
    if whole is None:
        return plain(text, f"{source.filename} is not valid JSON, or nests deeper than {MAX_DEPTH}: read as text.")
    return ParsedDocument(blocks=(Block(kind="json", text=whole),))


def _by_line(lines: list[str]) -> ParsedDocument:
    blocks: list[Block] = []
    bad = 0
    for line in lines:
        value = _value(line.strip())
        bad += value is None
        blocks.append(Block(kind="plain", text=line) if value is None else Block(kind="json", text=value))
    notes = (f"{bad} lines are not valid JSON: read as text.",) if bad else ()
    return ParsedDocument(blocks=tuple(blocks), notes=notes)


def _value(text: str) -> str | None:
    """Return `text` as JSON every reader accepts (no NaN, no lone surrogates), None if it is none or too deep."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(text, parse_constant=str)
            text = clean(json.dumps(value, ensure_ascii=False))
            value = orjson.loads(text)
        except (ValueError, RecursionError):
            return None
    return text if _depth_is_fine(value) else None


def _depth_is_fine(value: object) -> bool:
    pending: list[Iterator[object]] = [iter((value,))]
    while pending:
        if len(pending) > MAX_DEPTH:
            return False
        inner = next(pending[-1], pending)
        if inner is pending:
            pending.pop()
        elif isinstance(inner, dict):
            pending.append(iter(inner.values()))
        elif isinstance(inner, list):
            pending.append(iter(inner))
    return True
