"""Routes of datasets."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from app.domain.ids import DatasetId
from app.ingest.blobs import BlobStore
from app.llm.catalogue import ModelCatalogue
from app.services import dataset_lists
from app.services.dataset_deletion import delete_datasets
from app.services.dataset_lists import DatasetListing
from app.services.datasets import change_dataset, embedding_model_name, new_dataset, store_dataset
from app.wire import knowledge
from app.wire.envelope import success
from routers.deps import Caller, DatabaseDep, Edge, KeyedRoute, Unit
from routers.repeating import RepeatableCall
from routers.responses import ENVELOPE
from routers.strict_json import strict_body, strict_page
from schemas.bodies import UrlText
from schemas.datasets import DatasetCreate, DatasetDeletion, DatasetQuery, DatasetUpdate

_COLLAPSED = frozenset({"documents", "chunks"})  # what is left of a path whose id was empty (knowledge.md 0.3)

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["datasets"], responses=ENVELOPE)


@router.post("/datasets", openapi_extra=strict_page(DatasetCreate))
async def create_dataset(
    request: Request,
    caller: Caller,
    unit: Unit,
    edge: Edge,
    call: RepeatableCall,
    body: Annotated[DatasetCreate, Depends(strict_body(DatasetCreate))],
) -> Response:
    """Make a dataset."""
    catalogue: ModelCatalogue = request.app.state.catalogue

    async def create() -> dict[str, Any]:
        dataset = new_dataset(
            caller.tenant_id,
            name=body.name,
            chunk_method=body.chunk_method,
            embedding_model=embedding_model_name(catalogue, body.embedding_model),
            sent=body.sent(),
        )
        may_rename = edge.duplicate_dataset_name == "rename"
        return success(knowledge.dataset(await store_dataset(unit, dataset, may_rename=may_rename)))

    return await call.once(unit, create)


@router.get("/datasets")
async def list_datasets(unit: Unit, query: Annotated[DatasetQuery, Query()]) -> dict[str, Any]:
    """List datasets; `total_datasets` counts all that match."""
    asked = DatasetListing(
        dataset_id=DatasetId(query.id) if query.id is not None else None,
        name=query.name or None,
        order_by="created_at" if query.orderby == "create_time" else "updated_at",
        is_descending=query.desc,
        page=query.page,
        page_size=query.page_size,
    )
    total, found = await dataset_lists.list_datasets(unit, asked)
    return success([knowledge.dataset(each, jobs) for each, jobs in found], total_datasets=total)


@router.get("/datasets/{dataset_id}")
async def get_dataset(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Return one dataset, and how many bytes its files have."""
    if dataset_id in _COLLAPSED:
        raise HTTPException(405, headers={"Allow": "POST, DELETE"})
    return success(knowledge.one_dataset(*await dataset_lists.dataset_with_jobs(unit, DatasetId(dataset_id))))


@router.put("/datasets/{dataset_id}", openapi_extra=strict_page(DatasetUpdate))
async def update_dataset(
    request: Request,
    dataset_id: UrlText,
    unit: Unit,
    body: Annotated[DatasetUpdate, Depends(strict_body(DatasetUpdate))],
) -> dict[str, Any]:
    """Change a dataset; what is not sent stays."""
    stored_id = DatasetId(dataset_id.replace("-", "").lower())  # as ids are read wherever they are checked
    changed = await change_dataset(unit, request.app.state.catalogue, stored_id, body.sent())
    jobs = await unit.index_jobs.latest([changed.id])
    return success(knowledge.dataset(changed, jobs.get(changed.id, {})))


@router.delete("/datasets", openapi_extra=strict_page(DatasetDeletion))
async def remove_datasets(
    request: Request,
    caller: Caller,
    database: DatabaseDep,
    body: Annotated[DatasetDeletion, Depends(strict_body(DatasetDeletion))],
) -> dict[str, Any]:
    """Delete datasets with their documents and chunks; all of them when `ids` is null.

    They are gone at once; `jobs` names the jobs that still remove what large ones held (`GET /jobs/{job_id}`).
    """
    blobs: BlobStore = request.app.state.blobs
    ids = [DatasetId(each) for each in body.ids] if body.ids is not None else None
    done = await delete_datasets(database, blobs, caller.tenant_id, ids)
    return success(knowledge.deleted_datasets(done.count, done.jobs))
