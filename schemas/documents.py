"""Bodies of documents. Loose: what matters is checked by the service, the rest is ignored (knowledge.md 0.4)."""

from typing import Annotated, Any

from pydantic import BaseModel, WithJsonSchema

from schemas.bodies import LooseBody, UrlText

_IDS = WithJsonSchema({"type": "array", "items": {"type": "string"}})
_TEXT = WithJsonSchema({"type": "string"})
_OBJECT = WithJsonSchema({"type": "object"})
_LIST = WithJsonSchema({"type": "array", "items": {"type": "object"}})


class DocumentUpdate(LooseBody):
    """Body of `PUT` and `PATCH …/documents/{document_id}`: any subset."""

    name: Annotated[Any, _TEXT] = None
    meta_fields: Annotated[Any, _OBJECT] = None
    parser_config: Annotated[Any, _OBJECT] = None
    chunk_method: Annotated[Any, _TEXT] = None
    enabled: Annotated[Any, WithJsonSchema({"type": ["integer", "boolean"]})] = None


class DocumentDeletion(LooseBody):
    """Body of `DELETE …/documents`: no ids means all, unless `delete_all` is there and false."""

    ids: Annotated[Any, _IDS] = None
    delete_all: Annotated[Any, WithJsonSchema({"type": "boolean"})] = None


class ParseBody(LooseBody):
    """Body of `POST` and `DELETE …/chunks`: which documents to parse, or to stop parsing."""

    document_ids: Annotated[Any, _IDS] = None


class IngestBody(LooseBody):
    """Body of `POST /documents/ingest`: which documents, and `1` to parse or `2` to stop."""

    doc_ids: Annotated[Any, _IDS] = None
    run: Annotated[Any, WithJsonSchema({"type": "string", "enum": ["1", "2"], "default": "1"})] = None


class MetadataConfigBody(LooseBody):
    """Body of `PUT …/metadata/config`: fields `{key, type, description, enum}`, and whether a model fills them in."""

    metadata: Annotated[Any, _LIST] = None
    built_in_metadata: Annotated[Any, _LIST] = None
    enable_metadata: Annotated[Any, WithJsonSchema({"type": "boolean"})] = None


class MetadataBody(LooseBody):
    """Body of `POST …/metadata/update`: which documents, and what becomes of their metadata."""

    selector: Annotated[Any, _OBJECT] = None
    updates: Annotated[Any, _LIST] = None
    deletes: Annotated[Any, _LIST] = None


class StatusBody(LooseBody):
    """Body of `POST …/documents/batch-update-status`: which documents, and `"0"` or `"1"`."""

    doc_ids: Annotated[Any, _IDS] = None
    status: Annotated[Any, WithJsonSchema({"type": "string", "enum": ["0", "1"]})] = None


class DocumentQuery(BaseModel):
    """Query of `GET …/documents`: texts, which the service reads in the contract's order."""

    id: UrlText = ""
    name: UrlText = ""
    keywords: UrlText = ""
    page: UrlText = "1"
    page_size: UrlText = "30"
    orderby: UrlText = "create_time"
    desc: UrlText = "true"
    suffix: list[UrlText] | None = None
    run: list[UrlText] | None = None
    create_time_from: UrlText = "0"
    create_time_to: UrlText = "0"
    metadata_condition: UrlText = ""
