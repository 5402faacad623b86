"""Questions whose body names the assistant, or none: then the default model answers (conversations.md 4.6)."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body, Response

from app.domain.errors import BadArgument
from app.domain.ids import ChatId
from routers.deps import SCOPE_CHAT, KeyedRoute, TurnCallDep
from routers.native_answers import answered, question_of
from routers.responses import ANSWERED, ENVELOPE
from schemas.completions import CompletionCreate

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["completions"], responses=ENVELOPE)


@router.post("/chat/completions", openapi_extra=SCOPE_CHAT, response_model=None, responses=ANSWERED)
async def ask(call: TurnCallDep, sent: Annotated[CompletionCreate | None, Body()] = None) -> Response:
    """Ask an assistant in a session that goes on or begins; without `chat_id`, the default model in none."""
    body = sent or CompletionCreate()
    if body.is_streaming:
        await call.take_stream()
    if not body.chat_id and body.session:
        raise BadArgument("`chat_id` is required when `session_id` is provided.", param="chat_id")
    if body.is_empty:
        raise BadArgument("required argument are missing: messages", param="messages")
    question = question_of(body, keeps_prompt=call.edge.expose_prompt)
    if not body.chat_id:
        turn_id = await call.completions.alone(
            call.caller, replace(question, history=body.said_before()), call.recognition
        )
        return await answered(call, turn_id, body, session_id="", more={"chat_id": ""})
    opened = await call.completions.in_session(call.caller, ChatId(body.chat_id), question, call.recognition)
    return await answered(call, opened, body, session_id=body.session, more={"chat_id": body.chat_id})
