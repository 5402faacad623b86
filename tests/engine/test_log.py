"""The log writer under failure: nothing lost, doubled or out of order (design.md 1.2)."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.events import Numbered, TextPiece
from app.domain.ids import TenantId, TurnId
from app.engine.codec import decode
from app.engine.log import LogWriter, TurnLog
from repositories.turn_events import LogEntry
from repositories.unit_of_work import Database

TENANTS = [TenantId("a"), TenantId("b")]


class Store:
    """A database that fails when told, before or after a part of the batch, and never keeps a part."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Numbered]] = {}
        self.delivered: list[str] = []
        self.failures: list[int] = []  # how many statements go well before one fails

    @asynccontextmanager
    async def log_batch(self) -> AsyncGenerator["Batch", None]:
        batch = Batch(self, self.failures.pop(0) if self.failures else None)
        await anyio.lowlevel.checkpoint()
        yield batch
        batch.step()
        for turn_id, events in batch.events:
            self.kept.setdefault(turn_id, []).extend(events)
        self.delivered += batch.delivered_ids


class Batch:
    def __init__(self, store: Store, failing_at: int | None) -> None:
        self.events: list[tuple[str, list[Numbered]]] = []
        self.delivered_ids: list[str] = []
        self._left = failing_at

    def step(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise OSError("gone")
            self._left -= 1

    async def append(self, tenant_id: TenantId, entries: Sequence[LogEntry]) -> None:
        await anyio.lowlevel.checkpoint()
        self.step()
        for entry in entries:
            events = decode(entry.payload)
            assert (entry.first_number, entry.last_number) == (events[0][0], events[-1][0])
            self.events.append((entry.turn_id, events))

    async def delivered(self, tenant_id: TenantId, turn_ids: Sequence[TurnId]) -> None:
        await anyio.lowlevel.checkpoint()
        self.step()
        self.delivered_ids += turn_ids


step = st.one_of(
    st.tuples(st.just("note"), st.integers(0, 3), st.integers(1, 40)),
    st.tuples(st.just("deliver"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("fail"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("pause"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("take"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("write"), st.just(0), st.just(0)),
)


@settings(max_examples=120, deadline=None)
@given(steps=st.lists(step, max_size=40))
def test_no_interleaving_loses_doubles_or_reorders_an_event(steps: list[tuple[str, int, int]]) -> None:
    played = anyio.run(_play, steps)
    for one in played.logs:
        whole = played.store.kept.get(one.turn_id, []) + played.taken.get(one.turn_id, [])
        assert whole == one.events
        assert [number for number, _ in whole] == list(range(1, len(whole) + 1))
    assert sorted(played.store.delivered) == sorted(played.delivered)


@dataclass(frozen=True)
class Played:
    """What became of the steps: what was stored, and what was asked for."""

    store: Store
    logs: list[TurnLog]
    taken: dict[str, list[Numbered]]
    delivered: list[str]


async def _play(steps: list[tuple[str, int, int]]) -> Played:
    store = Store()
    writer = LogWriter(cast(Database, store), interval_s=0.0005, batch_bytes=600)
    logs = [TurnLog(TENANTS[n % 2], TurnId(f"t{n}"), fence=1) for n in range(4)]
    taken: dict[str, list[Numbered]] = {}
    delivered: list[str] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            for kind, which, count in steps:
                one = logs[which % 4]
                match kind:
                    case "note" if one.turn_id not in taken:
                        begin = len(one.events)
                        writer.note(one, [TextPiece(f"{begin + n}") for n in range(count)], count * 4)
                        await writer.room(one)
                    case "deliver":
                        writer.note_delivered(one.tenant_id, one.turn_id)
                        delivered.append(one.turn_id)
                    case "fail":
                        store.failures.append(which)
                    case "take" if one.turn_id not in taken:
                        taken[one.turn_id] = await writer.take(one)
                    case "write":
                        await _write(writer)
                    case _:
                        await anyio.sleep(0.0003 * which)
            while any(  # noqa: ASYNC110
                one.pending for one in logs if one.turn_id not in taken
            ) or len(store.delivered) < len(delivered):
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
    return Played(store, logs, taken, delivered)


async def _write(writer: LogWriter) -> None:
    try:
        await writer.write()
    except OSError:
        return


async def test_a_cancelled_write_keeps_what_it_had(database: Database) -> None:
    """A batch that was never committed is written by the next one."""
    store = Store()
    writer = LogWriter(cast(Database, store), interval_s=10, batch_bytes=10**6)
    turn_log = TurnLog(TENANTS[0], TurnId("t"), fence=1)
    writer.note(turn_log, [TextPiece("a"), TextPiece("b")], 2)
    with anyio.move_on_after(0) as scope:
        await writer.write()
    assert scope.cancelled_caught

    await writer.write()

    assert store.kept["t"] == turn_log.events
    assert turn_log.pending == 0


@pytest.mark.parametrize("count", [1, 2, 500])
async def test_many_turns_are_written_in_one_transaction(count: int) -> None:
    """design.md 1.2: gathered over all running turns of the process."""
    store = Store()
    opened = 0
    log_batch = store.log_batch

    def counted() -> Any:
        nonlocal opened
        opened += 1
        return log_batch()

    store.log_batch = counted  # type: ignore[method-assign]
    writer = LogWriter(cast(Database, store), interval_s=10, batch_bytes=10**9)
    for n in range(count):
        writer.note(TurnLog(TENANTS[n % 2], TurnId(f"t{n}"), fence=1), [TextPiece("x")], 1)
    await writer.write()
    assert (opened, len(store.kept)) == (1, count)
