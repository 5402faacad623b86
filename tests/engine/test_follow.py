"""Following again from any event (design.md 1.2), on any process, and takeover of a dead process's turn (1.1)."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.domain.chats import Chat
from app.domain.events import Done, Failed, Numbered, Stopped, TextPiece, is_last
from app.domain.ids import ChunkId, DatasetId, DocumentId, TurnId
from app.domain.limits import LimitsConfig
from app.domain.models import ChatMessage, ModelItem, ModelReasoning, ModelText
from app.domain.references import Reference
from app.domain.sessions import Session
from app.domain.turns import TurnState
from app.engine.ask import Ask
from app.engine.closing import GONE
from app.engine.draft import Draft
from app.engine.follow import follow
from app.engine.log import WINDOW
from app.engine.rag import RagAnswerer
from app.engine.turns import TurnEngine
from app.llm.scripted import ScriptedChatModel
from app.security.authenticator import Authenticator
from app.security.limits import Limits
from repositories.limits import LimitCounters
from repositories.unit_of_work import Database
from routers import errors, turns
from routers.deps import EdgeConfig
from tests.conftest import PEPPER, Tenant
from tests.engine.conftest import MakeAsk, MakeProcess, NothingFound, Process, WordCounter, gather
from tests.tasks import in_a_task

PIECES = [f"Stück {n} — 日本🚀\r\n\u2028" for n in range(300)]
THOUGHTS = [f"Hm {n}. " for n in range(10)]
_BLOCK = re.compile(rb"(?:id: (\d+)\n)?data: [^\n]*\n\n")


class Found:
    """Finds two references, then asks the model."""

    def __init__(self) -> None:
        self._asks_model = RagAnswerer(NothingFound(), WordCounter())

    async def answer(self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> None:
        draft.found(
            [
                Reference(
                    chunk_id=ChunkId(f"k{n}"),
                    content="Inhalt ü",
                    document_id=DocumentId("d"),
                    document_name="d.pdf",
                    dataset_id=DatasetId("s"),
                    similarity=0.5,
                )
                for n in range(2)
            ],
            2,
        )
        await self._asks_model.answer(ask, history, draft, deadline_s=deadline_s)


def api(process: Process) -> httpx.AsyncClient:
    """The routes of turns over this process's engine."""
    app = FastAPI()
    errors.install(app)
    app.include_router(turns.router)
    app.state.database = process.database
    app.state.engine = process.engine
    app.state.edge = EdgeConfig(ping_s=0)
    app.state.authenticator = Authenticator(process.database, PEPPER)
    app.state.limits = Limits(LimitCounters(process.database.url), LimitsConfig(), process.engine.process_id)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=20)


async def rest(client: httpx.AsyncClient, tenant: Tenant, turn_id: TurnId, n: int, *, by_header: bool = False) -> bytes:
    path = f"/api/v1/turns/{turn_id}/events"
    if by_header:
        answer = await client.get(path, headers={**tenant.auth, "Last-Event-ID": str(n)})
    else:
        answer = await client.get(path, params={"after": n}, headers=tenant.auth)
    assert answer.status_code == 200, answer.text
    return answer.content


def suffix(whole: bytes, n: int) -> bytes:
    """Return what comes after the last block with a number of at most `n`."""
    at = 0
    for block in _BLOCK.finditer(whole):
        if block[1] is not None and int(block[1]) <= n:
            at = block.end()
    return b"" if whole[at:].startswith(b'data: {"code":0,"message":"","data":true}') else whole[at:]


@pytest.fixture
def asked(process: Process) -> Process:
    """The process, whose answerer finds references."""
    process.engine._answerer = Found()
    return process


@pytest.fixture
async def other(make_process: MakeProcess) -> AsyncIterator[Process]:
    """A second process on the same database."""
    async with in_a_task(make_process().running()) as running:
        yield running


def long_model(gate: asyncio.Event | None = None) -> ScriptedChatModel:
    return ScriptedChatModel(*map(ModelReasoning, THOUGHTS), *map(ModelText, PIECES), gate=gate)


