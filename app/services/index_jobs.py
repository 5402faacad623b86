"""Rules of the jobs that index whole datasets: started, traced, ended (knowledge.md 4.7)."""

from app.domain.errors import Conflict, Invalid, NotAuthorized
from app.domain.ids import DatasetId, JobId, TenantId
from app.domain.index_jobs import IndexJob, IndexType
from app.services.graph import wipe_graph
from repositories.index_jobs import KINDS
from repositories.jobs import CHANNEL
from repositories.unit_of_work import Database, UnitOfWork

TYPES = ("graph", "raptor", "mindmap")
_TITLES: dict[IndexType, str] = {"graph": "Graph", "raptor": "RAPTOR"}


def index_type(sent: str | None) -> IndexType | None:
    """Return the type a caller names; None for mind maps, which nobody makes.

    Raises:
        Invalid: there is no such type.
    """
    match sent:
        case "graph" | "raptor":
            return sent
        case "mindmap":
            return None
        case _:
            raise Invalid(f"`type` should be one of {', '.join(TYPES)}.", param="type")


async def run_index(unit: UnitOfWork, dataset_id: DatasetId, type_: IndexType | None) -> JobId:
    """Queue the job, and return its id.

    Raises:
        NotAuthorized: the caller has no such dataset.
        Invalid: it has no documents, or mind maps were asked for.
        Conflict: such a job is under way already.
    """
    dataset = await unit.datasets.get(dataset_id)
    if dataset is None:
        raise NotAuthorized("No authorization.")
    if type_ is None:
        raise Invalid("Mind maps are not made here: `type` should be graph or raptor.", param="type")
    if not dataset.document_count:
        raise Invalid(f"No documents in Dataset {dataset_id}")
    started = await unit.jobs.add_one(KINDS[type_], dataset_id)
    if started is None:
        raise await _running(unit, dataset_id, type_)
    await unit.notify(CHANNEL, "")
    return started


async def trace_index(unit: UnitOfWork, dataset_id: DatasetId, type_: IndexType | None) -> IndexJob | None:
    """Return how far the youngest such job is; None when there was none.

    Raises:
        NotAuthorized: the caller has no such dataset.
    """
    await _own(unit, dataset_id)
    found = await unit.index_jobs.latest([dataset_id])
    return found.get(dataset_id, {}).get(type_) if type_ is not None else None


async def delete_index(
    database: Database, tenant_id: TenantId, dataset_id: DatasetId, type_: IndexType | None, *, wipes: bool
) -> None:
    """End such a job and forget it; with `wipes`, delete what such jobs made too.

    Raises:
        NotAuthorized: the caller has no such dataset.
    """
    async with database.unit(tenant_id) as unit:
        await _own(unit, dataset_id)
        if type_ == "graph" and wipes:
            await wipe_graph(unit, dataset_id)
        elif type_ is not None and await unit.index_jobs.forget(dataset_id, type_):
            await unit.notify(CHANNEL, "cancelled")
    if type_ == "raptor" and wipes:  # from here on, no job can write any more
        await _wipe_summaries(database, tenant_id, dataset_id)


async def _wipe_summaries(database: Database, tenant_id: TenantId, dataset_id: DatasetId) -> None:
    """Document by document, so that none is held for long."""
    async with database.unit(tenant_id) as unit:
        document_ids = await unit.summaries.documents_with(dataset_id)
    for document_id in document_ids:
        async with database.unit(tenant_id) as unit:
            await unit.summaries.lock(dataset_id, document_id)
            chunks, tokens = await unit.summaries.delete(document_id)
            await unit.summaries.count(document_id, chunks=-chunks, tokens=-tokens)
            await unit.datasets.add_counts(dataset_id, chunks=-chunks, tokens=-tokens)


async def _running(unit: UnitOfWork, dataset_id: DatasetId, type_: IndexType) -> Conflict:
    found = (await unit.index_jobs.latest([dataset_id])).get(dataset_id, {}).get(type_)
    about = f"Task {found.id} in progress with status {found.progress}. " if found is not None else ""
    return Conflict(f"{about}A {_TITLES[type_]} Task is already running.")


async def _own(unit: UnitOfWork, dataset_id: DatasetId) -> None:
    if await unit.datasets.get(dataset_id) is None:
        raise NotAuthorized("No authorization.")
