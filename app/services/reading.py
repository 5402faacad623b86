"""Fields of loose bodies, read as the retrieval routes read them: numbers in texts are taken too (knowledge.md 4.1)."""

import math
from collections.abc import Mapping
from typing import Any

from app.domain.errors import Invalid, WrongType
from app.retrieval.rephrasing import LANGUAGES_MOST

_LANGUAGE_CHARS = 64


def texts(values: list[Any], name: str) -> list[str]:
    """Return a list that holds texts only.

    Raises:
        WrongType: it holds something else.
    """
    if not all(isinstance(value, str) for value in values):
        raise WrongType(f"`{name}` should be a list of strings", param=name)
    return values


def languages(sent: Any) -> tuple[str, ...]:
    """Return the languages of `cross_languages`, each once, without blanks; absent and null are none.

    Raises:
        WrongType: not a list of texts.
        Invalid: too many, or too long.
    """
    if sent is None:
        return ()
    if not isinstance(sent, list):
        raise WrongType("`cross_languages` should be a list", param="cross_languages")
    named = tuple(dict.fromkeys(each.strip() for each in texts(sent, "cross_languages") if each.strip()))
    if len(named) > LANGUAGES_MOST or any(len(each) > _LANGUAGE_CHARS for each in named):
        raise Invalid(
            f"`cross_languages` should name at most {LANGUAGES_MOST} languages of at most {_LANGUAGE_CHARS} characters",
            param="cross_languages",
        )
    return named


def whole(sent: Mapping[str, Any], name: str, default: int, *, least: int = 0) -> int:
    """Read an int, a whole float or a string of an int; what is below `least` counts as it.

    Raises:
        WrongType: it is none of these.
    """
    value = sent.get(name, default)
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = int(value)
        except ValueError:
            value = None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"`{name}` should be an integer", param=name)
    return max(least, value)


def number(sent: Mapping[str, Any], name: str, default: float) -> float:
    """Read a number or a string of one.

    Raises:
        WrongType: it is neither, or not finite.
    """
    value = sent.get(name, default)
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise WrongType(f"`{name}` should be a number", param=name)
    return float(value)


def flag(sent: Mapping[str, Any], name: str) -> bool:
    """Read a boolean or the word for one, in any case; 0 and 1 too. Absent, null and empty are false.

    Raises:
        WrongType: it is none of these.
    """
    value = sent.get(name)
    if value is None or value == "":
        return False
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise WrongType(f"`{name}` should be a boolean", param=name)
