"""Routes of retrieval; `/search` are RAGFlow's later ones (knowledge.md 8)."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from app.domain.principals import Caller as Principal
from app.retrieval.service import Retriever
from app.security.quotas import Quotas
from app.services.retrieval import read_checked, retrieve
from app.wire.envelope import success
from app.wire.retrieval import search_result
from repositories.unit_of_work import Database
from routers.deps import SCOPE_READ, Caller, Compat22, DatabaseDep, KeyedRoute
from routers.responses import ENVELOPE
from schemas.bodies import UrlText
from schemas.retrieval import DatasetSearchBody, DatasetsSearchBody, RetrievalBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["retrieval"], responses=ENVELOPE)


@router.post("/retrieval", openapi_extra=SCOPE_READ)
async def retrieve_chunks(
    request: Request,
    caller: Caller,
    database: DatabaseDep,
    is_compat22: Compat22,
    body: Annotated[RetrievalBody | None, Body()] = None,
) -> dict[str, Any]:
    """Search datasets by words and by meaning; best chunks first."""
    sent = body.sent() if body is not None else {}
    return await _searched(request, caller, database, sent, is_compat22=is_compat22)


@router.post("/datasets/search", openapi_extra=SCOPE_READ)
async def search_datasets(
    request: Request, caller: Caller, database: DatabaseDep, body: DatasetsSearchBody
) -> dict[str, Any]:
    """Search datasets; without a threshold, however low the score."""
    return await _searched(request, caller, database, body.sent())


@router.post("/datasets/{dataset_id}/search", openapi_extra=SCOPE_READ)
async def search_dataset(
    request: Request, caller: Caller, database: DatabaseDep, dataset_id: UrlText, body: DatasetSearchBody
) -> dict[str, Any]:
    """Search one dataset; without a threshold, however low the score."""
    return await _searched(request, caller, database, {**body.sent(), "dataset_ids": [dataset_id]})


async def _searched(
    request: Request, caller: Principal, database: Database, sent: Mapping[str, Any], *, is_compat22: bool = False
) -> dict[str, Any]:
    retriever: Retriever = request.app.state.retriever
    asked = await read_checked(retriever, caller.tenant_id, sent, is_compat22=is_compat22)
    quotas: Quotas = request.app.state.quotas
    return success(search_result(await retrieve(database, retriever, quotas, caller, asked)))
