"""Answers of an assistant to callers who speak RAGFlow 0.22 (conversations.md 4.2 to 4.5)."""

from dataclasses import replace

from fastapi import Response

from app.domain.chats import ParameterMissing
from app.domain.errors import Broken, UpstreamFailed
from app.domain.ids import ChatId, SessionId
from app.services.completions import Opened, Question
from app.wire.native_stream_22 import NativeStream22, failed_body_22, failed_events_22, opener_events_22
from routers.deps import OrjsonResponse, TurnCall, speaks_22
from routers.native_answers import answered, prompt_of
from routers.streaming import SSE_HEADERS, stream_turn
from schemas.completions import AnswerForm, CompletionCreate


def is_for_22(call: TurnCall, body: AnswerForm) -> bool:
    """Say whether the caller speaks RAGFlow 0.22 and did not ask for pieces by name (4.5, `stream_mode`)."""
    return speaks_22(call.request) and body.stream_mode != "incremental"


async def answered_22(call: TurnCall, chat_id: ChatId, question: Question, body: CompletionCreate) -> Response:
    """Open a turn and answer with it.

    A stream without a session answers no question: it opens a session, whose id callers take from there to ask again
    (4.3). A whole answer is of the question all the same: 0.22 would ask its model an empty one.

    Raises:
        ParleyError: chat or session are not the caller's, or a value is wrong.
    """
    if not body.is_streaming:
        return await _whole(call, chat_id, question, body)
    asked = question if question.session_id else replace(question, text=None)
    try:
        opened = await call.completions.in_session(call.caller, chat_id, asked, call.recognition)
        if isinstance(opened, Opened):
            return _events(opener_events_22(opened.session_id, opened.opener))
        return await stream_turn(call, opened, NativeStream22(opened, prompt=prompt_of(call, opened)))
    except ParameterMissing as error:
        return _events(failed_events_22(repr(error.message)))
    except (UpstreamFailed, Broken) as error:
        return _events(failed_events_22(error.message))


async def _whole(call: TurnCall, chat_id: ChatId, question: Question, body: CompletionCreate) -> Response:
    """Answer with one JSON object; that of a model that failed tells so, as an answer."""
    opened = await call.completions.in_session(call.caller, chat_id, question, call.recognition)
    try:
        return await answered(call, opened, body, session_id=body.session)
    except UpstreamFailed as error:
        turn_id = None if isinstance(opened, Opened) else opened
        return OrjsonResponse(failed_body_22(error.message, turn_id, SessionId(body.session) if body.session else None))


def _events(content: bytes) -> Response:
    return Response(content, media_type="text/event-stream", headers=SSE_HEADERS)
