"""Which documents a condition on their metadata lets through (knowledge.md 4.6)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from app.domain.errors import Invalid, WrongType

_ALIASES = {"is": "=", "==": "=", "not is": "≠", "is not": "≠", "!=": "≠", ">=": "≥", "<=": "≤"}
_CONDITIONS_MOST = 100
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; `operator` is the contract's sign or words, `values` are what was sent, one or a list."""

    name: str
    operator: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class MetadataFilter:
    """Conditions that must all hold, or any of them."""

    conditions: tuple[Condition, ...]
    is_any: bool = False

    def allows(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether a document with this metadata is let through; a missing key never matches."""
        held = (_holds(each, fields) for each in self.conditions)
        return any(held) if self.is_any else all(held)


def read_filter(sent: Mapping[str, Any] | None) -> MetadataFilter | None:
    """Return the filter that was sent; None when there is nothing to filter by.

    Raises:
        Invalid: it is not of the contract's shape.
    """
    conditions = (sent or {}).get("conditions")
    if not conditions:
        return None
    if not isinstance(conditions, list):
        raise WrongType("`conditions` should be a list.", param="metadata_condition.conditions")
    if len(conditions) > _CONDITIONS_MOST:
        raise Invalid(f"At most {_CONDITIONS_MOST} conditions can be combined.", param="metadata_condition.conditions")
    logic = (sent or {}).get("logic") or "and"
    logic = logic.strip().lower() if isinstance(logic, str) else logic
    if logic not in ("and", "or"):
        raise Invalid("`logic` should be `and` or `or`.", param="metadata_condition.logic")
    return MetadataFilter(tuple(_condition(each) for each in conditions), is_any=logic == "or")


def _condition(sent: Any) -> Condition:
    if not isinstance(sent, dict) or not isinstance(sent.get("name"), str):
        raise WrongType("Each condition requires a name.", param="metadata_condition.conditions")
    operator = sent.get("comparison_operator")
    if isinstance(operator, str):
        operator = " ".join(operator.lower().split())
        operator = _ALIASES.get(operator, operator)
    if not isinstance(operator, str) or operator not in OPERATORS:
        shown = str(sent.get("comparison_operator"))[:40]
        raise Invalid(f"Unknown comparison_operator `{shown}`.", param="metadata_condition.conditions")
    return Condition(sent["name"], operator, _values(operator, sent.get("value")))


def _values(operator: str, sent: Any) -> tuple[Any, ...]:
    if operator in _ON_EMPTINESS:
        return ()
    values: Sequence[Any] = sent if isinstance(sent, list) else (sent,)
    if operator in ("in", "not in") and isinstance(sent, str):
        values = sent.split(",")
    if any(value is None or isinstance(value, dict | list) for value in values):
        raise WrongType(
            f"`value` of `{operator}` should be a text, a number or a list of them.",
            param="metadata_condition.conditions",
        )
    return tuple(values)


def _holds(condition: Condition, fields: Mapping[str, Any]) -> bool:
    if condition.name not in fields:
        return False
    value = fields[condition.name]
    if condition.operator in _ON_EMPTINESS:
        return _is_empty(value) == (condition.operator == "empty")
    positive = _NEGATIONS.get(condition.operator)
    compare = _COMPARISONS[positive or condition.operator]
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    is_met = any(compare(item, wanted) for item in items if item is not None for wanted in condition.values)
    return is_met if positive is None else not is_met


def _is_empty(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    return str(value).strip().casefold()


def _number(value: Any) -> Decimal | None:
    """Return a number or the text of one exactly: long ones that differ in the last digit are not equal."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value).strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Compare as numbers when both are, else as text; dates written `YYYY-MM-DD` are in order as text."""

    def both(item: Any, value: Any) -> bool:
        left, right = _number(item), _number(value)
        if left is not None and right is not None:
            return compare(left, right)
        return compare(_text(item), _text(value))

    return both


def _is_equal(left: Any, right: Any) -> bool:
    return bool(left == right)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": _compared(_is_equal),
    "in": _compared(_is_equal),
    ">": _compared(lambda left, right: left > right),
    "<": _compared(lambda left, right: left < right),
    "≥": _compared(lambda left, right: left >= right),
    "≤": _compared(lambda left, right: left <= right),
    "contains": lambda item, value: _text(value) in _text(item),
    "start with": lambda item, value: _text(item).startswith(_text(value)),
    "end with": lambda item, value: _text(item).endswith(_text(value)),
}
_NEGATIONS = {"≠": "=", "not in": "in", "not contains": "contains"}
"""Operators that hold when no item of the value meets the other one."""
_ON_EMPTINESS = frozenset({"empty", "not empty"})
OPERATORS = frozenset({*_COMPARISONS, *_NEGATIONS, *_ON_EMPTINESS})
"""All of them, as they are written here."""
