"""Calls counted in Redis, over the real protocol; when it goes away PostgreSQL counts (design.md 1.7)."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import pytest
from fakeredis import TcpFakeServer

from app.domain.ids import KeyId, TenantId
from app.domain.limits import KeyOfTenant, LimitsConfig, RateConfig, window_of
from app.engine.lease import new_process_id
from app.security.limits import Limits
from repositories.limits import LimitCounters
from repositories.redis_limits import FallingBack, RedisCounter
from tests.pg import DatabaseUrls
from tests.service import free_port

A: KeyOfTenant = TenantId("t"), KeyId("a")
CONFIG = LimitsConfig(rate=RateConfig(limit=30, burst=10, window_s=86_400))


@contextmanager
def redis_server() -> Generator[str, None, None]:
    """Serve what speaks Redis on a port of this machine."""
    port = free_port()
    server = TcpFakeServer(("127.0.0.1", port), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


async def passed(*gates: Limits, calls: int) -> int:
    """Make calls at once through gates in turn; return how many were let through."""
    count = 0

    async def call(gate: Limits) -> None:
        nonlocal count
        standing = await gate.requests.enter(A)
        assert standing is not None
        count += not standing.is_over

    async with anyio.create_task_group() as tasks:
        for number in range(calls):
            tasks.start_soon(call, gates[number % len(gates)])
    return count


@pytest.mark.promise("conversations:11-redis")
async def test_redis_counts_exactly_for_several_processes(fresh_database: DatabaseUrls) -> None:
    with redis_server() as url:
        gates = [
            Limits(LimitCounters(fresh_database.app), CONFIG, new_process_id(), RedisCounter(url, timeout_s=5))
            for _ in range(3)
        ]
        async with anyio.create_task_group() as tasks:
            for gate in gates:
                tasks.start_soon(gate.run)
            assert await passed(*gates, calls=120) == 40
            assert all(gate.requests._counter is not gate.streams._counters for gate in gates)
            assert all(gate.streams._counters.connects == 0 for gate in gates)  # PostgreSQL was not asked
            tasks.cancel_scope.cancel()


@pytest.mark.promise("conversations:11-redis")
async def test_a_counter_in_redis_ends_by_itself() -> None:
    with redis_server() as url:
        counter = RedisCounter(url, timeout_s=5, clock=lambda: 1_000_003.0)
        taken = (await counter.take({A: 2}, 10.0))[A]
        assert (taken.used, taken.ends_at, taken.left_s) == (2, *window_of(1_000_003.0, 10.0)[1:], 7.0)
        assert (await counter.take({A: 3}, 10.0))[A].used == 5
        keys = await counter._redis.keys("*")
        assert len(keys) == 1
        assert 60 < await counter._redis.ttl(keys[0]) <= 70
        await counter.close()


@pytest.mark.promise("conversations:11-redis")
async def test_when_redis_goes_away_postgres_counts(fresh_database: DatabaseUrls) -> None:
    with redis_server() as url:
        counter = FallingBack(RedisCounter(url, timeout_s=1), LimitCounters(fresh_database.app))
        gate = Limits(LimitCounters(fresh_database.app), CONFIG, new_process_id(), counter)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.run)
            assert await passed(gate, calls=10) == 10
            await counter._first.close()
            counter._first = RedisCounter("redis://127.0.0.1:1/0", timeout_s=0.5)
            assert await passed(gate, calls=60) == 40
            assert await passed(gate, calls=5) == 0
            tasks.cancel_scope.cancel()


@pytest.mark.promise("conversations:11-redis")
async def test_redis_is_asked_again_after_a_while(fresh_database: DatabaseUrls) -> None:
    """It is left alone for five seconds once it has failed; back again it knows what it had counted before."""
    now = 1000.0
    with redis_server() as url:
        there = RedisCounter(url, timeout_s=5)
        counter = FallingBack(there, LimitCounters(fresh_database.app), monotonic=lambda: now)
        assert (await counter.take({A: 3}, 86_400.0))[A].used == 3
        counter._first = RedisCounter("redis://127.0.0.1:1/0", timeout_s=0.5)
        assert (await counter.take({A: 4}, 86_400.0))[A].used == 4
        counter._first = there
        now += 4.9
        assert (await counter.take({A: 1}, 86_400.0))[A].used == 5  # PostgreSQL still
        now += 0.2
        assert (await counter.take({A: 1}, 86_400.0))[A].used == 4
        await counter.close()
