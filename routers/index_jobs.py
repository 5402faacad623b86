"""Routes of the jobs that index whole datasets: summaries (RAPTOR) and knowledge graphs."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.domain.ids import DatasetId
from app.domain.index_jobs import IndexType
from app.services.index_jobs import delete_index, index_type, run_index, trace_index
from app.wire.envelope import success
from app.wire.index_jobs import task_key, task_row
from routers.deps import Caller, DatabaseDep, KeyedRoute, Unit
from routers.responses import ENVELOPE
from schemas.bodies import UrlText

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["index jobs"], responses=ENVELOPE)
Type = Annotated[UrlText | None, Query(description="`graph`, `raptor` or `mindmap`.")]
Wipe = Annotated[bool, Query(description="Whether what the job made is deleted too.")]


@router.post("/datasets/{dataset_id}/run_graphrag")
async def run_graphrag(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Make or complete the dataset's knowledge graph, in the background."""
    return await _run(dataset_id, unit, "graph")


@router.get("/datasets/{dataset_id}/trace_graphrag")
async def trace_graphrag(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Tell how far the job that makes the graph is."""
    return success(task_row(await trace_index(unit, DatasetId(dataset_id), "graph"), datetime.now(UTC)))


@router.post("/datasets/{dataset_id}/run_raptor")
async def run_raptor(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Write summaries over the dataset's documents, in the background."""
    return await _run(dataset_id, unit, "raptor")


@router.get("/datasets/{dataset_id}/trace_raptor")
async def trace_raptor(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Tell how far the job that writes summaries is."""
    return success(task_row(await trace_index(unit, DatasetId(dataset_id), "raptor"), datetime.now(UTC)))


@router.post("/datasets/{dataset_id}/index")
async def run_index_job(dataset_id: UrlText, unit: Unit, type: Type = None) -> dict[str, Any]:
    """Start an index job."""
    return success({"task_id": await run_index(unit, DatasetId(dataset_id), index_type(type))})


@router.get("/datasets/{dataset_id}/index")
async def trace_index_job(dataset_id: UrlText, unit: Unit, type: Type = None) -> dict[str, Any]:
    """Tell how far an index job is."""
    return success(task_row(await trace_index(unit, DatasetId(dataset_id), index_type(type)), datetime.now(UTC)))


@router.delete("/datasets/{dataset_id}/index")
async def delete_index_job(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, type: Type = None, wipe: Wipe = True
) -> dict[str, Any]:
    """End an index job, and delete what it made."""
    await delete_index(database, caller.tenant_id, DatasetId(dataset_id), index_type(type), wipes=wipe)
    return success(True)


@router.delete("/datasets/{dataset_id}/raptor")
async def delete_raptor(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, wipe: Wipe = True
) -> dict[str, Any]:
    """End the job that writes summaries, and delete them."""
    await delete_index(database, caller.tenant_id, DatasetId(dataset_id), "raptor", wipes=wipe)
    return success(True)


async def _run(dataset_id: str, unit: Unit, type_: IndexType) -> dict[str, Any]:
    return success({task_key(type_): await run_index(unit, DatasetId(dataset_id), type_)})
