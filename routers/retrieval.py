"""Routes of retrieval."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from app.retrieval.service import Retriever
from app.services.retrieval import read_request, retrieve
from app.wire import knowledge
from app.wire.envelope import success
from routers.deps import SCOPE_READ, Caller, DatabaseDep, KeyedRoute
from routers.responses import ERRORS
from schemas.retrieval import RetrievalBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["retrieval"], responses=ERRORS)


@router.post("/retrieval", openapi_extra=SCOPE_READ)
async def retrieve_chunks(
    request: Request, caller: Caller, database: DatabaseDep, body: Annotated[RetrievalBody | None, Body()] = None
) -> dict[str, Any]:
    """Search datasets by words and by meaning; best chunks first."""
    asked = read_request(body.sent() if body is not None else {})
    retriever: Retriever = request.app.state.retriever
    result = await retrieve(database, retriever, caller.tenant_id, caller.key_id, asked)
    is_early = not result.total and (not asked.question.strip() or asked.metadata_condition is not None)
    return success(knowledge.NOTHING_SEARCHED if is_early else knowledge.search_result(result))
