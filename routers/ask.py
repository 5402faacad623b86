"""Questions to datasets with an API key: answered, gone on from, drawn (conversations.md 7.2, 7.3, 7.6)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.services.asking_datasets import ask_datasets
from app.wire.envelope import success
from app.wire.search_apps import mindmap
from routers.deps import SCOPE_CHAT, Caller, KeyedRoute, TurnCallDep
from routers.event_stream import EventStream
from routers.responses import ENVELOPE, STREAMED
from routers.search_deps import Tools, stream_answer
from schemas.searches import DatasetQuestion, RelatedQuestion, SearchQuestion, SearchRelatedQuestion

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["search"], responses=ENVELOPE)


@router.post("/sessions/ask", openapi_extra=SCOPE_CHAT, response_class=EventStream, responses=STREAMED)
async def ask_of_datasets(call: TurnCallDep, body: Annotated[DatasetQuestion | None, Body()] = None) -> Response:
    """Answer from datasets, as SSE; nothing is remembered of it."""
    body = body or DatasetQuestion()
    return await stream_answer(call, ask_datasets(body.sent()), body)


@router.post("/sessions/related_questions", openapi_extra=SCOPE_CHAT)
async def related_questions(
    caller: Caller, tools: Tools, body: Annotated[RelatedQuestion | None, Body()] = None
) -> dict[str, Any]:
    """Return up to ten questions that go on from this one."""
    return success(await tools.related_by_default(caller, body.sent() if body else {}))


@router.post("/chat/recommendation", openapi_extra=SCOPE_CHAT)
@router.post("/chat/recommandation", openapi_extra=SCOPE_CHAT)  # as a manual spells it; codespell:ignore
async def recommend_questions(
    caller: Caller, tools: Tools, body: Annotated[SearchRelatedQuestion | None, Body()] = None
) -> dict[str, Any]:
    """Return up to ten questions that go on from this one, by the model of a search app."""
    return success(await tools.related(caller, body.sent() if body else {}))


@router.post("/chat/mindmap", openapi_extra=SCOPE_CHAT)
async def draw_mindmap(
    caller: Caller, tools: Tools, body: Annotated[SearchQuestion | None, Body()] = None
) -> dict[str, Any]:
    """Draw a mind map of what datasets hold about a question."""
    return success(mindmap(await tools.mindmap(caller, body.sent() if body else {})))
