"""SSE streams that a key has open at once, over all processes (conversations.md 11)."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from app.domain.chats import Chat
from app.domain.errors import Limited, Unavailable
from app.domain.ids import KeyId, ProcessId, TenantId, new_id
from app.domain.limits import KeyOfTenant, LimitsConfig
from app.engine.lease import Lease, new_process_id
from app.security.limits import Limits
from repositories.limits import LimitCounters
from repositories.unit_of_work import Database
from routers.deps import EdgeConfig
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served, stream
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

TWO = LimitsConfig(max_streams=2)
REFUSAL = "Too many concurrent streams."


@asynccontextmanager
async def gates(urls: DatabaseUrls, process_id: ProcessId, config: LimitsConfig = TWO) -> AsyncGenerator[Limits, None]:
    """Run the gates of one process."""
    limits = Limits(LimitCounters(urls.app), config, process_id)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limits.run)
        yield limits
        tasks.cancel_scope.cancel()


@pytest.fixture
async def service(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    async with in_a_task(served(fresh_database, upstream, tmp_path, edge=EdgeConfig(limits=TWO))) as found:
        yield found


async def stored(database: Database) -> dict[str, int]:
    """Return how many streams of each process are known."""
    async with database.dispatch() as dispatch:
        rows = await dispatch._connection.exec_driver_sql(
            "SELECT process_id, sum(streams) AS streams FROM open_streams GROUP BY 1"
        )
        return {row.process_id: int(row.streams) for row in rows}


async def until_stored(database: Database, wanted: dict[str, int]) -> None:
    with anyio.fail_after(5):
        while await stored(database) != wanted:  # noqa: ASYNC110 (the database tells nobody)
            await anyio.sleep(0.01)


def native(chat: Chat, question: str) -> tuple[str, str, dict[str, Any]]:
    return "POST", f"/api/v1/chats/{chat.id}/completions", {"question": question}


def openai(chat: Chat, question: str) -> tuple[str, str, dict[str, Any]]:
    path = f"/api/v1/chats_openai/{chat.id}/chat/completions"
    return "POST", path, {"model": "m", "stream": True, "messages": [{"role": "user", "content": question}]}


def named(chat: Chat, question: str) -> tuple[str, str, dict[str, Any]]:
    return "POST", "/api/v1/chat/completions", {"chat_id": chat.id, "question": question}


@pytest.mark.promise("conversations:11-streams-per-key", "conversations:11-streams-refused-before-a-turn")
@pytest.mark.parametrize("wire", [native, openai, named])
async def test_one_stream_too_many_is_refused_and_stores_nothing(service: Service, wire: Any) -> None:
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    slow, quick = scripted(stall_after=3, gap_ms=1), scripted(pieces=2)
    async with service.client(tenant) as client, AsyncExitStack() as open_streams:
        for _ in range(2):
            method, path, body = wire(chat, slow)
            await open_streams.enter_async_context(client.stream(method, path, json=body))
        method, path, body = wire(chat, quick)
        refused = await client.request(method, path, json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert {"code": 429, "message": REFUSAL, "data": None}.items() <= refused.json().items()
        async with service.database.unit(tenant.id) as unit:
            assert await unit._driver._connection.fetchval("SELECT count(*) FROM turns") == 2
        whole = await client.request(method, path, json=body | {"stream": False})
        assert whole.status_code == 200  # no stream
        other = await service.tenant(tenant_id=tenant.id)
        async with service.client(other) as others:
            assert (await stream(others, method, path, json=body)).status == 200
    await until_stored(service.database, {})  # left by their callers
    async with service.client(tenant) as client:
        for _ in range(4):
            assert (await stream(client, method, path, json=body)).status == 200


@pytest.mark.promise("conversations:11-streams-are-released")
async def test_a_stream_is_released_however_its_answer_ends(service: Service) -> None:
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    async with service.client(tenant) as client:
        method, path, body = native(chat, scripted(status=500))
        assert (await stream(client, method, path, json=body)).status == 500
        method, path, body = native(chat, scripted(pieces=3, cut_after=1))
        assert (await stream(client, method, path, json=body)).status == 200  # told by an event
        bad = await client.post(path, json={"question": "x", "session_id": "none"})
        assert bad.status_code == 404
        turn_id = (await client.post(path, json={"question": scripted(pieces=2), "stream": False})).headers["x-turn-id"]
        assert (await stream(client, "GET", f"/api/v1/turns/{turn_id}/events")).status == 200
    await until_stored(service.database, {})


@pytest.mark.promise("conversations:11-streams-per-key")
async def test_following_a_turn_is_a_stream_too(service: Service) -> None:
    tenant = await service.tenant()
    chat = await service.chat(tenant)
    async with service.client(tenant) as client, AsyncExitStack() as open_streams:
        method, path, body = native(chat, scripted(stall_after=3, gap_ms=1))
        answer = await open_streams.enter_async_context(client.stream(method, path, json=body))
        follow = f"/api/v1/turns/{answer.headers['x-turn-id']}/events"
        await open_streams.enter_async_context(client.stream("GET", follow))
        refused = await client.get(follow)
        assert (refused.status_code, refused.json()["message"]) == (429, REFUSAL)


_OTHER = """
import sys, anyio
from app.domain.ids import KeyId, ProcessId, TenantId
from app.domain.limits import LimitsConfig
from app.engine.lease import Lease
from app.db.engine import create_engine
from app.security.limits import Limits
from repositories.limits import LimitCounters
from repositories.unit_of_work import Database

url, process_id, tenant_id, key_id = sys.argv[1:]

