"""The gate every call of a key passes: calls per window, and streams open at once, over all processes.

Whoever waits while a round trip is under way goes with the next one, all of them in one statement: a thousand calls
at once cost a handful of statements, and one alone costs one.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import structlog

from app.domain.errors import Limited, Unavailable
from app.domain.ids import ProcessId
from app.domain.limits import TOO_MANY_STREAMS, KeyOfTenant, LimitsConfig, Standing, Taken
from repositories.failures import DRIVER_FAILURES
from repositories.limits import LimitCounters, RequestCounter

log = structlog.get_logger()

_AWAY = "The database cannot be reached; please try again."
_AGAIN_S = 0.5  # before streams that could not be told are told again
_CLOSED_KEYS = 10_000


@dataclass(slots=True, eq=False)
class _Batch:
    """Calls that go to the counter together."""

    wanted: dict[KeyOfTenant, int] = field(default_factory=dict[KeyOfTenant, int])
    taken: dict[KeyOfTenant, Taken] = field(default_factory=dict[KeyOfTenant, Taken])
    done: anyio.Event = field(default_factory=anyio.Event)
    has_failed: bool = False

    def add(self, key: KeyOfTenant) -> int:
        """Add a call; return how many of its key were in the batch before."""
        before = self.wanted.get(key, 0)
        self.wanted[key] = before + 1
        return before


@dataclass(frozen=True, slots=True)
class _Closed:
    """A key whose window is used up: nobody need be asked before `until_s` of our clock."""

    number: int
    ends_at: float
    until_s: float


class RequestGate:
    """Counts calls of keys in fixed windows."""

    def __init__(
        self, counter: RequestCounter, config: LimitsConfig, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._counter = counter
        self._config = config.rate
        self._monotonic = monotonic
        self._batch = _Batch()
        self._wake = anyio.Event()
        self._closed: dict[KeyOfTenant, _Closed] = {}
        self.round_trips = 0

    async def enter(self, key: KeyOfTenant) -> Standing | None:
        """Count one call and return how the key stands; None when nothing is limited.

        Raises:
            Unavailable: the counter cannot be reached.
        """
        if self._config.limit == 0:
            return None
        closed = self._closed.get(key)
        if closed is not None:
            left_s = closed.until_s - self._monotonic()
            if left_s > 0:
                return Standing(config=self._config, number=closed.number, ends_at=closed.ends_at, left_s=left_s)
            del self._closed[key]
        batch = self._batch
        before = batch.add(key)
        self._wake.set()
        await batch.done.wait()
        if batch.has_failed:
            raise Unavailable(_AWAY, retry_after_s=2)
        taken = batch.taken[key]
        number = taken.used - batch.wanted[key] + before + 1
        return Standing(config=self._config, number=number, ends_at=taken.ends_at, left_s=taken.left_s)

    async def run(self) -> None:
        """Take what waits to the counter, again and again, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                batch, self._batch = self._batch, _Batch()
                await self._take(batch)
        finally:
            self._batch.has_failed = True
            self._batch.done.set()

    async def _take(self, batch: _Batch) -> None:
        asked_s = self._monotonic()
        batch.has_failed = True
        try:
            self.round_trips += 1
            batch.taken = await self._counter.take(batch.wanted, self._config.window_s)
            batch.has_failed = False
        except DRIVER_FAILURES as error:
            log.warning("limits_not_counted", error=str(error)[:300])
        finally:
            batch.done.set()
        for key, taken in batch.taken.items():
            if taken.used >= self._config.budget:
                self._close(key, taken, asked_s)

    def _close(self, key: KeyOfTenant, taken: Taken, asked_s: float) -> None:
        if len(self._closed) >= _CLOSED_KEYS:
            self._closed.clear()
        number = max(taken.used, self._config.budget) + 1
        self._closed[key] = _Closed(number, taken.ends_at, asked_s + taken.left_s)


class StreamSlot:
    """A place for one open stream of a key, asked for or held.

    `release` may be called any number of times, from anywhere; it waits for nothing.
    """

    def __init__(self, gate: "StreamGate", key: KeyOfTenant) -> None:
        self._gate = gate
        self.key = key
        self.is_held = False
        self.is_released = False

    def release(self) -> None:
        """Tell that the stream has ended, or is not wanted any more."""
        if not self.is_released:
            self.is_released = True
            if self.is_held:
                self._gate.ended(self.key)


