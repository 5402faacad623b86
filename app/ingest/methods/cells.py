"""What kind of value a cell of a table holds (knowledge.md 5.7)."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal

Kind = Literal["int", "float", "datetime", "bool", "text"]

_INT = re.compile(r"[+-]?[0-9]{1,18}(?:\.0+)?")
_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,19}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3}){1,9}(?:\.[0-9]{1,30})?")  # beyond it is no number JSON can hold
_YES = frozenset({"true", "yes", "是", "✓", "✔", "☑", "✅", "√"})
_NO = frozenset({"false", "no", "否", "⍻", "×", "✗", "✘", "☐"})
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%d.%m.%Y", "%m/%d/%Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", "T%H:%M:%S", "T%H:%M:%S.%f")


def _of_form(form: str, value: str) -> datetime:
    return datetime.strptime(value, form)  # noqa: DTZ007 - a cell names no zone


_READERS: tuple[Callable[[str], datetime], ...] = (
    datetime.fromisoformat,
    *(partial(_of_form, date + time) for time in _TIMES for date in _DATES),
)
_LIKE_DATE = re.compile(r"(?=.{6,40}$)(?:\d{1,4}[-/.年]|\d{1,2} [A-Za-z]|[A-Za-z]{3,9} \d)")


def kind_of(value: str) -> Kind:
    """Return the kind of a value that is not blank."""
    value = value.strip()
    if _INT.fullmatch(value):
        return "int"
    if _FLOAT.fullmatch(value) or _THOUSANDS.fullmatch(value):
        return "float"
    if value.lower() in _YES or value.lower() in _NO:
        return "bool"
    return "datetime" if _moment(value) else "text"


def typed(value: str, kind: Kind) -> int | float | str | None:
    """Return `value` as its column's kind; None where it is blank or of another kind.

    Dates become `YYYY-MM-DD HH:MM:SS`, whatever zone they name; truth becomes `yes` or `no`.
    """
    value = value.strip()
    if not value:
        return None
    match kind:
        case "int":
            return int(value.split(".")[0]) if _INT.fullmatch(value) else None
        case "float":
            return float(value.replace(",", "")) if kind_of(value) in ("int", "float") else None
        case "bool":
            return {True: "yes", False: "no"}[value.lower() in _YES] if value.lower() in _YES | _NO else None
        case "datetime":
            moment = _moment(value)
            return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else None
        case "text":
            return value


def _moment(value: str) -> datetime | None:
    """Dates as people and spreadsheets write them; where day and month could be either, the month comes first."""
    if not _LIKE_DATE.match(value):
        return None
    for read in _READERS:
        try:
            return read(value)
        except ValueError:  # the only way either has to say that this is not how the value is written
            continue
    return None
