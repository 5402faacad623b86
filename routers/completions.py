"""Questions to an assistant in a session: the native dialect (conversations.md 4)."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.domain.ids import ChatId
from routers.deps import SCOPE_CHAT, KeyedRoute, TurnCallDep
from routers.native_22 import answered_22, is_for_22
from routers.native_answers import answered, question_of
from routers.responses import ANSWERED, ENVELOPE
from schemas.completions import CompletionCreate

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["completions"], responses=ENVELOPE)


@router.post("/chats/{chat_id}/completions", openapi_extra=SCOPE_CHAT, response_model=None, responses=ANSWERED)
async def ask_in_session(
    chat_id: ChatId, call: TurnCallDep, sent: Annotated[CompletionCreate | None, Body()] = None
) -> Response:
    """Ask an assistant, in a session that goes on or begins; answers as SSE or as one JSON object."""
    body = sent or CompletionCreate()
    if body.is_streaming:
        await call.take_stream()
    question = question_of(body, keeps_prompt=call.edge.expose_prompt)
    if is_for_22(call, body):
        return await answered_22(call, chat_id, question, body)
    opened = await call.completions.in_session(call.caller, chat_id, question, call.recognition)
    return await answered(call, opened, body, session_id=body.session)
