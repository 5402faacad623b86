"""Lists, searches and long sessions stay fast because of how they are asked: no plan reads a whole table."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.engine import create_engine
from app.domain.listing import Listing
from app.domain.sessions import Position, SessionFilter
from app.services.session_turns import SessionTurnService
from app.services.sessions import SessionService
from app.services.stats import StatsService, read_stats
from bench.session_rows import CHAT, LONG, LONG_CHAT, MEDIUM, OLD, RARE, TENANT, Plan, fill, frequent_word, sentences
from repositories import session_hours, session_search
from repositories.statements import Statement
from repositories.unit_of_work import Database
from tests.pg import DatabaseUrls

PLAN = Plan(sessions=20_000, messages=10_000)
NOW = datetime.now(UTC)

Sent = list[tuple[str, tuple[Any, ...]]]


class Recorder:
    """A database whose statements are noted with their values, and explained as the app's role."""

    def __init__(self, engine: AsyncEngine, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.engine = engine
        self.database = Database(engine)
        self.connection = connection

    async def sent(self, ask: Callable[[Any], Awaitable[Any]]) -> Sent:
        """Return the statements that `ask` sends in a unit of its own."""
        found: Sent = []

        def note(_c: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
            found.append((statement, tuple(values)))

        def arguments(statement: Statement, values: dict[str, Any]) -> list[Any]:
            numbered = plain(statement, values)
            found.append((statement.sql, tuple(numbered)))
            return numbered

        plain = Statement.arguments
        async with self.database.unit(TENANT) as unit:
            event.listen(self.engine.sync_engine, "before_cursor_execute", note)
            try:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(Statement, "arguments", arguments)
                    await ask(unit)
            finally:
                event.remove(self.engine.sync_engine, "before_cursor_execute", note)
        return found

    async def plans(self, ask: Callable[[Any], Awaitable[Any]]) -> list[Any]:
        """Return the plan of each statement that `ask` sends, made as the app's role."""
        sent = await self.sent(ask)
        told: list[Any] = []
        async with self.connection.transaction():
            await self.connection.execute(f"SET LOCAL parley.tenant = '{TENANT}'")
            await self.connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            for sql, values in sent:
                plan = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *values)
                told.append(json.loads(plan)[0]["Plan"])
        return told


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


@pytest.fixture
async def recorder(fresh_database: DatabaseUrls) -> AsyncIterator[Recorder]:
    superuser = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    await fill(superuser, PLAN)
    await superuser.close()
    engine = create_engine(fresh_database.app, pool_size=2)
    connection = await asyncpg.connect(fresh_database.app.replace("+asyncpg", ""))
    yield Recorder(engine, connection)
    await connection.close()
    await engine.dispose()


def listed(listing: Listing | None = None, **meant: Any) -> Callable[[Any], Awaitable[Any]]:
    async def ask(unit: Any) -> Any:
        return await SessionService(unit).page(CHAT, listing or Listing(), SessionFilter(**meant))

    return ask


HOUR: dict[str, Any] = {"created_from": NOW - timedelta(hours=2), "created_to": NOW - timedelta(hours=1)}


async def last_messages(unit: Any) -> Any:
    return await SessionTurnService(unit).stretch(LONG_CHAT, LONG, Position(limit=100))


async def earlier_messages(unit: Any) -> Any:
    return await SessionTurnService(unit).stretch(LONG_CHAT, LONG, Position(before=5000, limit=100))


async def minutes(unit: Any) -> Any:
    return await StatsService(unit).days(read_stats(from_date=(NOW - timedelta(minutes=20)).isoformat(), now=NOW))


# What is asked, and in how many statements: the chat with its count, the page, a count, messages, references. Words:
# the first of the list, more of it where that promises enough, and else both indexes.
ASKED: dict[str, tuple[Callable[[Any], Awaitable[Any]], int]] = {
    "first page": (listed(), 3),
    "last page": (listed(Listing(offset=PLAN.sessions - 20)), 3),
    "by name": (listed(Listing(order_by="name")), 3),
    "by update time, oldest first": (listed(Listing(order_by="update_time", is_descending=False)), 3),
    "one": (listed(id="a" * 32), 2),
    "of a user": (listed(user_id="user77"), 3),
    "of a frequent name": (listed(name="New session"), 4),
    "of a rare name": (listed(name=sentences()[2]), 3),
    "of an hour": (listed(**HOUR), 4),
    "of an hour, by name": (listed(Listing(order_by="name"), **HOUR), 4),
    "of a user in an hour": (listed(user_id="user77", **HOUR), 3),
    "rare words": (listed(keywords=RARE), 7),
    "words of a few": (listed(keywords=MEDIUM), 5),
    "words nowhere": (listed(keywords="zzyzxq"), 4),
    "words of old ones": (listed(keywords=OLD), 7),
    "frequent words": (listed(keywords=frequent_word()), 4),
    "last messages": (last_messages, 3),
    "earlier messages": (earlier_messages, 4),
    "statistics of some minutes": (minutes, 1),
}


@pytest.mark.promise(
    "conversations:P-plans", "conversations:P-messages", "conversations:8.3-fast", "conversations:8.1-keywords"
)
async def test_nothing_reads_a_whole_table(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the app's role, with what the planner knows of 20,000 sessions; how many statements each takes."""
    monkeypatch.setattr(session_search, "WALKED", 200)
    sequential: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    used: dict[str, set[str]] = {}
    for name, (ask, _) in ASKED.items():
        plans = await recorder.plans(ask)
        counts[name] = len(plans)
        found = [node for plan in plans for node in nodes(plan)]
        whole = [node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"]
        # A handful of rows is read whole: the assistants, and their counts.
        sequential[name] = [table for table in whole if table not in ("chats", "session_counts")]
        used[name] = {node["Index Name"] for node in found if "Index Name" in node}

    assert {name: tables for name, tables in sequential.items() if tables} == {}
    assert counts == {name: expected for name, (_, expected) in ASKED.items()}
    indexes = {"ix_messages_content", "ix_session_labels_label"}
    assert indexes <= used["rare words"]
    assert used["last messages"] & {"uq_messages_position", "ix_messages_content"} == {"uq_messages_position"}
    assert "ix_sessions_day" in used["statistics of some minutes"]


@pytest.mark.promise("conversations:P-plans", "conversations:8.1-keywords")
async def test_words_that_are_frequent_among_old_sessions_are_found_hour_by_hour(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many to be handed over, and none among the first of the list."""
    monkeypatch.setattr(session_search, "WALKED", 200)
    monkeypatch.setattr(session_hours, "CANDIDATES", 50)
    plans = await recorder.plans(listed(keywords=OLD))

    # The chat, the first of the list, when they began, which and how many, the first of these, their rows and messages.
    assert len(plans) == 7
    found = [node for plan in plans for node in nodes(plan)]
    whole = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
    assert whole <= {"chats", "session_counts"}
    for plan in plans[3:5]:
        used = [node["Index Name"] for node in nodes(plan) if node["Node Type"] == "Bitmap Index Scan"]
        assert set(used) == {"ix_messages_content", "ix_session_labels_label"}
    conditions = [node["Index Cond"] for node in found if node.get("Index Name") == "ix_messages_content"]
    assert [re.findall(r"session_\w*h\w*", condition) for condition in conditions] == [
        ["session_8h"],
        ["session_8h"],
        ["session_hour"],
    ]
