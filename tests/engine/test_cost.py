"""A turn costs the same early and late in its session (design.md 1.3), and lists read no message text (4)."""

from collections.abc import Generator
from contextlib import contextmanager
from statistics import median
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text

from app.domain.chats import Chat
from app.domain.models import ModelText
from app.domain.sessions import Session, SessionFilter
from app.engine.turns import TurnEngine
from app.llm.scripted import ScriptedChatModel
from app.services.listing import read_listing
from app.services.sessions import SessionService
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.engine.conftest import MakeAsk, MakeProcess
from tests.pg import DatabaseUrls

TURNS = 1000
OTHERS = ("SELECT pg_notify", "BEGIN", "COMMIT")
"""Peers are told every 50 ms, in transactions that fall on whatever turn runs then."""

WINDOW = 20
LISTING = read_listing(page="1", page_size="30", orderby="create_time", desc="true")


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Generator[list[str], None, None]:
    """Record what goes to the driver: every statement of ours ends in one of these."""
    seen: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            original = getattr(asyncpg.Connection, name)

            def noting(self: Any, query: str, *arguments: Any, original: Any = original, **more: Any) -> Any:
                seen.append(query)
                return original(self, query, *arguments, **more)

            patch.setattr(asyncpg.Connection, name, noting)
        yield seen


@pytest.mark.slow
async def test_turn_one_thousand_costs_what_turn_ten_did(
    make_process: MakeProcess,
    database: Database,
    fresh_database: DatabaseUrls,
    tenant: Tenant,
    ask: MakeAsk,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Statements and bytes of write-ahead log a turn, medians over windows of twenty turns."""
    superuser = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    answer = [ModelText(f"word{n} ") for n in range(10)]
    queries: list[int] = []
    wal: list[int] = []
    try:
        # the log is written by the closing alone: a batch in between would count for whatever turn runs then
        async with make_process(log_interval_s=60.0, log_batch_bytes=10**9).running() as process:
            engine = process.engine
            for _ in range(TURNS):
                begin = await superuser.fetchval("SELECT pg_current_wal_insert_lsn()")
                with counted(monkeypatch) as seen:
                    turn_id = await engine.open(ask(ScriptedChatModel(*answer), session_id=session.id))
                    running = engine.local(tenant.id, turn_id)
                    if running is not None:
                        await running.ended.wait()
                queries.append(len([one for one in seen if not one.startswith(OTHERS)]))
                wal.append(int(await superuser.fetchval("SELECT pg_current_wal_insert_lsn() - $1::pg_lsn", begin)))
    finally:
        await superuser.close()
    early, late = slice(5, 5 + WINDOW), slice(TURNS - WINDOW, TURNS)
    assert median(queries[late]) <= median(queries[early])
    assert median(wal[late]) <= 1.2 * median(wal[early]), (median(wal[early]), median(wal[late]))
    async with database.unit(tenant.id) as unit:
        told = await unit._connection.execute(text("SELECT count(*), max(position) FROM messages"))
        assert tuple(told.one()) == (2 * TURNS, 2 * TURNS - 1)


async def test_a_list_of_sessions_without_messages_reads_no_message(
    engine: TurnEngine,
    database: Database,
    tenant: Tenant,
    chat: Chat,
    ask: MakeAsk,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn_id = await engine.open(ask(ScriptedChatModel(ModelText("Hi")), session_id=session.id))
    await engine.ended(tenant.id, turn_id, timeout_s=5)
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database._connections._engine.sync_engine, "before_cursor_execute", note)
    with counted(monkeypatch) as straight:
        async with database.unit(tenant.id) as unit:
            shown = await SessionService(unit).page(chat.id, LISTING, SessionFilter(), has_messages=False)
    seen += straight
    assert (shown.page.total, len(shown.views)) == (1, 1)
    told = [one for one in seen if "sessions" in one]
    assert told
    assert not [one for one in seen if "messages" in one and "content" in one]
