"""What request bodies have in common."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from app.domain.errors import Invalid

_DEPTH_MOST = 64
_INT_LEAST, _INT_MOST = -(2**63), 2**64 - 1  # what our own JSON writer can write


class RequestBody(BaseModel):
    """A JSON body. Types are strict: no number out of a string, no bool for an int (knowledge.md 0.4)."""

    model_config = ConfigDict(strict=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """Refuse what Postgres or a later answer could not hold; runs before anything walks the value."""
        check_storable(value)
        return value


def check_storable(body: Any) -> None:
    """Return when all of `body` can be stored and sent back: depth, numbers, characters.

    Raises:
        Invalid: it cannot.
    """
    waiting = [(body, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEPTH_MOST:
            raise Invalid(f"The body must not be nested deeper than {_DEPTH_MOST} levels.")
        match value:
            case str():
                _check_text(value)
            case dict():
                waiting += [(part, depth + 1) for item in value.items() for part in item]
            case list():
                waiting += [(part, depth + 1) for part in value]
            case bool() | None:
                pass
            case int() if not _INT_LEAST <= value <= _INT_MOST:
                raise Invalid("Integers must fit in 64 bits.")
            case float() if not math.isfinite(value):
                raise Invalid("Numbers must be finite.")
            case _:
                pass


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise Invalid("Text must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("Text must not contain lone surrogates") from error
