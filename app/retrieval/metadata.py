"""Which documents a condition on their metadata lets through (knowledge.md 4.6)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import Invalid

_ALIASES = {"is": "=", "==": "=", "not is": "≠", "!=": "≠", ">=": "≥", "<=": "≤"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; `operator` is the contract's sign or words."""

    name: str
    operator: str
    value: Any


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
        raise Invalid("`conditions` should be a list.", param="metadata_condition.conditions")
    logic = (sent or {}).get("logic") or "and"
    if logic not in ("and", "or"):
        raise Invalid("`logic` should be `and` or `or`.", param="metadata_condition.logic")
    return MetadataFilter(tuple(_condition(each) for each in conditions), is_any=logic == "or")


def _condition(sent: Any) -> Condition:
    if not isinstance(sent, dict) or not isinstance(sent.get("name"), str):
        raise Invalid("Each condition requires a name.", param="metadata_condition.conditions")
    operator = sent.get("comparison_operator")
    operator = _ALIASES.get(operator, operator) if isinstance(operator, str) else operator
    if operator not in _COMPARISONS and operator not in ("empty", "not empty"):
        raise Invalid(f"Unknown comparison_operator `{operator}`.", param="metadata_condition.conditions")
    return Condition(sent["name"], operator, sent.get("value"))


def _holds(condition: Condition, fields: Mapping[str, Any]) -> bool:
    if condition.name not in fields:
        return False
    value = fields[condition.name]
    if condition.operator in ("empty", "not empty"):
        is_empty = value is None or value in ("", [], {})
        return is_empty == (condition.operator == "empty")
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    compare = _COMPARISONS[condition.operator]
    if condition.operator in ("≠", "not contains", "not in"):
        return all(compare(item, condition.value) for item in items)
    return any(compare(item, condition.value) for item in items)


def _text(value: Any) -> str:
    return str(value).strip().casefold()


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Compare as numbers when both are, else as text; ISO dates are in order as text."""

    def both(item: Any, value: Any) -> bool:
        left, right = _number(item), _number(value)
        if left is not None and right is not None:
            return compare(left, right)
        return compare(_text(item), _text(value))

    return both


def _is_among(item: Any, value: Any) -> bool:
    among = value if isinstance(value, list) else str(value).split(",")
    return any(_COMPARISONS["="](item, each) for each in among)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": _compared(lambda left, right: left == right),
    "≠": _compared(lambda left, right: left != right),
    ">": _compared(lambda left, right: left > right),
    "<": _compared(lambda left, right: left < right),
    "≥": _compared(lambda left, right: left >= right),
    "≤": _compared(lambda left, right: left <= right),
    "contains": lambda item, value: _text(value) in _text(item),
    "not contains": lambda item, value: _text(value) not in _text(item),
    "start with": lambda item, value: _text(item).startswith(_text(value)),
    "end with": lambda item, value: _text(item).endswith(_text(value)),
    "in": _is_among,
    "not in": lambda item, value: not _is_among(item, value),
}
