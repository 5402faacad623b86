"""Deleting datasets: small ones at once, large ones hidden at once and taken apart by a job (knowledge.md 1.7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.datasets import Dataset, DatasetNotPermitted
from app.domain.ids import DatasetId, JobId, TenantId
from app.ingest.blobs import BlobStore
from app.ingest.sweeping import sweep_now
from repositories.jobs import CHANNEL, DELETE_DATASET
from repositories.unit_of_work import Database, UnitOfWork

CHUNKS_AT_ONCE = 2_000
DOCUMENTS_AT_ONCE = 200
"""What one call deletes by itself, all its datasets together; what is over it, a job does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDeletion:
    """How many datasets are gone for everybody, and the jobs that remove what the large ones held."""

    count: int
    jobs: list[tuple[DatasetId, JobId]]


async def delete_datasets(
    database: Database, blobs: BlobStore, tenant_id: TenantId, dataset_ids: Sequence[DatasetId] | None
) -> DatasetDeletion:
    """Delete these datasets, or all for None, with all they hold.

    Raises:
        DatasetNotPermitted: one of them is not there; nothing was deleted.
    """
    async with database.unit(tenant_id) as unit:
        wanted = list(dataset_ids) if dataset_ids is not None else await unit.datasets.all_ids()
        if not wanted:
            return DatasetDeletion(count=0, jobs=[])
        known = await unit.datasets.many(wanted)
        if unknown := [dataset_id for dataset_id in wanted if dataset_id not in known]:
            raise DatasetNotPermitted(f"User '{tenant_id}' lacks permission for datasets: '{', '.join(unknown)}'")
        small, large = _divided([known[dataset_id] for dataset_id in wanted])
        await unit.dataset_removal.delete(small)
        jobs = await _hide(unit, large)
        await unit.notify(CHANNEL, "cancelled")
    if small:
        await sweep_now(database, blobs, tenant_id)
    return DatasetDeletion(count=len(wanted), jobs=jobs)


async def _hide(unit: UnitOfWork, dataset_ids: Sequence[DatasetId]) -> list[tuple[DatasetId, JobId]]:
    if not dataset_ids:
        return []
    await unit.dataset_removal.hide(dataset_ids)
    queued = [(dataset_id, await unit.jobs.add_one(DELETE_DATASET, dataset_id)) for dataset_id in dataset_ids]
    await unit.notify(CHANNEL, "")
    return [(dataset_id, job_id) for dataset_id, job_id in queued if job_id is not None]


def _divided(datasets: Sequence[Dataset]) -> tuple[list[DatasetId], list[DatasetId]]:
    """Return those that are deleted at once, smallest first while there is room, and the others."""
    small: list[DatasetId] = []
    large: list[DatasetId] = []
    chunks = documents = 0
    for dataset in sorted(datasets, key=lambda each: (each.chunk_count, each.document_count)):
        chunks, documents = chunks + dataset.chunk_count, documents + dataset.document_count
        is_small = chunks <= CHUNKS_AT_ONCE and documents <= DOCUMENTS_AT_ONCE
        (small if is_small else large).append(dataset.id)
    return small, large
