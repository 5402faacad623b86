"""Search apps on pages, by embed token (conversations.md 7.6)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from app.domain.principals import BotKind
from app.domain.search_apps import ArgumentMissing
from app.services.asking_datasets import ask_on_page
from app.services.search_apps import search_app_of
from app.wire.envelope import success
from app.wire.search_apps import mindmap, raw_result, search_app_object
from routers.deps import SCOPE_CHAT, SCOPE_READ, Caller, Compat22, SearchBotRoute, TurnCallDep, Unit
from routers.event_stream import EventStream
from routers.responses import ENVELOPE, STREAMED
from routers.search_deps import Tools, stream_answer
from schemas.bodies import UrlText
from schemas.searches import RetrievalTestBody, SearchQuestion, SearchRelatedQuestion

router = APIRouter(
    prefix="/api/v1/searchbots", route_class=SearchBotRoute, tags=["embedded search"], responses=ENVELOPE
)


@router.post("/ask", openapi_extra=SCOPE_CHAT, response_class=EventStream, responses=STREAMED)
async def ask_of_search_bot(call: TurnCallDep, body: Annotated[SearchQuestion | None, Body()] = None) -> Response:
    """Answer from the datasets of a search app, as SSE; nothing is remembered of it."""
    body = body or SearchQuestion()
    return await stream_answer(call, ask_on_page(call.caller, body.sent()), body)


@router.post("/retrieval_test", openapi_extra=SCOPE_READ)
async def retrieval_test(
    caller: Caller, tools: Tools, is_compat22: Compat22, body: Annotated[RetrievalTestBody | None, Body()] = None
) -> dict[str, Any]:
    """Search datasets; chunks come under the names the index has for them."""
    tested = await tools.test(caller, body.sent() if body else {}, is_compat22=is_compat22)
    return success(raw_result(tested.result, metadata_fields=tested.metadata_fields))


@router.post("/related_questions", openapi_extra=SCOPE_CHAT)
async def related_questions_on_page(
    caller: Caller, tools: Tools, body: Annotated[SearchRelatedQuestion | None, Body()] = None
) -> dict[str, Any]:
    """Return up to ten questions that go on from this one, by the model of a search app."""
    return success(await tools.related(caller, body.sent() if body else {}))


@router.get("/detail")
async def search_bot_detail(
    caller: Caller, unit: Unit, search_id: Annotated[UrlText | None, Query(description="The search app.")] = None
) -> dict[str, Any]:
    """Return a search app."""
    if search_id is None:
        raise ArgumentMissing("search_id")
    caller.require_bot(BotKind.SEARCH, search_id)
    return success(search_app_object(await search_app_of(unit, search_id)))


@router.post("/mindmap", openapi_extra=SCOPE_CHAT)
async def draw_mindmap_on_page(
    caller: Caller, tools: Tools, body: Annotated[SearchQuestion | None, Body()] = None
) -> dict[str, Any]:
    """Draw a mind map of what the datasets of a search app hold about a question."""
    return success(mindmap(await tools.mindmap(caller, body.sent() if body else {})))