@dataclass(slots=True, eq=False)
class _Openings:
    """Places that are asked for together, in the order they were asked for."""

    slots: list[StreamSlot] = field(default_factory=list[StreamSlot])
    done: anyio.Event = field(default_factory=anyio.Event)
    has_failed: bool = False


class StreamGate:
    """Knows the open streams of this process by key, and keeps those of all processes within a number."""

    def __init__(self, counters: LimitCounters, config: LimitsConfig, process_id: ProcessId) -> None:
        self._counters = counters
        self._most = config.max_streams
        self._process_id = process_id
        self._held: Counter[KeyOfTenant] = Counter()
        self._changed: set[KeyOfTenant] = set()  # what others know of these keys is not so any more
        self._openings = _Openings()
        self._wake = anyio.Event()
        self._connects = 0

    async def open(self, key: KeyOfTenant) -> StreamSlot | None:
        """Take a place for one more stream of the key; None when their number is not limited.

        Raises:
            Limited: the key has as many open as it may.
            Unavailable: the counter cannot be reached.
        """
        if self._most == 0:
            return None
        if self._held[key] >= self._most:
            raise Limited(TOO_MANY_STREAMS, retry_after_s=1)
        openings, slot = self._openings, StreamSlot(self, key)
        openings.slots.append(slot)
        self._wake.set()
        try:
            await openings.done.wait()
        except BaseException:
            slot.release()
            raise
        if openings.has_failed:
            raise Unavailable(_AWAY, retry_after_s=2)
        if not slot.is_held:
            raise Limited(TOO_MANY_STREAMS, retry_after_s=1)
        return slot

    def ended(self, key: KeyOfTenant) -> None:
        """Count a stream out."""
        self._held[key] -= 1
        self._changed.add(key)
        self._wake.set()

    async def run(self) -> None:
        """Ask for places and tell of those that came free, again and again, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake = anyio.Event()
                openings, self._openings = self._openings, _Openings()
                await self._round(openings)
                if openings.has_failed:
                    await anyio.sleep(_AGAIN_S)
        finally:
            self._openings.has_failed = True
            self._openings.done.set()

    async def _round(self, openings: _Openings) -> None:
        changed, self._changed = self._changed, set()
        wanted = Counter(slot.key for slot in openings.slots if not slot.is_released)
        openings.has_failed = True
        try:
            held = {key: self._held[key] for key in changed | {slot.key for slot in openings.slots}}
            granted = await self._counters.hold(self._process_id, held, wanted, self._most)
            openings.has_failed = False
            self._grant(openings, granted)
        except DRIVER_FAILURES as error:
            log.warning("streams_not_counted", error=str(error)[:300])
            self._changed |= changed | set(wanted)
            self._wake.set()
        finally:
            openings.done.set()

    def _grant(self, openings: _Openings, granted: dict[KeyOfTenant, int]) -> None:
        if self._connects != self._counters.connects:  # the database was away, and may have forgotten
            self._connects = self._counters.connects
            self._changed.update(self._held)
            self._wake.set()
        for slot in openings.slots:
            if granted[slot.key] > 0 and not slot.is_released:
                granted[slot.key] -= 1
                slot.is_held = True
                self._held[slot.key] += 1
        for key, left in granted.items():
            if left > 0:  # whoever asked went away meanwhile
                self._changed.add(key)
                self._wake.set()
        for key in [key for key, count in self._held.items() if count == 0]:
            del self._held[key]


class Limits:
    """Both gates, and what runs them."""

    def __init__(
        self,
        counters: LimitCounters,
        config: LimitsConfig,
        process_id: ProcessId,
        requests: RequestCounter | None = None,
    ) -> None:
        self._counters = counters
        self._requests = requests or counters
        self.requests = RequestGate(self._requests, config)
        self.streams = StreamGate(counters, config, process_id)

    async def run(self) -> None:
        """Serve whoever waits at the gates, until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.requests.run)
                tasks.start_soon(self.streams.run)
        finally:
            with anyio.CancelScope(shield=True):
                await self._requests.close()
                await self._counters.close()
