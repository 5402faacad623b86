"""Routes of datasets."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.exceptions import HTTPException

from app.domain.errors import Invalid
from app.domain.ids import DatasetId
from app.ingest.blobs import BlobStore
from app.llm.catalogue import ModelCatalogue
from app.services.datasets import (
    change_dataset,
    delete_datasets,
    embedding_model_name,
    lacks_permission,
    new_dataset,
    store_dataset,
)
from app.wire import knowledge
from app.wire.envelope import success
from routers.deps import Caller, DatabaseDep, KeyedRoute, RepeatableCall, Unit
from routers.responses import ERRORS
from schemas.bodies import UrlText
from schemas.datasets import DatasetCreate, DatasetDeletion, DatasetQuery, DatasetUpdate, Uuid1

_OFFSET_MOST = 2**62  # Postgres counts rows in 64 bits
_PAGE_MOST = 2**31


async def _only_json(request: Request) -> None:
    """Refuse bodies that do not say they are JSON (knowledge.md 0.4)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Invalid(f"Unsupported content type: Expected application/json, got {kind or None}")


_EMPTY_ID = ("documents", "chunks")
"""What an empty id before these words makes of the path: a route with other methods (knowledge.md 0.3)."""

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["datasets"], responses=ERRORS)
OnlyJson = Depends(_only_json)


@router.post("/datasets", dependencies=[OnlyJson])
async def create_dataset(
    request: Request, caller: Caller, unit: Unit, call: RepeatableCall, body: DatasetCreate
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
        return success(knowledge.dataset(await store_dataset(unit, dataset)))

    return await call.once(unit, create)


@router.get("/datasets")
async def list_datasets(caller: Caller, unit: Unit, query: Annotated[DatasetQuery, Query()]) -> dict[str, Any]:
    """List datasets; `total_datasets` counts all that match."""
    dataset_id = DatasetId(query.id) if query.id is not None else None
    name = query.name or None
    for asked in (dataset_id, name):
        is_there = asked is None or await unit.datasets.count(
            dataset_id=dataset_id if asked == dataset_id else None, name=name if asked == name else None
        )
        if not is_there:
            raise lacks_permission(caller.tenant_id, str(asked))
    total = await unit.datasets.count(dataset_id=dataset_id, name=name)
    found = await unit.datasets.page(
        dataset_id=dataset_id,
        name=name,
        order_by="created_at" if query.orderby == "create_time" else "updated_at",
        desc=query.desc,
        most=min(query.page_size, _PAGE_MOST),
        skip=min((query.page - 1) * query.page_size, _OFFSET_MOST),
    )
    return success([knowledge.dataset(each) for each in found], total_datasets=total)


@router.get("/datasets/{dataset_id}")
async def get_dataset(dataset_id: UrlText, caller: Caller, unit: Unit) -> dict[str, Any]:
    """Return one dataset."""
    if dataset_id in _EMPTY_ID:
        raise HTTPException(405)
    found = await unit.datasets.get(DatasetId(dataset_id))
    if found is None:
        raise lacks_permission(caller.tenant_id, dataset_id)
    return success(knowledge.dataset(found))


@router.put("/datasets/{dataset_id}", dependencies=[OnlyJson])
async def update_dataset(request: Request, dataset_id: Uuid1, unit: Unit, body: DatasetUpdate) -> dict[str, Any]:
    """Change a dataset; what is not sent stays."""
    changed = await change_dataset(unit, request.app.state.catalogue, DatasetId(dataset_id), body.sent())
    return success(knowledge.dataset(changed))


@router.delete("/datasets", dependencies=[OnlyJson])
async def remove_datasets(
    request: Request, caller: Caller, database: DatabaseDep, body: DatasetDeletion
) -> dict[str, Any]:
    """Delete datasets with their documents and chunks; all of them when `ids` is null."""
    blobs: BlobStore = request.app.state.blobs
    ids = [DatasetId(each) for each in body.ids] if body.ids is not None else None
    deleted = await delete_datasets(database, blobs, caller.tenant_id, ids)
    return success({"success_count": deleted})
