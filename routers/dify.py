"""Routes for Dify, which reads datasets as an external knowledge base of its own (knowledge.md 4.8)."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request

from app.domain.principals import Caller as Principal
from app.retrieval.service import Retriever
from app.security.quotas import Quotas
from app.services.dify import read_dify, retrieve_for_dify
from app.wire.dialects import Dialect
from app.wire.retrieval import dify_records
from routers.deps import SCOPE_READ, Caller, KeyedRoute
from routers.responses import described
from schemas.retrieval import DifyBody, DifyQuery


class DifyRoute(KeyedRoute):
    """A keyed route whose refusals carry their code as the status; nothing has an envelope."""

    dialect = Dialect.DIFY


_FAILURE = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": {"type": "integer", "description": "The status."}, "message": {"type": "string"}},
}


def _told(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _FAILURE}}}


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "`records`, best first; or code 101 and what was missing."},
    "4XX": _told("Another refusal."),
    400: _told("The request cannot be served as written."),
    403: _told("No key, one nobody knows, or one that may not do this."),
    404: _told("No such dataset, or nothing in it was parsed."),
    413: _told("Over a size limit."),
    500: _told("Our own failure, or the model provider's."),
    503: _told("The service is shutting down."),
}

router = APIRouter(prefix="/api/v1/dify/retrieval", route_class=DifyRoute, tags=["dify"], responses=_ANSWERS)


@router.post("", openapi_extra=SCOPE_READ)
async def retrieve_records(
    request: Request, caller: Caller, body: Annotated[DifyBody | None, Body()] = None
) -> dict[str, Any]:
    """Search one dataset for Dify. Fields that are missing are told of with status 200 and code 101."""
    return await _records(request, caller, body.sent() if body is not None else {})


@router.get("")
async def retrieve_records_by_query(
    request: Request, caller: Caller, query: Annotated[DifyQuery, Query()]
) -> dict[str, Any]:
    """Search one dataset for Dify, asked in the query string."""
    return await _records(request, caller, query.sent())


@router.get("/health", responses=described("The service answers, and the key is good."))
async def tell_health(_caller: Caller) -> dict[str, Any]:
    """Tell that the service answers and the key is good."""
    return {"status": "ok"}


async def _records(request: Request, caller: Principal, sent: Mapping[str, Any]) -> dict[str, Any]:
    retriever: Retriever = request.app.state.retriever
    quotas: Quotas = request.app.state.quotas
    asked = read_dify(sent)
    return dify_records(await retrieve_for_dify(request.app.state.database, retriever, quotas, caller, asked))
