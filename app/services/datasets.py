"""Rules of datasets: made and changed (knowledge.md 1)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.domain.datasets import Dataset, DatasetNameTaken, DatasetNotPermitted, free_names
from app.domain.errors import BadArgument, Invalid
from app.domain.ids import DatasetId, TenantId, new_id
from app.ingest.parser_config import default_config, merge, merge_on_create
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from repositories.unit_of_work import UnitOfWork


def lacks_permission(tenant_id: TenantId, name: str) -> DatasetNotPermitted:
    """Return the refusal for a dataset that is not there for this tenant."""
    return DatasetNotPermitted(f"User '{tenant_id}' lacks permission for dataset '{name}'")


def embedding_model_name(catalogue: ModelCatalogue, wanted: str | None) -> str:
    """Return `name@provider` of the model `wanted`, or of the default.

    Raises:
        BadArgument: nobody configured it, or it has no key (knowledge.md 1.1).
    """
    try:
        entry = catalogue.entry("embedding", wanted)
    except (ModelUnknown, ModelUnusable) as error:
        raise BadArgument(error.message, param="embedding_model") from error
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


async def store_dataset(unit: UnitOfWork, dataset: Dataset, *, may_rename: bool = True) -> Dataset:
    """Insert `dataset`; when its name is taken, under another one if `may_rename` (knowledge.md 1.4).

    Raises:
        DatasetNameTaken: the name is taken, and so are a thousand others like it or they may not be used.
    """
    names = free_names(dataset.name) if may_rename else [dataset.name]
    stored = await unit.datasets.add(dataset, names)
    if stored is None:
        raise name_taken(dataset.name)
    return stored


def name_taken(name: str) -> DatasetNameTaken:
    """Return the refusal of a name that another dataset has."""
    return DatasetNameTaken(f"Dataset name '{name}' already exists", param="name")


async def change_dataset(
    unit: UnitOfWork, catalogue: ModelCatalogue, dataset_id: DatasetId, sent: Mapping[str, Any]
) -> Dataset:
    """Change the fields that were sent (knowledge.md 1.5).

    Raises:
        DatasetMissing: there is no such dataset.
        Invalid: nothing was sent, the name is taken, or the embedding model cannot change.
    """
    if not sent:
        raise BadArgument("No properties were modified")
    dataset = await unit.datasets.lock(dataset_id)
    if dataset is None:
        raise lacks_permission(unit.tenant_id, dataset_id)
    changes = dict(sent)
    name = changes.get("name")
    if name is not None and await unit.datasets.is_name_taken(name, but=dataset_id):
        raise name_taken(name)
    wanted = changes.pop("embedding_model", None) or dataset.embedding_model
    if wanted != dataset.embedding_model and dataset.chunk_count:
        raise Invalid(
            f"When chunk_num ({dataset.chunk_count}) > 0, embedding_model must remain {dataset.embedding_model}",
            param="embedding_model",
        )
    changes["embedding_model"] = embedding_model_name(catalogue, wanted)
    config = changes.pop("parser_config", None)
    method = changes.get("chunk_method", dataset.chunk_method)
    if config:
        changes["parser_config"] = merge(dataset.parser_config, config)
    elif method != dataset.chunk_method:
        changes["parser_config"] = default_config(method)
    changed = await unit.datasets.update(dataset_id, changes)
    if changed is None:
        raise lacks_permission(unit.tenant_id, dataset_id)
    return changed
