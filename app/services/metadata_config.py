"""Which metadata documents are to have: told by a dataset, copied to its documents (knowledge.md 2.9)."""

from collections.abc import Mapping
from typing import Any

from app.domain.datasets import DatasetMissing, Document, DocumentMissing
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId
from app.ingest.metadata_fields import BUILT_IN, FIELDS_MOST, TYPES
from app.services.documents import owned
from repositories.unit_of_work import UnitOfWork

_KEY_CHARS = 255
_TEXT_CHARS = 2000
_ENUM_MOST = 200

Config = dict[str, Any]
"""`metadata` and `built_in_metadata`, lists of fields; `enable_metadata`, whether a model fills the fields in."""


async def dataset_config(unit: UnitOfWork, dataset_id: DatasetId) -> Config:
    """Return what the dataset's new documents are to have.

    Raises:
        DatasetMissing: there is no such dataset.
    """
    return _config((await owned(unit, dataset_id)).parser_config)


async def change_dataset_config(unit: UnitOfWork, dataset_id: DatasetId, sent: Mapping[str, Any]) -> Config:
    """Store what was sent, for documents that are uploaded from now on.

    Raises:
        DatasetMissing: there is no such dataset.
        Invalid: a field is of another shape.
    """
    await owned(unit, dataset_id)
    changed = await unit.datasets.lay_over_config(dataset_id, _read(sent))
    if changed is None:
        raise DatasetMissing(f"You don't own the dataset {dataset_id}.")
    return _config(changed)


async def change_document_config(
    unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId, sent: Mapping[str, Any]
) -> Document:
    """Store what was sent for one document; it counts when the document is parsed next.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it.
        Invalid: a field is of another shape.
    """
    await owned(unit, dataset_id)
    document = (await unit.documents.lock(dataset_id, [document_id])).get(document_id)
    if document is None:
        raise DocumentMissing(f"The dataset doesn't own the document {document_id}.")
    config = {**document.parser_config, **_read(sent)}
    return await unit.documents.update(document_id, {"parser_config": config})


def _config(parser_config: Mapping[str, Any]) -> Config:
    def listed(key: str) -> list[Any]:
        held = parser_config.get(key)
        return held if isinstance(held, list) else []

    return {
        "metadata": listed("metadata"),
        "built_in_metadata": listed("built_in_metadata"),
        "enable_metadata": parser_config.get("enable_metadata") is True,
    }


def _read(sent: Mapping[str, Any]) -> Config:
    """Return the keys that were sent, checked; fields of the caller's switch `enable_metadata` on unless it is sent."""
    read: Config = {}
    if "metadata" in sent:
        read["metadata"] = _fields(sent["metadata"], "metadata")
        read["enable_metadata"] = bool(read["metadata"])
    if "built_in_metadata" in sent:
        read["built_in_metadata"] = _fields(sent["built_in_metadata"], "built_in_metadata")
        if unknown := [each["key"] for each in read["built_in_metadata"] if each["key"] not in BUILT_IN]:
            raise Invalid(
                f"Built-in metadata is {', '.join(BUILT_IN)}; not {', '.join(unknown)}.", param="built_in_metadata"
            )
    if "enable_metadata" in sent:
        if not isinstance(sent["enable_metadata"], bool):
            raise Invalid("`enable_metadata` should be a boolean.", param="enable_metadata")
        read["enable_metadata"] = sent["enable_metadata"]
    if not read:
        raise Invalid("`metadata` or `built_in_metadata` is required.", param="metadata")
    return read


def _fields(sent: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(sent, list):
        raise Invalid(f"`{name}` should be a list.", param=name)
    if len(sent) > FIELDS_MOST:
        raise Invalid(f"`{name}` may have at most {FIELDS_MOST} fields.", param=name)
    fields = [_field(each, f"{name}.{at}") for at, each in enumerate(sent)]
    keys = [field["key"] for field in fields]
    if len(set(keys)) < len(keys):
        raise Invalid(f"Each `key` of `{name}` may stand there once.", param=name)
    return fields


def _field(sent: Any, place: str) -> dict[str, Any]:
    if not isinstance(sent, dict):
        raise Invalid(f"Each of `{place.partition('.')[0]}` should be an object.", param=place)
    key, kind = sent.get("key"), sent.get("type", "string")
    if not isinstance(key, str) or not 1 <= len(key.strip()) <= _KEY_CHARS:
        raise Invalid(f"`key` should be a text of 1 to {_KEY_CHARS} characters.", param=f"{place}.key")
    if kind not in TYPES:
        raise Invalid(f"`type` should be {', '.join(TYPES[:-1])} or {TYPES[-1]}.", param=f"{place}.type")
    field: dict[str, Any] = {"key": key.strip(), "type": kind}
    description, choices = sent.get("description"), sent.get("enum")
    if description is not None:
        if not isinstance(description, str) or len(description) > _TEXT_CHARS:
            raise Invalid(f"`description` should be a text of up to {_TEXT_CHARS} characters.", param=place)
        field["description"] = description
    if choices is not None:
        is_texts = isinstance(choices, list) and all(isinstance(each, str) and each for each in choices)
        if not is_texts or len(choices) > _ENUM_MOST:
            raise Invalid(f"`enum` should be a list of up to {_ENUM_MOST} texts.", param=f"{place}.enum")
        field["enum"] = list(dict.fromkeys(choices))
    return field
