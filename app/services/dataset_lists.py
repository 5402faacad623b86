"""Lists of datasets, and one of them with all there is to tell of it (knowledge.md 1.6)."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.datasets import Dataset
from app.domain.ids import DatasetId
from app.domain.index_jobs import IndexJob, IndexType
from app.services.datasets import lacks_permission
from app.services.listing import OFFSET_MOST
from repositories.unit_of_work import UnitOfWork

_PAGE_MOST = 2**31

Jobs = Mapping[IndexType, IndexJob]
"""The latest jobs that indexed all of a dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetListing:
    """Which datasets are asked for; the page counts from 1."""

    dataset_id: DatasetId | None
    name: str | None
    order_by: str
    is_descending: bool
    page: int
    page_size: int


async def list_datasets(unit: UnitOfWork, asked: DatasetListing) -> tuple[int, list[tuple[Dataset, Jobs]]]:
    """Return how many datasets match, and a page of them.

    Raises:
        DatasetNotPermitted: an id or a name was asked for, and there is no such dataset.
    """
    if asked.dataset_id is not None and not await unit.datasets.count(dataset_id=asked.dataset_id):
        raise lacks_permission(unit.tenant_id, asked.dataset_id)
    if asked.name is not None and not await unit.datasets.count(name=asked.name):
        raise lacks_permission(unit.tenant_id, asked.name)
    total = await unit.datasets.count(dataset_id=asked.dataset_id, name=asked.name)
    found = await unit.datasets.page(
        dataset_id=asked.dataset_id,
        name=asked.name,
        order_by=asked.order_by,
        desc=asked.is_descending,
        most=min(asked.page_size, _PAGE_MOST),
        skip=min((asked.page - 1) * asked.page_size, OFFSET_MOST),
    )
    jobs = await unit.index_jobs.latest([each.id for each in found])
    return total, [(each, jobs.get(each.id, {})) for each in found]


async def dataset_with_jobs(unit: UnitOfWork, dataset_id: DatasetId) -> tuple[Dataset, int, Jobs]:
    """Return a dataset, how many bytes its files have, and its jobs.

    Raises:
        DatasetNotPermitted: there is no such dataset.
    """
    found = await unit.datasets.get(dataset_id)
    if found is None:
        raise lacks_permission(unit.tenant_id, dataset_id)
    jobs = await unit.index_jobs.latest([found.id])
    return found, await unit.datasets.size_bytes(found.id), jobs.get(found.id, {})