async def test_every_reconnect_gets_the_rest_to_the_byte(
    asked: Process, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """By `after` and by `Last-Event-ID`, from the process that ran it and from another, for every event number."""
    turn_id = await asked.engine.open(ask(long_model(), session_id=session.id))
    events = await gather(asked.engine, tenant, turn_id)
    last = events[-1][0]
    assert last == len(PIECES) + len(THOUGHTS) + 4  # started, found, asked, ..., done
    async with api(asked) as here, api(other) as there:
        whole = await rest(here, tenant, turn_id, 0)
        assert whole.count(b"id: ") == len(PIECES) + len(THOUGHTS) + 1
        assert whole.endswith(b"data: [DONE]\n\n")
        for n in range(last + 1):
            client = (here, there)[n % 2]
            assert await rest(client, tenant, turn_id, n, by_header=n % 3 == 0) == suffix(whole, n), n


async def test_a_reconnect_to_a_running_turn_gets_the_rest_to_the_byte(
    asked: Process, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """Twenty followers come back at different numbers while it runs, on either process; all end alike."""
    gate = asyncio.Event()
    model = ScriptedChatModel(*map(ModelReasoning, THOUGHTS), *map(ModelText, PIECES), gap_s=0.002, gate=gate)
    turn_id = await asked.engine.open(ask(model, session_id=session.id))
    got: dict[int, bytes] = {}

    async def come_back(client: httpx.AsyncClient, n: int) -> None:
        with anyio.fail_after(20):
            got[n] = await rest(client, tenant, turn_id, n)

    async with api(asked) as here, api(other) as there:
        async with anyio.create_task_group() as tasks:
            for n in range(0, 300, 15):
                tasks.start_soon(come_back, (here, there)[n % 2], n)
            gate.set()
        whole = await rest(here, tenant, turn_id, 0)
    for n, found in got.items():
        assert found == suffix(whole, n), n


async def test_after_the_log_expired_every_reconnect_still_gets_the_ending(
    asked: Process, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """design.md 1.2: the replay is made from the message; whoever comes back gets a last event new to them."""
    turn_id = await asked.engine.open(ask(long_model(), session_id=session.id))
    last = (await gather(asked.engine, tenant, turn_id))[-1][0]
    async with database.unit(tenant.id) as unit:
        await unit._connection.execute(text("UPDATE turn_events SET created_at = created_at - interval '25 hours'"))
    await asked.caretaker.expire()

    events = [one async for batch in follow(asked.engine, tenant.id, turn_id, seen=7) for one in batch]
    assert "".join(event.text for _, event in events if isinstance(event, TextPiece)) == "".join(PIECES)
    async with api(asked) as client:
        whole = await rest(client, tenant, turn_id, 0)
        assert b'"chunk_id":"k0"' in whole
        assert b"<think>Hm 0." in whole
        for n in (0, 1, 5, last - 1, last, last + 5):
            found = await rest(client, tenant, turn_id, n)
            assert found.endswith(b"data: [DONE]\n\n"), n
            assert found.count(b'"final":true') == 1, n


async def test_an_unknown_or_silly_number_is_refused_or_gets_nothing(
    asked: Process, tenant: Tenant, ask: MakeAsk
) -> None:
    turn_id = await asked.engine.open(ask(ScriptedChatModel(ModelText("Hi"))))
    await gather(asked.engine, tenant, turn_id)
    async with api(asked) as client:
        assert await rest(client, tenant, turn_id, 10_000) == b""
        for headers, params in (
            ({"Last-Event-ID": "x"}, {}),
            ({"Last-Event-ID": "9" * 30}, {}),
            ({}, {"after": "-1"}),
            ({}, {"after": str(2**31)}),
        ):
            answer = await client.get(
                f"/api/v1/turns/{turn_id}/events", headers={**tenant.auth, **headers}, params=params
            )
            assert (answer.status_code, answer.json()["code"]) == (400, 102)


async def test_another_process_follows_live(
    process: Process, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """What one process writes another shows while it runs, in order, without a gap."""
    model = ScriptedChatModel(ModelText("One "), ModelText("two"), hang=True)
    turn_id = await process.engine.open(ask(model, session_id=session.id))
    seen: list[Numbered] = []
    async with aclosing(follow(other.engine, tenant.id, turn_id)) as events:
        with anyio.fail_after(5):
            async for batch in events:
                seen += batch
                if TextPiece("two") in [event for _, event in seen]:
                    break
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert (await other.engine.get(tenant.id, turn_id)).state is TurnState.RUNNING
    await process.engine.stop(tenant.id, turn_id)


async def test_another_process_stops_a_turn(
    process: Process, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    model = ScriptedChatModel(ModelText("Half"), hang=True)
    turn_id = await process.engine.open(ask(model, session_id=session.id))
    with anyio.fail_after(5):
        await model.reached.wait()
        await other.engine.stop(tenant.id, turn_id)
        turn = await other.engine.ended(tenant.id, turn_id, timeout_s=5)
        assert turn.state is TurnState.STOPPED
        await model.closed.wait()
    ending = (await gather(other.engine, tenant, turn_id))[-1][1]
    assert isinstance(ending, Stopped)
    assert ending.content == "Half"


async def expire_lease(process: Process) -> None:
    async with process.database.service() as service:
        statement = text("UPDATE processes SET lease_until = clock_timestamp() - interval '1 second' WHERE id = :id")
        await service._connection.execute(statement, {"id": process.process_id})


async def test_a_dead_processs_turn_is_closed_by_another_and_the_dead_one_writes_nothing_more(
    process: Process, other: Process, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """design.md 1.1: failed with its partial text, one answer, and the fence keeps the zombie out."""
    gate = asyncio.Event()

    class Halfway(ScriptedChatModel):
        async def stream(
            self, messages: Any, options: Any, *, deadline_s: float
        ) -> AsyncGenerator[list[ModelItem], None]:
            yield [ModelText("Stored. ")]
            await gate.wait()
            yield [ModelText("Too late.")]

    turn_id = await process.engine.open(ask(Halfway(), session_id=session.id))
    with anyio.fail_after(5):
        async for batch in follow(other.engine, tenant.id, turn_id):
            if TextPiece("Stored. ") in [event for _, event in batch]:
                break
    await expire_lease(process)

    assert await other.caretaker.adopt() == 1

    events = await gather(other.engine, tenant, turn_id)
    ending = events[-1][1]
    assert isinstance(ending, Failed)
    assert (ending.content, ending.message) == ("Stored. ", GONE)
    assert ending.usage.is_estimated
    assert events[-1][0] == events[-2][0] + WINDOW + 1  # new to whoever saw what was never stored
    before = await _everything(database, tenant)
    gate.set()
    with anyio.fail_after(15):
        while process.engine.running_count:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    await process.engine.writer.write()
    assert await _everything(database, tenant) == before
    assert [event for _, event in await gather(process.engine, tenant, turn_id)] == [event for _, event in events]
    assert await other.caretaker.adopt() == 0
    async with database.unit(tenant.id) as unit:
        messages = await unit.messages.of_turn(turn_id)
    assert [(one.role, one.content, one.state) for one in messages][1:] == [("assistant", "Stored. ", "failed")]


async def _everything(database: Database, tenant: Tenant) -> list[Any]:
    found: list[Any] = []
    async with database.unit(tenant.id) as unit:
        for table in ("turns", "messages", "turn_events", "usage_ledger", "usage_daily", "sessions"):
            rows = await unit._connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3"))  # noqa: S608
            found.append([tuple(row) for row in rows])
    return found


async def test_a_follower_of_the_dead_process_who_saw_more_than_was_stored_still_gets_the_ending(
    make_process: MakeProcess, other: Process, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """app/engine/log.py WINDOW: the ending's number is past everything anybody can have seen."""
    async with make_process(log_interval_s=60.0, log_batch_bytes=10**9).running() as dying:
        model = ScriptedChatModel(*map(ModelText, PIECES), hang=True)
        turn_id = await dying.engine.open(ask(model, session_id=session.id))
        with anyio.fail_after(5):
            await model.reached.wait()
        seen: list[Numbered] = []
        async with aclosing(follow(dying.engine, tenant.id, turn_id)) as events:
            async for batch in events:
                seen += batch
                if len(seen) >= len(PIECES):
                    break
        await expire_lease(dying)
        assert await other.caretaker.adopt() == 1

        async with api(other) as client:
            found = await rest(client, tenant, turn_id, seen[-1][0])
        assert b'"code":500' in found
        assert found.endswith(b"data: [DONE]\n\n")


async def test_a_flood_of_pieces_never_gets_a_window_ahead_of_the_store(
    make_process: MakeProcess, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """app/engine/log.py WINDOW: however many pieces arrive in one read."""

    class Flood(ScriptedChatModel):
        async def stream(
            self, messages: Any, options: Any, *, deadline_s: float
        ) -> AsyncGenerator[list[ModelItem], None]:
            for _ in range(6):
                yield [ModelText("x")] * 2500
            async for batch in super().stream(messages, options, deadline_s=deadline_s):
                yield batch

    async with make_process(log_interval_s=0.05).running() as process:
        turn_id = await process.engine.open(ask(Flood(), session_id=session.id))
        running = process.engine.local(tenant.id, turn_id)
        assert running is not None
        most = 0
        with anyio.fail_after(20):
            async for _ in follow(process.engine, tenant.id, turn_id):
                most = max(most, running.log.pending)
    assert running.draft.text == "x" * 15_000
    assert most < WINDOW


async def test_an_end_that_could_not_be_stored_is_stored_when_postgres_is_back(
    process: Process, tenant: Tenant, ask: MakeAsk, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was whole: it is kept whole, and the session is free again."""
    monkeypatch.setattr("app.engine.closing._TRIES_S", (0.01, 0.01))
    connection, is_away = process.database._connection, True

    def refuse() -> Any:
        if is_away and process.engine.running_count and model.closed.is_set():
            raise ConnectionRefusedError
        return connection()

    model = ScriptedChatModel(ModelText("Whole."))
    monkeypatch.setattr(process.database, "_connection", refuse)
    turn_id = await process.engine.open(ask(model, session_id=session.id))
    with anyio.fail_after(5):
        while process.engine.running_count:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    assert process.engine.drives(turn_id)
    is_away = False

    await process.caretaker.round()

    assert not process.engine.drives(turn_id)
    ending = (await gather(process.engine, tenant, turn_id))[-1][1]
    assert isinstance(ending, Done)
    assert ending.content == "Whole."
    await gather(process.engine, tenant, await process.engine.open(ask(long_model(), session_id=session.id)))


async def test_a_turn_whose_opening_was_lost_is_closed_by_its_own_process(
    process: Process, database: Database, tenant: Tenant, chat: Chat, ask: MakeAsk, session: Session
) -> None:
    """A commit whose answer never came leaves a turn that nobody drives."""
    turn_id = await process.engine.open(ask(ScriptedChatModel(hang=True), session_id=session.id))
    del process.engine._running[turn_id]
    async with database.unit(tenant.id) as unit:
        await unit._connection.execute(text("UPDATE turns SET created_at = created_at - interval '1 minute'"))

    await process.caretaker.round()

    assert (await process.engine.get(tenant.id, turn_id)).state is TurnState.FAILED


async def test_followers_on_both_processes_see_one_sequence(
    process: Process, other: Process, tenant: Tenant, ask: MakeAsk, engine: TurnEngine
) -> None:
    """However late a follower comes, and wherever: the same events under the same numbers."""
    model = ScriptedChatModel(*map(ModelText, PIECES[:100]), gap_s=0.001)
    turn_id = await process.engine.open(ask(model))
    found: list[list[Numbered]] = []

    async def read(one: Process, wait_s: float) -> None:
        await anyio.sleep(wait_s)
        found.append(await gather(one.engine, tenant, turn_id))

    async with anyio.create_task_group() as tasks:
        for n in range(8):
            tasks.start_soon(read, (process, other)[n % 2], n * 0.03)
    assert all(one == found[0] for one in found)
    assert is_last(found[0][-1][1])
