"""Bodies that are read by their service: what they may hold at all, and how they are described."""

import json
import math
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, WithJsonSchema, model_validator

from app.domain.errors import Invalid
from schemas.fields import RequestBody

_DEPTH_MOST = 64
_INT_LEAST, _INT_MOST = -(2**63), 2**64 - 1  # what our own JSON writer can write


class LooseBody(RequestBody):
    """A JSON object in whatever media type. Its service checks the fields, in the order the contract gives."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """Refuse what Postgres or a later answer could not hold; runs before anything walks the value."""
        value = _parsed(value) if isinstance(value, bytes) else value
        _check(value)
        return value

    def sent(self) -> dict[str, Any]:
        """Return what was sent, as it was sent."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return fields | (self.model_extra or {})


def _parsed(body: bytes) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid("Malformed JSON syntax: Missing commas/brackets or invalid encoding") from error
    return {} if value is None else value


def _check(body: Any) -> None:
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


def _without_nul(text: str) -> str:
    return text.replace("\x00", "\ufffd")


UrlText = Annotated[str, AfterValidator(_without_nul)]
"""Text of a path or query. No stored text holds NUL, so one that does means nothing there is."""


class DeletionBody(LooseBody):
    """Which of several things to delete: `ids`, or all."""

    ids: Annotated[Any, WithJsonSchema({"type": ["array", "null"], "items": {"type": "string"}})] = None
    delete_all: Annotated[
        Any, WithJsonSchema({"type": "boolean", "description": "What to do without ids; absent means all."})
    ] = None
