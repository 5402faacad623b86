"""The arithmetic of windows, and the gate alone: exact with any number of callers and processes."""

import math
import subprocess
import sys
from collections.abc import Mapping

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Limited, Unavailable
from app.domain.ids import KeyId, TenantId, new_id
from app.domain.limits import KeyOfTenant, LimitsConfig, RateConfig, Standing, Taken, window_of
from app.engine.lease import new_process_id
from app.security.limits import Limits, RequestGate
from app.wire.limits import duration, limit_headers
from repositories.expiry import Kept
from repositories.limits import LimitCounters
from repositories.unit_of_work import Database
from tests.pg import DatabaseUrls

A: KeyOfTenant = TenantId("t"), KeyId("a")
B: KeyOfTenant = TenantId("t"), KeyId("b")


class Clock:
    """A counter over a clock that a test moves; the gate's `monotonic` too."""

    def __init__(self, window_s: float) -> None:
        self.now = 1_000_000.0
        self.window_s = window_s
        self.used: dict[tuple[KeyOfTenant, float], int] = {}
        self.calls = 0
        self.fails = False

    def monotonic(self) -> float:
        return self.now

    async def take(self, wanted: Mapping[KeyOfTenant, int], window_s: float) -> dict[KeyOfTenant, Taken]:
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        if self.fails:
            raise OSError("away")
        begun, ends_at = window_of(self.now, window_s)
        taken: dict[KeyOfTenant, Taken] = {}
        for key, count in wanted.items():
            self.used[key, begun] = self.used.get((key, begun), 0) + count
            taken[key] = Taken(used=self.used[key, begun], ends_at=ends_at, left_s=ends_at - self.now)
        return taken

    async def close(self) -> None:
        pass


@given(moment=st.floats(min_value=0, max_value=4e9), window_s=st.sampled_from([0.5, 1.0, 7.0, 60.0, 3600.0, 86_400.0]))
@pytest.mark.promise("conversations:11-fixed-windows")
def test_every_moment_lies_in_one_window(moment: float, window_s: float) -> None:
    begun, ends_at = window_of(moment, window_s)
    assert begun <= moment < ends_at
    assert ends_at - begun == pytest.approx(window_s)
    assert begun / window_s == pytest.approx(round(begun / window_s))
    assert window_of(begun, window_s) == (begun, ends_at)


@given(
    limit=st.integers(1, 12),
    burst=st.integers(0, 6),
    steps=st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 9), st.sampled_from([0.0, 0.3, 4.0, 11.0]))),
)
@pytest.mark.promise("conversations:11-requests-per-key", "conversations:11-remaining-never-below-0")
def test_each_window_lets_exactly_its_budget_through(
    limit: int, burst: int, steps: list[tuple[KeyOfTenant, int, float]]
) -> None:
    """Whatever comes at once and whatever time passes between: per key and window the first ones pass, no other."""
    config = RateConfig(limit=limit, burst=burst, window_s=10.0)

    async def run() -> None:
        clock = Clock(10.0)
        gate = RequestGate(clock, LimitsConfig(rate=config), monotonic=clock.monotonic)
        seen: dict[tuple[KeyOfTenant, float], list[Standing]] = {}

        async def call(key: KeyOfTenant) -> None:
            standing = await gate.enter(key)
            assert standing is not None
            seen.setdefault((key, standing.ends_at), []).append(standing)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.run)
            for key, count, pause_s in steps:
                async with anyio.create_task_group() as callers:
                    for _ in range(count):
                        callers.start_soon(call, key)
                clock.now += pause_s
            tasks.cancel_scope.cancel()
        for standings in seen.values():
            assert sum(not one.is_over for one in standings) == min(len(standings), limit + burst)
            assert [one.remaining for one in standings][:limit] == [limit - 1 - n for n in range(len(standings))][
                :limit
            ]
            assert all(one.remaining >= 0 for one in standings)
            assert all(0 < one.left_s <= 10.0 for one in standings)

    anyio.run(run)


