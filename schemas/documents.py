"""Bodies of documents. Loose: what matters is checked by the service, the rest is ignored (knowledge.md 0.4)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from schemas.bodies import LooseBody

_IDS = WithJsonSchema({"type": "array", "items": {"type": "string"}})


class DocumentDeletion(LooseBody):
    """Body of `DELETE …/documents`: no ids means all, unless `delete_all` is there and false."""

    ids: Annotated[Any, _IDS] = None
    delete_all: Annotated[Any, WithJsonSchema({"type": "boolean"})] = None


class ParseBody(LooseBody):
    """Body of `POST` and `DELETE …/chunks`: which documents to parse, or to stop parsing."""

    document_ids: Annotated[Any, _IDS] = None
