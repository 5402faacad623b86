"""Following again from any event, from the process that runs a turn and from another (design.md 1.2)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import text

from app.domain.events import Done, TextPiece
from app.domain.models import ModelItem, ModelReasoning, ModelText
from app.domain.sessions import Session
from app.engine.follow import follow
from app.engine.log import WINDOW
from app.llm.scripted import ScriptedChatModel
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.engine.conftest import MakeAsk, MakeProcess, Process, gather
from tests.engine.following import PIECES, THOUGHTS, api, asked, long_model, other, rest, suffix

__all__ = ["asked", "other"]  # fixtures, found by name


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
        padded = await client.get(
            f"/api/v1/turns/{turn_id}/events", headers={**tenant.auth, "Last-Event-ID": "0" * 5000}
        )
        assert padded.content == await rest(client, tenant, turn_id, 0)
        for headers, params in (
            ({"Last-Event-ID": "x"}, {}),
            ({"Last-Event-ID": "9" * 30}, {}),
            ({"Last-Event-ID": "0" * 11 + "9" * 5000}, {}),
            ({}, {"after": "-1"}),
            ({}, {"after": str(2**31)}),
        ):
            answer = await client.get(
                f"/api/v1/turns/{turn_id}/events", headers={**tenant.auth, **headers}, params=params
            )
            assert (answer.status_code, answer.json()["code"]) == (400, 102)


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
    connection, is_away = process.database._connections.taken, True

    def refuse() -> Any:
        if is_away and process.engine.running_count and model.closed.is_set():
            raise ConnectionRefusedError
        return connection()

    model = ScriptedChatModel(ModelText("Whole."))
    monkeypatch.setattr(process.database._connections, "taken", refuse)
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
