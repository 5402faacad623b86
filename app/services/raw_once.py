"""Raw calls with an `Idempotency-Key`: the first is carried out, a repeat is given what it was given (openai.md 1.2).

A raw call has no turn to attach to, and no transaction may stay open while a model is asked. So the first call claims
its key in a transaction of its own, and its answer's bytes are stored when it has ended, before its caller has the last
of them. Whoever repeats it meanwhile waits. A call that fails, or whose caller goes away, gives its key back: nothing
was answered, and the next one with the key is the first.
"""

import time
import zlib
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.to_thread
import structlog

from app.domain.errors import Conflict
from app.domain.ids import ProcessId, new_id
from app.domain.principals import Caller
from app.engine.ask import Recognition
from repositories.failures import DATABASE_FAILURES
from repositories.idempotency import Attempt, KeptAnswer
from repositories.unit_of_work import Database

log = structlog.get_logger()

MOST_BYTES = 4 * 1024 * 1024
"""The largest answer that is kept, in bytes as its caller gets them."""

_WRITTEN_S = 5.0
_SLACK_S = 60.0  # beyond the longest call: then whoever has the key answers no more
_FIRST_LOOK_S, _LOOK_S = 0.05, 0.5  # between looks at a call that is under way
_INLINE_BYTES = 64 * 1024  # as much is packed without a thread

Send = Callable[[bytes], Awaitable[None]]
Produce = Callable[[Send], Awaitable[None]]
"""Carries a call out and gives its answer's bytes as they come."""


class RawOnce:
    """Keeps the answers of one process's calls; none takes longer than `most_s`."""

    def __init__(
        self, database: Database, process_id: ProcessId, *, most_s: float, most_bytes: int = MOST_BYTES
    ) -> None:
        self.database = database
        self.process_id = process_id
        self.most_s = most_s
        self.most_bytes = most_bytes

    def call(self, caller: Caller, recognition: Recognition) -> "OnceCall":
        """Return the call of a request that came with a key."""
        attempt = Attempt(
            api_key_id=caller.key_id,
            key=recognition.idempotency_key or "",
            route=recognition.route,
            body_hash=recognition.body_hash,
            owner=self.process_id,
            id=new_id(),
        )
        return OnceCall(self, caller, attempt)


class OnceCall:
    """One request. `run` once; `is_replay` says, from its first bytes on, that they are an earlier call's."""

    def __init__(self, once: RawOnce, caller: Caller, attempt: Attempt) -> None:
        self._once = once
        self._unit = partial(once.database.unit, caller.tenant_id)
        self._attempt = attempt
        self.is_replay = False

    async def run(self, produce: Produce, end: Callable[[], bytes], send: Send) -> None:
        """Give what `produce` gives and then `end`'s bytes to `send`, or what the first call with the key was given.

        Raises:
            KeyReused: the key came with another request before.
            Conflict: the first call's answer was too large to be kept, or is still not there.
            ParleyError: whatever `produce` raises; the key is free again then.
        """
        kept = await self._first_answer()
        if kept is not None:
            answer = await _unpacked(kept, self._once.most_bytes)
            self.is_replay = True
            await send(answer)
            return
        held = _Held(self._once.most_bytes)
        is_answered = False

        async def both(data: bytes) -> None:
            held.add(data)
            await send(data)

        try:
            await produce(both)
            last = end()
            held.add(last)
            is_answered = True
        finally:
            with anyio.move_on_after(_WRITTEN_S, shield=True):
                await self._note(held if is_answered else None)
        if last:
            await send(last)

    async def _first_answer(self) -> KeptAnswer | None:
        """Become the first call with the key: None; or wait for what the first one answers."""
        until_s, wait_s = time.monotonic() + self._once.most_s, _FIRST_LOOK_S
        while True:
            async with self._unit() as unit:
                kept = await unit.idempotency.begin(self._attempt, dead_s=self._once.most_s + _SLACK_S)
            if kept is None or kept.status is not None:
                return kept
            if time.monotonic() > until_s:
                raise Conflict("The call that came first with this Idempotency-Key is still going on.", retry_after_s=2)
            await anyio.sleep(wait_s)
            wait_s = min(_LOOK_S, 2 * wait_s)

    async def _note(self, held: "_Held | None") -> None:
        """Store the answer, or give the key back; an answer is not withheld because that failed."""
        try:
            body = await held.packed() if held is not None else None
            async with self._unit() as unit:
                if held is None:
                    await unit.idempotency.drop(self._attempt)
                else:
                    await unit.idempotency.finish(self._attempt, status=200, body=body)
        except DATABASE_FAILURES as error:
            log.warning("repeat_not_kept", error=str(error)[:300])


class _Held:
    """The bytes of an answer, as long as they are few enough."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._most:
            self._parts.clear()
        else:
            self._parts.append(data)

    async def packed(self) -> bytes | None:
        """Return the bytes as they are stored; None when they were too many."""
        if self._size > self._most:
            return None
        pack = partial(zlib.compress, b"".join(self._parts), 1)
        return await anyio.to_thread.run_sync(pack) if self._size > _INLINE_BYTES else pack()


async def _unpacked(kept: KeptAnswer, most: int) -> bytes:
    if kept.body is None:
        message = (
            f"The call with this Idempotency-Key was answered, and its answer is over the {most} bytes that are kept."
        )
        raise Conflict(f"{message} With another key it runs again.", is_final=True)
    unpack = partial(zlib.decompress, kept.body)
    return await anyio.to_thread.run_sync(unpack) if len(kept.body) > _INLINE_BYTES else unpack()