async def main():
    await Lease(Database(create_engine(url, pool_size=1)), ProcessId(process_id), kind="api").take()
    limits = Limits(LimitCounters(url), LimitsConfig(max_streams=5), ProcessId(process_id))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limits.run)
        for _ in range(3):
            await limits.streams.open((TenantId(tenant_id), KeyId(key_id)))
        print("open", flush=True)
        await anyio.sleep(60)

anyio.run(main)
"""


@pytest.mark.promise("conversations:11-streams-over-all-processes", "conversations:11-streams-of-the-dead")
async def test_the_streams_of_a_killed_process_stop_counting(fresh_database: DatabaseUrls, database: Database) -> None:
    """Two real processes: one holds three of five, is killed, and its lease ends."""
    key: KeyOfTenant = TenantId(new_id()), KeyId(new_id())
    here, there = new_process_id(), new_process_id()
    await Lease(database, here, kind="api").take()
    command = [sys.executable, "-c", _OTHER, fresh_database.app, there, *key]
    async with await anyio.open_process(command, stderr=subprocess.PIPE) as other:
        assert other.stdout is not None
        with anyio.fail_after(20):
            assert (await other.stdout.receive()).startswith(b"open")
        five = LimitsConfig(max_streams=5)
        async with gates(fresh_database, here, five) as limits:
            slots = [await limits.streams.open(key) for _ in range(2)]
            with pytest.raises(Limited, match=REFUSAL):
                await limits.streams.open(key)
            os.kill(other.pid, signal.SIGKILL)
            await other.wait()
            async with database.service() as service:  # eight seconds later
                await service._connection.exec_driver_sql(
                    f"UPDATE processes SET lease_until = now() - interval '1 s' WHERE id = '{there}'"  # noqa: S608
                )
            slots += [await limits.streams.open(key) for _ in range(3)]
            with pytest.raises(Limited):
                await limits.streams.open(key)
            async with database.dispatch() as dispatch:
                await dispatch.limits.expire()
            assert await stored(database) == {here: 5}
            assert all(slots)


@pytest.mark.promise("conversations:11-streams-over-all-processes")
async def test_many_that_ask_at_once_get_no_more_than_there_are(
    fresh_database: DatabaseUrls, database: Database
) -> None:
    """Three processes, forty streams each, two keys in opposite orders."""
    keys: list[KeyOfTenant] = [(TenantId("t"), KeyId("a")), (TenantId("t"), KeyId("b"))]
    config = LimitsConfig(max_streams=7)
    got: list[KeyOfTenant] = []
    async with AsyncExitStack() as stack:
        processes = [new_process_id() for _ in range(3)]
        for process_id in processes:
            await Lease(database, process_id, kind="api").take()
        limits = [await stack.enter_async_context(in_a_task(gates(fresh_database, one, config))) for one in processes]

        async def ask(gate: Limits, key: KeyOfTenant) -> None:
            try:
                await gate.streams.open(key)
            except Limited:
                return
            got.append(key)

        async with anyio.create_task_group() as tasks:
            for number in range(120):
                tasks.start_soon(ask, limits[number % 3], keys[(number // 3 + number) % 2])
        assert sorted(got) == [keys[0]] * 7 + [keys[1]] * 7


@pytest.mark.promise("conversations:11-streams-are-released")
async def test_who_goes_away_while_asking_holds_nothing(fresh_database: DatabaseUrls, database: Database) -> None:
    process_id, key = new_process_id(), (TenantId("t"), KeyId("k"))
    await Lease(database, process_id, kind="api").take()
    async with gates(fresh_database, process_id) as limits:
        for _ in range(20):
            with anyio.move_on_after(0.0005):
                slot = await limits.streams.open(key)
                assert slot is not None
                slot.release()
        await until_stored(database, {})
        slots = [await limits.streams.open(key) for _ in range(2)]
        assert all(slots)


@pytest.mark.promise("conversations:11-streams-per-key")
async def test_no_number_is_no_limit_and_asks_nobody(fresh_database: DatabaseUrls) -> None:
    async with gates(fresh_database, new_process_id(), LimitsConfig()) as limits:
        assert [await limits.streams.open((TenantId("t"), KeyId("k"))) for _ in range(50)] == [None] * 50
        assert limits._counters.connects == 0


@pytest.mark.promise("conversations:11-database-away")
async def test_without_the_database_a_stream_is_refused_as_unavailable() -> None:
    limits = Limits(LimitCounters("postgresql+asyncpg://nobody@127.0.0.1:1/none"), TWO, new_process_id())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limits.run)
        with pytest.raises(Unavailable):
            await limits.streams.open((TenantId("t"), KeyId("k")))
        tasks.cancel_scope.cancel()


@pytest.mark.promise("conversations:11-streams-are-released")
async def test_open_streams_are_told_again_after_the_connection_broke(
    fresh_database: DatabaseUrls, database: Database
) -> None:
    process_id, key = new_process_id(), (TenantId("t"), KeyId("k"))
    await Lease(database, process_id, kind="api").take()
    async with gates(fresh_database, process_id) as limits:
        first = await limits.streams.open(key)
        async with database.dispatch() as dispatch:  # as after a crash: the table is not logged
            await dispatch._connection.exec_driver_sql("DELETE FROM open_streams")
        assert limits._counters._connection is not None
        limits._counters._connection.terminate()
        other = await limits.streams.open((TenantId("t"), KeyId("other")))
        await until_stored(database, {process_id: 2})
        assert first is not None
        assert other is not None
        first.release()
        first.release()
        await until_stored(database, {process_id: 1})
