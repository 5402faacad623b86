"""What of a document can be changed: all is checked first, then all is stored (knowledge.md 2.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, cast

import structlog

from app.domain.datasets import Dataset, DatasetMissing, Document, DocumentMissing, DocumentNameTaken, RunState
from app.domain.errors import BadArgument, Invalid, UpstreamFailed, WrongType
from app.domain.ids import DatasetId, DocumentId, KeyId, TenantId
from app.domain.retrieval import ModelCall
from app.ingest.embedding import gathered
from app.ingest.file_types import DocumentType
from app.ingest.parser_config import default_config, merge
from app.ingest.renaming import AT_ONCE, name_vectors, retitle
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.services.documents import drop_chunks
from app.services.file_names import check_length, clean_name
from app.services.parsing import restart
from repositories.chunk_titles import NameVectors
from repositories.jobs import CHANNEL, PARSE, RENAME
from repositories.unit_of_work import Database, UnitOfWork

log = structlog.get_logger()

METHODS = (
    "naive", "manual", "qa", "table", "paper", "book", "laws", "presentation", "picture", "one", "knowledge_graph",
    "email", "tag",
)  # fmt: skip
_FIXED_SUFFIXES = frozenset({"ppt", "pptx", "pages"})
_NAMES_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentChange:
    """What is to be stored. `method` is set only where it differs from the stored one, so is `name`."""

    columns: dict[str, Any] = field(default_factory=dict[str, Any])
    name: str | None = None
    method: str | None = None


def read_change(document: Document, sent: Mapping[str, Any], *, is_name_taken: bool) -> DocumentChange:
    """Return what `sent` asks for; unknown keys are ignored. The checks are made in the contract's order.

    Raises:
        Invalid: it cannot be done; the message is the contract's.
    """
    for name, stored in (
        ("chunk_count", document.chunk_count),
        ("token_count", document.token_count),
        ("progress", document.progress),
    ):
        if name in sent and sent[name] != stored:
            raise Invalid(f"Can't change `{name}`.", param=name)
    columns: dict[str, Any] = {}
    if "meta_fields" in sent:
        if not isinstance(sent["meta_fields"], dict):
            raise Invalid("meta_fields must be a dictionary", param="meta_fields")
        columns["meta_fields"] = sent["meta_fields"]
    new_name = _name(document, sent["name"], is_taken=is_name_taken) if "name" in sent else None
    if new_name is not None:
        columns["name"] = new_name
    config, method = _config(sent), _method(document, sent)
    if config:
        columns["parser_config"] = merge(document.parser_config, config)
    if method is not None:
        columns["chunk_method"] = method
        columns.setdefault("parser_config", merge(document.parser_config, default_config(method)))
    if "enabled" in sent:
        columns["is_enabled"] = _enabled(sent["enabled"])
    return DocumentChange(columns=columns, name=new_name, method=method)


def _name(document: Document, sent: Any, *, is_taken: bool) -> str | None:
    if not isinstance(sent, str):
        raise WrongType(f"`name` should be a string, not {type(sent).__name__}.", param="name")
    if sent == document.name:
        return None
    check_length(sent)
    name = clean_name(sent)
    if PurePath(name.lower()).suffix != PurePath(document.name.lower()).suffix:
        raise BadArgument("The extension of file can't be changed", param="name")
    if is_taken:
        raise DocumentNameTaken("Duplicated document name in the same dataset.", param="name")
    return name if name != document.name else None


def _config(sent: Mapping[str, Any]) -> dict[str, Any]:
    config = sent.get("parser_config")
    if config is not None and not isinstance(config, dict):
        raise WrongType("`parser_config` should be an object.", param="parser_config")
    return cast(dict[str, Any], config or {})


def _method(document: Document, sent: Mapping[str, Any]) -> str | None:
    if "chunk_method" not in sent:
        return None
    method = sent["chunk_method"]
    if method not in METHODS:
        raise Invalid(f"`chunk_method` {method} doesn't exist", param="chunk_method")
    if document.type == DocumentType.VISUAL or document.suffix in _FIXED_SUFFIXES:
        raise Invalid("Not supported yet!", param="chunk_method")
    return str(method) if method != document.chunk_method else None


def _enabled(sent: Any) -> bool:
    if not isinstance(sent, bool | int) or sent not in (0, 1):
        raise WrongType("`enabled` should be 0, 1, true or false.", param="enabled")
    return bool(sent)


class DocumentChanges:
    """Changes documents of one tenant."""

    def __init__(self, database: Database, catalogue: ModelCatalogue, tenant_id: TenantId, key_id: KeyId) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tenant_id = tenant_id
        self._key_id = key_id

    async def change(self, dataset_id: DatasetId, document_id: DocumentId, sent: Mapping[str, Any]) -> Document:
        """Store what `sent` asks for, all of it or nothing; the document as it is then.

        Raises:
            DatasetMissing: there is no such dataset.
            DocumentMissing: there is no such document in it.
            Invalid: it cannot be done; nothing was stored.
        """
        async with self._database.unit(self._tenant_id) as unit:
            dataset, document, change = await _asked(unit, dataset_id, document_id, sent)
        vectors, calls = await self._vectors(dataset, document, change)
        async with self._database.unit(self._tenant_id) as unit:
            await unit.documents.lock(dataset_id, [document_id])
            _, locked, change = await _asked(unit, dataset_id, document_id, sent)
            changed = (
                await unit.documents.update(document_id, change.columns, is_unstarted=change.method is not None)
                if change.columns
                else locked
            )
            if "is_enabled" in change.columns:
                available = changed.is_enabled
                await unit.document_contents.switch_chunks([document_id], is_available=available)
            if change.method is not None:
                await _forget(unit, locked)
            elif change.name is not None:
                changed = await _renamed(unit, locked, changed, vectors if locked.name == document.name else None)
            await unit.usage.add(gathered(calls), api_key_id=self._key_id)
        return changed

    async def _vectors(
        self, dataset: Dataset, document: Document, change: DocumentChange
    ) -> tuple[NameVectors | None, list[ModelCall]]:
        """Return the vectors of both names where the chunks are to know the new one before the call ends."""
        if change.name is None or change.method is not None or not 0 < document.chunk_count <= AT_ONCE:
            return None, []
        names = (document.name, change.name)
        try:
            return await name_vectors(self._catalogue, dataset.embedding_model, document, names, timeout_s=_NAMES_S)
        except (UpstreamFailed, ModelUnknown, ModelUnusable) as error:
            log.warning("rename_left_to_a_job", document=document.id, error=error.message)
            return None, []


async def _asked(
    unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId, sent: Mapping[str, Any]
) -> tuple[Dataset, Document, DocumentChange]:
    dataset = await unit.datasets.get(dataset_id)
    if dataset is None:
        raise DatasetMissing("You don't own the dataset.")
    document = await unit.documents.get(dataset_id, document_id)
    if document is None:
        raise DocumentMissing("The dataset doesn't own the document.")
    name = sent.get("name")
    is_taken = isinstance(name, str) and await unit.documents.is_name_taken(
        dataset_id, clean_name(name), but=document_id
    )
    return dataset, document, read_change(document, sent, is_name_taken=is_taken)


async def _forget(unit: UnitOfWork, document: Document) -> None:
    """Drop what was made by the method that is no more."""
    if await unit.jobs.cancel(PARSE, [document.id]):
        await unit.notify(CHANNEL, "cancelled")
    await drop_chunks(unit, document.dataset_id, [document])


async def _renamed(unit: UnitOfWork, before: Document, now: Document, vectors: NameVectors | None) -> Document:
    """Let chunks know the new name: now, by a job, or by parsing anew what is being parsed."""
    if before.run is RunState.RUNNING:
        await restart(unit, before)
        return await unit.documents.get(now.dataset_id, now.id) or now
    latest = await unit.jobs.latest(RENAME, [before.id])
    is_one_at_it = latest is not None and latest.state in ("queued", "running")  # it ends with the newest name
    if not before.chunk_count or is_one_at_it:
        return now
    if vectors is not None:
        await retitle(unit, before.id, (before.name, now.name), vectors)
    else:
        await unit.jobs.add_one(RENAME, before.id, {"old_name": before.name})
        await unit.notify(CHANNEL, "")
    return now


async def rename_locked(unit: UnitOfWork, document: Document, name: str) -> Document:
    """Rename a locked document whose new name was checked; its chunks learn of it by a job."""
    changed = await unit.documents.update(document.id, {"name": name})
    return await _renamed(unit, document, changed, None)
