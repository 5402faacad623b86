"""Questions to an assistant in a session: the native dialect (conversations.md 4)."""

from fastapi import APIRouter, Response

from app.domain.events import Done, Stopped
from app.domain.ids import ChatId, TurnId
from app.services.completions import Opened, Overrides, Question
from app.wire.native_stream import NativeStream, answer_body, opener_body, opener_events
from routers.deps import SCOPE_CHAT, KeyedRoute, OrjsonResponse, TurnCall, TurnCallDep
from routers.responses import ERRORS
from routers.streaming import SSE_HEADERS, await_turn, stream_turn
from schemas.completions import CompletionCreate

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["completions"], responses=ERRORS)


@router.post("/chats/{chat_id}/completions", openapi_extra=SCOPE_CHAT, response_model=None)
async def ask_in_session(chat_id: ChatId, body: CompletionCreate, call: TurnCallDep) -> Response:
    """Ask an assistant, in a session that goes on or begins; answers as SSE or as one JSON object."""
    turn_id = await call.completions.in_session(call.caller, chat_id, _question(body), call.recognition)
    if isinstance(turn_id, Opened):
        return _opener(turn_id, body)
    if body.is_streaming:
        return await stream_turn(call, turn_id, NativeStream(turn_id, is_cumulative=body.is_cumulative))
    return await _whole(call, turn_id)


def _question(body: CompletionCreate) -> Question:
    return Question(
        text=body.text(),
        session_id=body.session_id,
        session_name=body.session_name(),
        user_id=body.user_id or "",
        is_quoting=body.quote is not False,
        document_ids=body.documents(),
        dataset_ids=tuple(one for one in body.kb_ids or () if one),
        metadata_condition=body.metadata_condition,
        variables=body.variables(),
        on_disconnect=body.on_disconnect,
        overrides=Overrides(model=body.llm_id or None, options=body.options()),
    )


def _opener(opened: Opened, body: CompletionCreate) -> Response:
    if not body.is_streaming:
        return OrjsonResponse(opener_body(opened.session_id, opened.opener))
    events = opener_events(opened.session_id, opened.opener)
    return Response(events, media_type="text/event-stream", headers=SSE_HEADERS)


async def _whole(call: TurnCall, turn_id: TurnId) -> Response:
    answer = await await_turn(call, turn_id)
    assert isinstance(answer.ending, Done | Stopped)  # noqa: S101 (a failure was raised, a turn always ends)
    session_id = answer.started.session_id if answer.started is not None else None
    content = answer_body(turn_id, session_id, answer.found, answer.reasoning, answer.ending)
    call.engine.delivered(call.recognition, call.caller.tenant_id, turn_id)
    return OrjsonResponse(content, headers={"X-Turn-Id": turn_id})
