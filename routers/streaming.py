"""How a turn reaches a socket: as a stream that is followed, or as one answer awaited."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import anyio
from fastapi import Request
from sse_starlette import ServerSentEvent
from sse_starlette.sse import AppStatus

from app.domain.errors import (
    Broken,
    Kind,
    ParleyError,
    Unavailable,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from app.domain.events import Done, Failed, Numbered, ReasoningPiece, RetrievalDone, Stopped, TurnEvent, TurnStarted
from app.domain.ids import TenantId, TurnId
from app.domain.models import Usage
from app.engine.follow import follow
from app.engine.turns import TurnEngine
from routers.deps import EdgeConfig, TurnCall
from routers.event_stream import EventStream

AppStatus.enable_automatic_graceful_drain = False  # a shutdown ends turns, and with them their streams, in its own time

FIRST_PIECE_BUDGET_S = 10.0
"""How long the status line waits for a first piece, in seconds (openai.md 1.9)."""

_NEVER_S = 10**8
_SEND_TIMEOUT_S = 60.0  # a reader this slow is gone
SSE_HEADERS = {"Cache-Control": "no-cache, no-transform", "Connection": "keep-alive", "X-Accel-Buffering": "no"}

_ERRORS: dict[str, type[ParleyError]] = {
    Kind.UPSTREAM: UpstreamFailed,
    Kind.UPSTREAM_REFUSED: UpstreamRefused,
    Kind.UPSTREAM_LIMITED: UpstreamLimited,
    Kind.UPSTREAM_TIMEOUT: UpstreamTimeout,
}


class Writer(Protocol):
    """A dialect: events in, bytes out."""

    def write(self, events: list[Numbered]) -> bytes:
        """Return the bytes of `events`."""
        ...


@dataclass(slots=True)
class Answer:
    """A whole turn, gathered."""

    started: TurnStarted | None = None
    found: RetrievalDone | None = None
    reasoning: str = ""
    ending: Done | Stopped | Failed | None = None
    events: list[TurnEvent] = field(default_factory=list[TurnEvent])


async def stream_turn(call: TurnCall, turn_id: TurnId, writer: Writer) -> EventStream:
    """Answer with the turn as it goes; a failure before its first piece is raised, and so becomes a status."""
    failed = await call.engine.begun(call.caller.tenant_id, turn_id, FIRST_PIECE_BUDGET_S)
    if failed is not None:
        raise error_of(failed) if isinstance(failed, Failed) else failed
    return respond(_bytes(call, turn_id, writer), call.edge, turn_id)


async def _bytes(call: TurnCall, turn_id: TurnId, writer: Writer) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(follow(call.engine, call.caller.tenant_id, turn_id)) as events:
            async for batch in events:
                written = writer.write(list(batch))
                if written:
                    yield written
    except ParleyError as error:  # the turn went away under us, with its session
        yield writer.write([(0, told(error))])
        return
    call.engine.delivered(call.recognition, call.caller.tenant_id, turn_id)


def told(error: ParleyError) -> Failed:
    """Return the event that tells of an error after the first byte."""
    return Failed(
        content="",
        cited=(),
        usage=Usage(),
        ended_s=time.time(),
        kind=error.kind.value,
        message=error.message,
        code=error.code,
        param=error.param,
    )


def respond(content: AsyncGenerator[bytes, None], edge: EdgeConfig, turn_id: TurnId | None) -> EventStream:
    """Return an SSE response over ready-made bytes, with a comment line after every `ping_s` of time."""
    headers = SSE_HEADERS | ({"X-Turn-Id": turn_id} if turn_id is not None else {})
    return EventStream(
        content,
        headers=headers,
        ping=edge.ping_s or _NEVER_S,
        ping_message_factory=lambda: ServerSentEvent(comment="ping", sep="\n"),
        send_timeout=_SEND_TIMEOUT_S,
    )


async def await_turn(call: TurnCall, turn_id: TurnId) -> Answer:
    """Return the whole turn when it has ended; stop waiting when the caller goes away.

    Raises:
        ParleyError: it failed.
    """
    answer: Answer | None = None
    failure: ParleyError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_gone, call.request, tasks.cancel_scope)
        try:
            answer = await _gathered(call.engine, call.caller.tenant_id, turn_id)
        except ParleyError as error:
            failure = error  # raised below: a task group would wrap it
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if answer is None:
        raise Unavailable("The caller went away.")
    return answer


async def _cancel_when_gone(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _gathered(engine: TurnEngine, tenant_id: TenantId, turn_id: TurnId) -> Answer:
    answer = Answer()
    reasoning: list[str] = []
    running = engine.local(tenant_id, turn_id)
    async with aclosing(follow(engine, tenant_id, turn_id)) as events:
        async for batch in events:
            for _, event in batch:
                answer.events.append(event)
                match event:
                    case TurnStarted():
                        answer.started = event
                    case RetrievalDone():
                        answer.found = event
                    case ReasoningPiece():
                        reasoning.append(event.text)
                    case Failed():
                        raise (running and running.failure) or error_of(event)
                    case Done() | Stopped():
                        answer.ending = event
                    case _:
                        pass
    answer.reasoning = "".join(reasoning)
    return answer


def error_of(failed: Failed) -> ParleyError:
    """Return the error a failed turn ended with, for the one table that knows how to tell it."""
    return _ERRORS.get(failed.kind, Broken)(failed.message, code=failed.code, param=failed.param)