@pytest.mark.promise("conversations:11-requests-per-key")
async def test_who_is_refused_is_refused_without_asking_until_the_window_ends() -> None:
    clock = Clock(10.0)
    config = LimitsConfig(rate=RateConfig(limit=1, burst=1, window_s=10.0))
    gate = RequestGate(clock, config, monotonic=clock.monotonic)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.run)
        over: list[Standing] = []
        for number in range(1, 8):
            standing = await gate.enter(A)
            assert standing is not None
            assert standing.is_over == (number > 2)
            over.append(standing)
        assert clock.calls == 2
        with pytest.raises(Limited, match=r"Rate limit exceeded\. Please retry later\.") as refused:
            over[-1].check()
        assert refused.value.retry_after_s == math.ceil(over[-1].left_s) >= 1
        clock.now += 10
        again = await gate.enter(A)
        assert again is not None
        again.check()
        tasks.cancel_scope.cancel()


async def test_a_counter_that_is_away_is_no_leave_to_pass() -> None:
    clock = Clock(10.0)
    gate = RequestGate(clock, LimitsConfig(rate=RateConfig(limit=5)), monotonic=clock.monotonic)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gate.run)
        clock.fails = True
        with pytest.raises(Unavailable):
            await gate.enter(A)
        clock.fails = False
        assert await gate.enter(A) is not None
        tasks.cancel_scope.cancel()


@pytest.mark.promise("conversations:11-switched-off")
async def test_a_limit_of_0_counts_nothing() -> None:
    clock = Clock(10.0)
    gate = RequestGate(clock, LimitsConfig(rate=RateConfig(limit=0, burst=50)), monotonic=clock.monotonic)
    assert [await gate.enter(A) for _ in range(300)] == [None] * 300
    assert clock.calls == 0


def _started(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.promise("conversations:11-exact-over-processes")
async def test_a_budget_of_100_lets_100_of_four_processes_through(fresh_database: DatabaseUrls) -> None:
    """Four processes, a hundred calls each, all at once: the database's clock decides in which window they are."""
    command = [sys.executable, "-m", "tests.limits.taker", fresh_database.app, new_id(), "key", "100", "86400"]
    processes = [_started(command) for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [tuple(map(int, str(process.communicate(timeout=60)[0]).split())) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sum(passed for passed, _ in told) == 100
    assert all(trips < 100 for _, trips in told)  # those who wait go together


@pytest.mark.promise("conversations:11-exact-over-processes")
async def test_calls_at_once_share_a_round_trip(fresh_database: DatabaseUrls, database: Database) -> None:
    config = LimitsConfig(rate=RateConfig(limit=100, burst=50, window_s=86_400))
    limits = Limits(LimitCounters(fresh_database.app), config, new_process_id())
    numbers: list[int] = []

    async def call() -> None:
        standing = await limits.requests.enter(A)
        assert standing is not None
        numbers.append(standing.number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limits.run)
        async with anyio.create_task_group() as callers:
            for _ in range(1000):
                callers.start_soon(call)
        assert limits.requests.round_trips <= 3
        tasks.cancel_scope.cancel()
    assert sorted(numbers) == list(range(1, 1001))
    async with database.dispatch() as dispatch:
        await dispatch._connection.exec_driver_sql("UPDATE rate_windows SET window_start = now() - interval '3 days'")
        assert await dispatch.expiry.expire(Kept.WINDOWS, 3600) == 1
        assert (await dispatch._connection.exec_driver_sql("SELECT count(*) FROM rate_windows")).scalar_one() == 0


@pytest.mark.promise("openai:1.3-ratelimit-headers")
@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0004, "1ms"), (0.02, "20ms"), (1, "1s"), (360, "6m0s"), (59.2, "1m0s"), (3661, "1h1m1s")]
)
def test_durations_are_written_as_openai_does(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.promise("openai:1.3-ratelimit-headers")
def test_openai_clients_are_told_in_their_own_headers_too() -> None:
    standing = Standing(config=RateConfig(limit=10, burst=5), number=4, ends_at=100.25, left_s=2.5)
    native = {b"x-ratelimit-limit": b"10", b"x-ratelimit-remaining": b"6", b"x-ratelimit-reset": b"101"}
    assert dict(limit_headers(standing, is_openai=False)) == native
    assert dict(limit_headers(standing, is_openai=True)) == native | {
        b"x-ratelimit-limit-requests": b"10",
        b"x-ratelimit-remaining-requests": b"6",
        b"x-ratelimit-reset-requests": b"3s",
    }
