"""Metadata of a dataset's documents, counted and changed together (knowledge.md 2.9)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from app.domain.datasets import DocumentMissing
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId
from app.retrieval.metadata import MetadataFilter, read_filter
from app.services.documents import owned
from repositories.unit_of_work import UnitOfWork

Summary = dict[str, list[tuple[str, int]]]
"""For each key its values, as text, with the number of documents, most frequent first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One entry of `updates`: without `match` the value is replaced, with it only what is equal to it, as text."""

    key: str
    value: Any
    match: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One entry of `deletes`: the whole key, or the values equal to `value`, as text."""

    key: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataUpdate:
    """A batch update; neither ids nor a filter mean all documents."""

    document_ids: Sequence[DocumentId] | None
    condition: MetadataFilter | None
    updates: Sequence[Rewrite]
    deletes: Sequence[Removal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """How many documents were selected, and how many of them changed."""

    matched: int
    updated: int


async def summarise(
    unit: UnitOfWork, dataset_id: DatasetId, document_ids: Sequence[DocumentId] | None = None
) -> Summary:
    """Count the values of every key; lists count item by item, and what is empty, zero or false not at all.

    Raises:
        DatasetMissing: there is no such dataset.
    """
    await owned(unit, dataset_id)
    fields = await unit.document_metadata.all(dataset_id, document_ids)
    return await anyio.to_thread.run_sync(_counted, list(fields.values()))


def _counted(documents: Sequence[Mapping[str, Any]]) -> Summary:
    counts: dict[str, Counter[str]] = {}
    for fields in documents:
        for key, value in fields.items():
            items = value if isinstance(value, list) else [value]
            told = [str(item) for item in items if item]
            if told:
                counts.setdefault(key, Counter()).update(told)
    return {key: sorted(found.items(), key=lambda each: (-each[1], each[0])) for key, found in sorted(counts.items())}


def read_update(sent: Mapping[str, Any]) -> MetadataUpdate:
    """Return what a body asks for.

    Raises:
        Invalid: it is not of the contract's shape.
    """
    selector = sent.get("selector") or {}
    if not isinstance(selector, dict):
        raise Invalid("selector must be an object.", param="selector")
    updates, deletes = sent.get("updates") or [], sent.get("deletes") or []
    if not isinstance(updates, list) or not isinstance(deletes, list):
        raise Invalid("updates and deletes must be lists.", param="updates")
    condition = selector.get("metadata_condition") or {}
    if not isinstance(condition, dict):
        raise Invalid("metadata_condition must be an object.", param="selector.metadata_condition")
    ids = selector.get("document_ids") or []
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise Invalid("document_ids must be a list.", param="selector.document_ids")
    return MetadataUpdate(
        document_ids=[DocumentId(each) for each in dict.fromkeys(ids)] or None,
        condition=read_filter(condition),
        updates=[_rewrite(each) for each in updates],
        deletes=[_removal(each) for each in deletes],
    )


def _rewrite(sent: Any) -> Rewrite:
    if not isinstance(sent, dict) or not _is_key(sent.get("key")) or "value" not in sent:
        raise Invalid("Each update requires key and value.", param="updates")
    match = sent.get("match")
    return Rewrite(key=sent["key"], value=sent["value"], match=None if match in (None, "") else str(match))


def _removal(sent: Any) -> Removal:
    if not isinstance(sent, dict) or not _is_key(sent.get("key")):
        raise Invalid("Each delete requires key.", param="deletes")
    value = sent.get("value")
    return Removal(key=sent["key"], value=None if value is None else str(value))


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


async def update_metadata(unit: UnitOfWork, dataset_id: DatasetId, wanted: MetadataUpdate) -> Updated:
    """Change the metadata of the selected documents, all in this unit. No document gets a key it did not have.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: a document that was named is not in it; nothing was changed.
    """
    await owned(unit, dataset_id)
    if wanted.document_ids is not None:
        known = await unit.document_metadata.known(dataset_id, wanted.document_ids)
        if unknown := [each for each in wanted.document_ids if each not in known]:
            raise DocumentMissing(f"These documents do not belong to dataset {dataset_id}: {', '.join(unknown)}")
    fields = await unit.document_metadata.lock(dataset_id, wanted.document_ids)
    condition = wanted.condition
    if condition is not None:
        fields = {document_id: held for document_id, held in fields.items() if condition.allows(held)}
        matched = len(fields)
    elif wanted.document_ids is not None:
        matched = len(wanted.document_ids)
    else:
        matched = await unit.document_metadata.count(dataset_id)
    changed = {document_id: _changed(held, wanted) for document_id, held in fields.items()}
    changed = {document_id: held for document_id, held in changed.items() if held != fields[document_id]}
    await unit.document_metadata.replace(changed)
    return Updated(matched=matched, updated=len(changed))


def _changed(fields: Mapping[str, Any], wanted: MetadataUpdate) -> dict[str, Any]:
    changed = dict(fields)
    for update in wanted.updates:
        if update.key in changed:
            changed[update.key] = _rewritten(changed[update.key], update)
    for delete in wanted.deletes:
        if delete.key in changed:
            left = _left(changed[delete.key], delete)
            changed.pop(delete.key) if left is None else changed.update({delete.key: left})
    return changed


def _rewritten(held: Any, update: Rewrite) -> Any:
    if update.match is None:
        return update.value
    if not isinstance(held, list):
        return update.value if str(held) == update.match else held
    items = [update.value if str(item) == update.match else item for item in held]
    distinct: list[Any] = []
    for item in items:
        if item not in distinct:
            distinct.append(item)
    return distinct if items != held else held


def _left(held: Any, delete: Removal) -> Any:
    """Return what is left of a value; None for nothing."""
    if delete.value is None:
        return None
    if isinstance(held, list):
        items = [item for item in held if str(item) != delete.value]
        return items or None
    return None if str(held) == delete.value else held


async def find_by_condition(
    unit: UnitOfWork, dataset_id: DatasetId, condition: MetadataFilter | None
) -> list[DocumentId] | None:
    """Return the documents whose metadata meets the condition; None when there is none to meet."""
    if condition is None:
        return None
    fields = await unit.document_metadata.all(dataset_id)
    return [document_id for document_id, held in fields.items() if condition.allows(held)]
