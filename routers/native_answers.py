"""Answers of the native dialect: a turn as SSE or as one JSON object, an opener as either (conversations.md 4)."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastapi import Response

from app.domain.events import Done, Stopped
from app.domain.ids import TurnId
from app.engine.debugging import debug_text
from app.services.completions import Opened, Overrides, Question
from app.wire.native_stream import NativeStream, answer_body, opener_body, opener_events
from routers.deps import OrjsonResponse, TurnCall
from routers.streaming import SSE_HEADERS, await_turn, stream_turn
from schemas.completions import CompletionCreate


class Wanted(Protocol):
    """The form of an answer that a body asks for."""

    @property
    def is_streaming(self) -> bool:
        """SSE unless refused."""
        ...

    @property
    def is_cumulative(self) -> bool:
        """Whether each event holds the whole text so far."""
        ...


def question_of(body: CompletionCreate, *, keeps_prompt: bool) -> Question:
    """Return what a body asks.

    Raises:
        Invalid: a field is of a wrong shape.
    """
    return Question(
        text=body.text(),
        session_id=body.session,
        session_name=body.session_name(),
        user_id=body.user_id or "",
        is_quoting=body.quote is not False,
        document_ids=body.documents(),
        dataset_ids=tuple(one for one in body.kb_ids or () if one),
        metadata_condition=body.condition(),
        variables=body.variables(),
        on_disconnect=body.on_disconnect,
        overrides=Overrides(model=body.llm_id or None, options=body.options()),
        reasoning=body.research(),
        has_web=body.internet is not False,
        history=body.history(),
        is_stored=body.is_stored,
        extras=body.extras(),
        keeps_prompt=keeps_prompt,
    )


async def answered(
    call: TurnCall,
    opened: TurnId | Opened,
    body: Wanted,
    *,
    session_id: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Answer with a turn, or with the opener of a session that was opened without a question.

    `more` stands in every event; `session_id` is told where the turn is of no session.
    """
    if isinstance(opened, Opened):
        return _opener(opened, body, more or {})
    prompt = prompt_of(call, opened)
    if body.is_streaming:
        writer = NativeStream(opened, session_id=session_id, is_cumulative=body.is_cumulative, more=more, prompt=prompt)
        return await stream_turn(call, opened, writer)
    answer = await await_turn(call, opened)
    assert isinstance(answer.ending, Done | Stopped)  # noqa: S101 (a failure was raised, a turn always ends)
    own = answer.started.session_id if answer.started is not None else None
    told_id = own if own is not None else session_id
    content = answer_body(opened, told_id, answer.found, answer.reasoning, answer.ending, prompt=prompt(), more=more)
    call.engine.delivered(call.recognition, call.caller.tenant_id, opened)
    return OrjsonResponse(content, headers={"X-Turn-Id": opened})


def prompt_of(call: TurnCall, turn_id: TurnId) -> Callable[[], str]:
    """Return what tells the debug text of a turn, once it has ended; nothing unless the setting shows it."""
    running = call.engine.local(call.caller.tenant_id, turn_id) if call.edge.expose_prompt else None
    return (lambda: debug_text(running.draft)) if running is not None else str


def _opener(opened: Opened, body: Wanted, more: Mapping[str, Any]) -> Response:
    if not body.is_streaming:
        return OrjsonResponse(opener_body(opened.session_id, opened.opener, more=more))
    events = opener_events(opened.session_id, opened.opener, more=more)
    return Response(events, media_type="text/event-stream", headers=SSE_HEADERS)
