"""Bodies that are read by their service: what they may hold at all, and how they are described."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, WithJsonSchema, model_validator

from app.domain.errors import WrongType
from schemas.fields import RequestBody


class LooseBody(RequestBody):
    """A JSON object in whatever media type. Its service checks the fields, in the order the contract gives."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        """Read a body that came without a JSON media type."""
        return _parsed(value) if isinstance(value, bytes) else value

    def sent(self) -> dict[str, Any]:
        """Return what was sent, as it was sent."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return fields | (self.model_extra or {})


def _parsed(body: bytes) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WrongType("Malformed JSON syntax: Missing commas/brackets or invalid encoding") from error
    return {} if value is None else value


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
