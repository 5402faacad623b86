"""Rules of datasets (knowledge.md 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import structlog

from app.domain.datasets import Dataset, DatasetMissing, free_names
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, TenantId, new_id
from app.ingest.blobs import BlobStore
from app.ingest.parser_config import default_config, merge, merge_on_create
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from repositories.jobs import CHANNEL
from repositories.unit_of_work import Database, UnitOfWork

log = structlog.get_logger()

_FORGET_S = 30.0


def lacks_permission(tenant_id: TenantId, name: str) -> DatasetMissing:
    """Return the refusal for a dataset that is not there for this tenant."""
    return DatasetMissing(f"User '{tenant_id}' lacks permission for dataset '{name}'")


def embedding_model_name(catalogue: ModelCatalogue, wanted: str | None) -> str:
    """Return `name@provider` of the model `wanted`, or of the default.

    Raises:
        Invalid: nobody configured it, or it has no key (knowledge.md 1.1).
    """
    try:
        entry = catalogue.entry("embedding", wanted)
    except (ModelUnknown, ModelUnusable) as error:
        raise Invalid(error.message, param="embedding_model") from error
    return wanted or entry.wire_name


def new_dataset(
    tenant_id: TenantId, *, name: str, chunk_method: str, embedding_model: str, sent: Mapping[str, Any]
) -> Dataset:
    """Return a dataset to be stored; `sent` holds the optional fields as they came."""
    now = datetime.now(UTC)
    return Dataset(
        id=DatasetId(new_id()),
        tenant_id=tenant_id,
        name=name,
        avatar=sent.get("avatar"),
        description=sent.get("description"),
        permission=sent.get("permission", "me"),
        embedding_model=embedding_model,
        chunk_method=chunk_method,
        parser_config=merge_on_create(chunk_method, sent.get("parser_config")),
        created_at=now,
        updated_at=now,
    )


async def store_dataset(unit: UnitOfWork, dataset: Dataset) -> Dataset:
    """Insert `dataset`, under another name when its own is taken (knowledge.md 1.4).

    Raises:
        Invalid: the name and a thousand others like it are taken.
    """
    stored = await unit.datasets.add(dataset, free_names(dataset.name))
    if stored is None:
        raise Invalid(f"Dataset name '{dataset.name}' already exists", param="name")
    return stored


async def change_dataset(
    unit: UnitOfWork, catalogue: ModelCatalogue, dataset_id: DatasetId, sent: Mapping[str, Any]
) -> Dataset:
    """Change the fields that were sent (knowledge.md 1.5).

    Raises:
        DatasetMissing: there is no such dataset.
        Invalid: nothing was sent, the name is taken, or the embedding model cannot change.
    """
    if not sent:
        raise Invalid("No properties were modified")
    dataset = await unit.datasets.get(dataset_id)
    if dataset is None:
        raise lacks_permission(unit.tenant_id, dataset_id)
    changes = dict(sent)
    name = changes.get("name")
    if (
        name is not None
        and name.lower() != dataset.name.lower()
        and await unit.datasets.is_name_taken(name, but=dataset_id)
    ):
        raise Invalid(f"Dataset name '{name}' already exists", param="name")
    wanted = changes.pop("embedding_model", None) or dataset.embedding_model
    changes["embedding_model"] = embedding_model_name(catalogue, wanted)
    if wanted != dataset.embedding_model and dataset.chunk_count:
        raise Invalid(
            f"When chunk_num ({dataset.chunk_count}) > 0, embedding_model must remain {dataset.embedding_model}",
            param="embedding_model",
        )
    config = changes.pop("parser_config", None)
    method = changes.get("chunk_method", dataset.chunk_method)
    if config:
        changes["parser_config"] = merge(dataset.parser_config, config)
    elif method != dataset.chunk_method:
        changes["parser_config"] = default_config(method)
    changed = await unit.datasets.update(dataset_id, changes)
    if changed is None:
        raise lacks_permission(unit.tenant_id, dataset_id)
    return replace(changed)


async def delete_datasets(
    database: Database, blobs: BlobStore, tenant_id: TenantId, dataset_ids: Sequence[DatasetId] | None
) -> int:
    """Delete these datasets, or all for None, with all they hold; how many that were.

    Raises:
        DatasetMissing: one of them is not there; nothing was deleted.
    """
    async with database.unit(tenant_id) as unit:
        wanted = list(dataset_ids) if dataset_ids is not None else await unit.datasets.all_ids()
        if not wanted:
            return 0
        known = await unit.datasets.many(wanted)
        if unknown := [dataset_id for dataset_id in wanted if dataset_id not in known]:
            raise DatasetMissing(f"User '{tenant_id}' lacks permission for datasets: '{', '.join(unknown)}'")
        blob_keys = await unit.datasets.delete(wanted)
        await unit.notify(CHANNEL, "cancelled")
    await forget_blobs(blobs, blob_keys)
    return len(wanted)


async def forget_blobs(blobs: BlobStore, keys: Sequence[str]) -> None:
    """Remove blobs whose rows are gone; one that stays is only wasted space."""
    with anyio.move_on_after(_FORGET_S, shield=True):
        try:
            await blobs.delete_many(keys)
        except Exception:
            log.exception("blobs_not_deleted", count=len(keys))
