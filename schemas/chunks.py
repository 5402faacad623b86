"""Bodies of chunks. Loose: their service checks the fields, what is unknown is ignored (knowledge.md 3)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema, model_validator

from app.domain.errors import WrongType
from schemas.bodies import LooseBody

_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
_WEIGHTS = {"type": "object", "additionalProperties": {"type": "number"}}
_POSITIONS = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}


def _described(schema: dict[str, Any], description: str) -> WithJsonSchema:
    return WithJsonSchema({**schema, "description": description})


Content = Annotated[Any, _described({"type": "string"}, "The text.")]
Keywords = Annotated[Any, _described(_TEXTS, "A hit of one of them counts more.")]
Questions = Annotated[Any, _described(_TEXTS, "Questions it answers; its vector is made of them.")]
Tags = Annotated[Any, _described(_TEXTS, "Tags of a row of a tag dataset.")]
TagWeights = Annotated[Any, _described(_WEIGHTS, "How much of each tag it has.")]
Ids = Annotated[Any, _described(_TEXTS, "Chunks of this document.")]


class ChunkAddition(LooseBody):
    """Body of `POST …/documents/{document_id}/chunks`."""

    content: Content = ""
    important_keywords: Keywords = None
    questions: Questions = None
    tag_kwd: Tags = None
    tag_feas: TagWeights = None
    image_base64: Annotated[Any, _described({"type": "string"}, "A picture in base64, shown with the chunk.")] = None


class ChunkChange(LooseBody):
    """Body of `PUT` and `PATCH …/chunks/{chunk_id}`: the fields to change."""

    content: Content = None
    important_keywords: Keywords = None
    questions: Questions = None
    available: Annotated[Any, _described({"type": "boolean"}, "Whether searches find it.")] = None
    positions: Annotated[Any, _described(_POSITIONS, "Each page, left, right, top, bottom.")] = None
    tag_kwd: Tags = None
    tag_feas: TagWeights = None


class ChunkDeletion(LooseBody):
    """Body of `DELETE …/chunks`: no ids means all of this document, unless `delete_all` is there and false."""

    chunk_ids: Ids = None
    delete_all: Annotated[Any, _described({"type": "boolean"}, "What to do without ids; absent means all.")] = None

    @model_validator(mode="before")
    @classmethod
    def _said(cls, value: Any) -> Any:
        """Refuse a `null` that came without a JSON media type: it names nothing, so it must not mean everything."""
        if isinstance(value, bytes) and value.strip() == b"null":
            raise WrongType("The body must be a JSON object.")
        return value


class ChunkSwitch(LooseBody):
    """Body of `PATCH …/chunks`."""

    chunk_ids: Ids = None
    available: Annotated[Any, _described({"type": "boolean"}, "Whether searches find them.")] = None
    available_int: Annotated[Any, _described({"type": "integer"}, "The same as 1 or 0.")] = None
