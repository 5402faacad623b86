"""Turns: looked at, followed from any event, stopped (design.md 1.1, 1.2)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query

from app.domain.errors import Invalid
from app.domain.ids import TenantId, TurnId
from app.engine.follow import follow
from app.engine.turns import TurnEngine
from app.wire.envelope import success
from app.wire.native_stream import NativeStream
from app.wire.turns import turn_object
from routers.deps import SCOPE_CHAT, Caller, Edge, Engine, KeyedRoute, take_stream
from routers.event_stream import EventStream
from routers.responses import ENVELOPE, STREAMED
from routers.streaming import respond

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["turns"], responses=ENVELOPE)

STOP_PATIENCE_S = 5.0
"""How long a call that stops a turn waits for its end, which may be driven by another process."""

_MOST = 2**31 - 1

After = Annotated[int | None, Query(ge=0, le=_MOST, description="Number of the last event that was seen.")]
LastEventId = Annotated[str | None, Header(description="The same, as browsers send it when they reconnect.")]


@router.get("/turns/{turn_id}")
async def get_turn(turn_id: TurnId, caller: Caller, engine: Engine) -> dict[str, Any]:
    """Return a turn: its state, timings, usage, and how it failed if it did."""
    return success(turn_object(await engine.get(caller.tenant_id, turn_id)))


@router.get(
    "/turns/{turn_id}/events",
    response_class=EventStream,
    responses=STREAMED,
    dependencies=[Depends(take_stream)],
)
async def follow_turn(
    turn_id: TurnId,
    caller: Caller,
    engine: Engine,
    edge: Edge,
    after: After = None,
    last_event_id: LastEventId = None,
) -> EventStream:
    """Follow a turn as SSE from after event `after`: live while it runs, replayed when it has ended.

    Events are those of the native stream, each with its number as `id:`.
    """
    seen = after if after is not None else event_number(last_event_id)
    await engine.get(caller.tenant_id, turn_id)
    return respond(rest_of_turn(engine, caller.tenant_id, turn_id, seen), edge, turn_id)


async def rest_of_turn(
    engine: TurnEngine, tenant_id: TenantId, turn_id: TurnId, seen: int
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes after event `seen`, the same as a follower from the start got there."""
    writer = NativeStream(turn_id, has_ids=True)
    async with aclosing(follow(engine, tenant_id, turn_id, seen=seen)) as events:
        async for batch in events:
            writer.write([numbered for numbered in batch if numbered[0] <= seen])
            written = writer.write([numbered for numbered in batch if numbered[0] > seen])
            if written:
                yield written


@router.post("/turns/{turn_id}/stop", openapi_extra=SCOPE_CHAT)
async def stop_turn(turn_id: TurnId, caller: Caller, engine: Engine) -> dict[str, Any]:
    """Stop a running turn, on whatever process it runs, and return it; what it has said is kept."""
    await engine.stop(caller.tenant_id, turn_id)
    return success(turn_object(await engine.ended(caller.tenant_id, turn_id, timeout_s=STOP_PATIENCE_S)))


def event_number(last_event_id: str | None) -> int:
    """Return the number of the last event that a browser has seen.

    Raises:
        Invalid: it is none.
    """
    if not last_event_id:
        return 0
    digits = last_event_id.lstrip("0") or "0"
    if not last_event_id.isdecimal() or len(digits) > 10 or int(digits) > _MOST:
        raise Invalid("Last-Event-ID must be the number of an event.", param="Last-Event-ID")
    return int(digits)
