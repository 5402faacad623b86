"""One assistant as an OpenAI endpoint, to callers who speak RAGFlow 0.22 (conversations.md 5.1)."""

import time
from dataclasses import replace

from fastapi import Response

from app.domain.errors import Broken, UpstreamFailed
from app.domain.events import Done, Stopped, TurnStarted
from app.domain.ids import TurnId
from app.wire.openai_chat_22 import OpenAIChatStream22, spoken, thinking_inline
from routers.deps import TurnCall
from routers.streaming import SSE_HEADERS, Answer, Writer, await_turn, stream_turn, told


async def stream_22(call: TurnCall, turn_id: TurnId, writer: Writer) -> Response:
    """Answer with the turn as it goes; a model that fails says so in the answer, at whatever moment."""
    shaped = OpenAIChatStream22(writer)
    try:
        return await stream_turn(call, turn_id, shaped)
    except (UpstreamFailed, Broken) as error:
        content = shaped.write([(1, _started(turn_id)), (2, told(error))])
        return Response(content, media_type="text/event-stream", headers=SSE_HEADERS)


async def await_22(call: TurnCall, turn_id: TurnId) -> Answer:
    """Return the whole turn, its thinking in the answer; that of a model that failed has an answer that says so."""
    try:
        answer = await await_turn(call, turn_id)
    except UpstreamFailed as error:
        return Answer(started=_started(turn_id), ending=spoken(told(error)))
    if isinstance(answer.ending, Done | Stopped) and answer.reasoning:
        content = thinking_inline(answer.ending.content, answer.reasoning)
        answer.ending, answer.reasoning = replace(answer.ending, content=content), ""
    return answer


def _started(turn_id: TurnId) -> TurnStarted:
    return TurnStarted(turn_id=turn_id, session_id=None, chat_id=None, model="", created_s=time.time())
