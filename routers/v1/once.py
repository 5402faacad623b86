"""Raw calls that came with an `Idempotency-Key` (openai.md 1.2); the others do not come this way."""

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import Response

from app.domain.errors import Unavailable
from app.services.raw_once import OnceCall, RawOnce
from routers.deps import TurnCall
from routers.v1.relaying import Give, RelayedStream, gathered

Run = Callable[[Give], Awaitable[None]]


def streamed_once(call: TurnCall, run: Run, tail: Callable[[], bytes]) -> Response:
    """Answer with an event stream; a repeat gets the events of the first call."""
    once = _once(call)
    return RelayedStream(partial(once.run, run, tail), bytes, ping_s=call.edge.ping_s, once=once)


async def whole_once(call: TurnCall, run: Run, end: Callable[[], bytes] = bytes) -> Response:
    """Answer with the JSON that `run` gives and `end` adds; a repeat gets that of the first call.

    Raises:
        KeyReused: the key came with another request before.
        Conflict: the first call's answer was too large to be kept.
        Unavailable: the caller went away, so nobody reads it.
    """
    once = _once(call)
    parts = await gathered(partial(once.run, run, end), call.request.receive)
    if parts is None:
        raise Unavailable("The caller went away.")
    headers = {"Idempotent-Replayed": "true"} if once.is_replay else None
    return Response(b"".join(parts), media_type="application/json", headers=headers)


def _once(call: TurnCall) -> OnceCall:
    kept: RawOnce = call.request.app.state.raw_once
    return kept.call(call.caller, call.recognition)
