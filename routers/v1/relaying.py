"""How a raw call reaches a socket: its status after the first token, its bytes as they come (openai.md 1.8 to 1.10)."""

import time
from collections.abc import Awaitable, Callable

import anyio
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.errors import ParleyError
from app.services.raw_once import OnceCall
from app.wire.dialects import Dialect
from app.wire.errors import openai_error
from routers.errors import answer

FIRST_TOKEN_BUDGET_S = 10.0
"""How long the status line waits for a first token, in seconds, from the arrival of the request (openai.md 1.9)."""

_SLOW_READER_S = 60.0  # a reader that takes nothing for this long is gone
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_PING = b": ping\n\n"
_REPLAYED = (b"idempotent-replayed", b"true")

Give = Callable[[bytes], Awaitable[None]]


class RelayedStream(Response):
    """An event stream of ready-made bytes, which `run` gives as they come; `tail` is asked for when all went well.

    A failure before the first bytes is an ordinary answer, unless the budget is spent; one after it is the last event.
    When the caller goes away, `run` is cancelled.
    """

    def __init__(
        self,
        run: Callable[[Give], Awaitable[None]],
        tail: Callable[[], bytes],
        *,
        ping_s: float,
        budget_s: float = FIRST_TOKEN_BUDGET_S,
        once: OnceCall | None = None,
    ) -> None:
        super().__init__()
        self._once = once
        self._run = run
        self._tail = tail
        self._ping_s = ping_s or float("inf")
        self._budget_s = budget_s
        self._has_begun = False
        self._sent_s = 0.0  # when bytes last went out, or the send of some began
        self._is_sending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        refusal: ParleyError | None = None
        self._sent_s = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
            tasks.start_soon(self._mind, send, tasks.cancel_scope)
            try:
                await self._relay(send)
            except ParleyError as error:
                if self._has_begun:
                    await self._put(send, b"data: " + orjson.dumps(openai_error(error)) + b"\n\n")
                else:
                    refusal = error
            if self._has_begun:
                await send({"type": "http.response.body", "body": b""})
            tasks.cancel_scope.cancel()
        if refusal is not None:
            await answer(refusal, Dialect.OPENAI)(scope, receive, send)

    async def _relay(self, send: Send) -> None:
        async def give(data: bytes) -> None:
            await self._put(send, data)

        await self._run(give)
        if tail := self._tail():
            await self._put(send, tail)

    async def _put(self, send: Send, data: bytes) -> None:
        self._sent_s = time.monotonic()
        self._is_sending = True
        if not self._has_begun:
            self._has_begun = True
            is_replay = self._once is not None and self._once.is_replay
            headers = [*_HEADERS, _REPLAYED] if is_replay else _HEADERS
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data, "more_body": True})
        self._is_sending = False

    async def _mind(self, send: Send, scope: anyio.CancelScope) -> None:
        """Begin the answer when the budget is spent, say `ping` in silence, and give up a reader who takes nothing."""
        begun_s = self._sent_s
        await anyio.sleep(min(self._budget_s, self._ping_s))
        while True:
            now = time.monotonic()
            if self._is_sending:
                if now - self._sent_s > _SLOW_READER_S:
                    scope.cancel()
                wait_s = 1.0
            elif not self._has_begun and now - begun_s < self._budget_s:
                wait_s = min(begun_s + self._budget_s - now, self._ping_s)
            elif not self._has_begun or now - self._sent_s >= self._ping_s:
                await self._put(send, _PING)
                wait_s = self._ping_s
            else:
                wait_s = self._sent_s + self._ping_s - now
            await anyio.sleep(min(max(wait_s, 0.01), _SLOW_READER_S))


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def gathered(run: Callable[[Give], Awaitable[None]], receive: Receive) -> list[bytes] | None:
    """Return all that `run` gives; None when the caller went away meanwhile, and `run` was cancelled.

    Raises:
        ParleyError: it failed.
    """
    parts: list[bytes] = []
    failure: ParleyError | None = None
    is_whole = False

    async def give(data: bytes) -> None:
        parts.append(data)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
        try:
            await run(give)
            is_whole = True
        except ParleyError as error:
            failure = error  # raised below: a task group would wrap it
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return parts if is_whole else None
