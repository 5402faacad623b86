"""How fast lists of sessions and long sessions are at a million sessions and 100,000 messages; see docs/sessions.md.

Each operation is what a route does once the key is known: a transaction of its own behind the tenant wall, the answer
made and encoded. HTTP and the check of the key are not in the figures: `bench/overhead` has those.
"""

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from app.db.engine import create_engine
from app.domain.listing import Listing
from app.domain.sessions import Position, SessionCursor, SessionFilter
from app.services.session_turns import SessionTurnService
from app.services.sessions import SessionService
from app.services.stats import StatsService, read_stats
from app.wire import sessions as wire
from app.wire.stats import stats
from bench import session_rows, shelf
from bench.figures import Goal, Report, quantile
from bench.machine import Cores, machine
from bench.session_rows import CHAT, LONG, LONG_CHAT, MEDIUM, OLD, RARE, TENANT, Plan
from repositories.unit_of_work import Database

NAME = "sessions"
FULL, SHORT, TINY = session_rows.FULL, session_rows.SHORT, session_rows.TINY

_WITHOUT_GOAL = ("statistics", "keywords, in the oldest fifth, by update time")
_SLOW = "keywords"
_WARM = 5
_LONG_MS, _ROUNDS_OF_LONG = 500, 30  # what takes so long is asked less often

Operation = Callable[[int], Awaitable[object]]


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Load where that was not done yet, and measure. The rows are kept: the folder's name tells how many."""
    del cores  # one process asks, one connection at a time
    folder = Path(data_parent or tempfile.gettempdir()) / f"parley-bench-sessions-{plan.sessions}"
    if not (folder / "loaded").exists():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with shelf.shelf(folder / "data") as urls:
        if not (folder / "loaded").exists():
            asyncio.run(_load(urls, plan))
            (folder / "loaded").touch()
        shelf.warm(folder / "data")
        return asyncio.run(_measure(urls, plan))


async def _load(urls: shelf.Shelf, plan: Plan) -> None:
    connection = await shelf.superuser(urls)
    await session_rows.fill(connection, plan)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _measure(urls: shelf.Shelf, plan: Plan) -> Report:
    settings = {"sessions": plan.sessions, "messages_of_long_session": plan.messages, "rounds": plan.rounds}
    report = Report(name=NAME, machine=machine(), settings=settings)
    database = Database(create_engine(urls.app_url, pool_size=2))
    try:
        for name, operation in (await _operations(database, plan)).items():
            warm = [await _timed(operation, number) for number in range(min(_WARM, plan.rounds))]
            rounds = plan.rounds if min(warm) < _LONG_MS else min(plan.rounds, _ROUNDS_OF_LONG)
            times = [await _timed(operation, number) for number in range(rounds)]
            for share, word in ((0.5, "p50"), (0.99, "p99")):
                report.add(f"{name}, {word}", quantile(times, share), "ms", samples=len(times))
            if not name.startswith(_WITHOUT_GOAL):
                most = 150 if name.startswith(_SLOW) else 10
                report.goals.append(Goal(figure=f"{name}, p99", at_most=most, source="issue 4"))
    finally:
        await database.close()
    report.notes.append("no HTTP and no key in these figures: a route's own work, one at a time")
    return report


async def _operations(database: Database, plan: Plan) -> Mapping[str, Operation]:
    asked = _Asked(database)
    async with database.unit(TENANT) as unit:
        deep = Listing(offset=plan.sessions // 2)
        middle = (await SessionService(unit).page(CHAT, deep, SessionFilter(), has_messages=False)).page.following
    return {
        **_lists(asked, plan, middle),
        "last messages of a long session": asked.messages(lambda _: Position(limit=100)),
        "earlier messages of a long session": asked.messages(
            lambda number: Position(before=number * 997 % plan.messages, limit=100)
        ),
        **_words(asked),
        "statistics of a week": asked.week,
    }


def _lists(asked: "_Asked", plan: Plan, middle: SessionCursor | None) -> dict[str, Operation]:
    now = datetime.now(UTC)
    day = now - timedelta(seconds=plan.sessions // 2)
    half = SessionFilter(created_from=day, created_to=now, user_id="user7")
    hour = SessionFilter(created_from=day, created_to=day + timedelta(hours=1))

    def of_user(number: int) -> SessionFilter:
        return SessionFilter(user_id=f"user{number % session_rows.USERS}")

    return {
        "first page": asked.listed(),
        "first page without messages": asked.listed(bare=True),
        "last page": asked.listed(listing=Listing(offset=(plan.sessions - 1) // 30 * 30)),
        "first page by name": asked.listed(listing=Listing(order_by="name", is_descending=False)),
        "first page by update time": asked.listed(listing=Listing(order_by="update_time")),
        "page after a cursor in the middle": asked.listed(after=middle),
        "sessions of a user": asked.listed(of_user),
        "sessions of a frequent name": asked.listed(lambda _: SessionFilter(name="New session")),
        "sessions of one hour": asked.listed(lambda _: hour),
        "sessions of a user in half of the time, by name": asked.listed(
            lambda _: half, listing=Listing(order_by="name")
        ),
    }


def _words(asked: "_Asked") -> dict[str, Operation]:
    def words(keywords: str, listing: Listing | None = None) -> Operation:
        return asked.listed(lambda _: SessionFilter(keywords=keywords), listing=listing)

    return {
        "keywords, rare": words(RARE[:-1]),
        "keywords, in one of a hundred": words(MEDIUM),
        "keywords, in the oldest fifth": words(OLD),
        "keywords, in the oldest fifth, by update time": words(OLD, Listing(order_by="update_time")),
        "keywords, frequent": words(session_rows.frequent_word()),
        "keywords, nowhere": words("zzyzxq"),
        "keywords, part of an id": asked.listed(lambda number: SessionFilter(keywords=_id_part(number))),
    }


class _Asked:
    """What routes do for the tenant of the bench, down to the bytes of their answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(
        self,
        meant: Callable[[int], SessionFilter] | None = None,
        *,
        listing: Listing | None = None,
        after: SessionCursor | None = None,
        bare: bool = False,
    ) -> Operation:
        async def operation(number: int) -> object:
            chosen = meant(number) if meant is not None else SessionFilter()
            async with self._database.unit(TENANT) as unit:
                shown = await SessionService(unit).page(
                    CHAT, listing or Listing(), chosen, after=after, has_messages=not bare
                )
            return orjson.dumps([wire.listed_session(view.session, view.said) for view in shown.views])

        return operation

    def messages(self, where: Callable[[int], Position]) -> Operation:
        async def operation(number: int) -> object:
            async with self._database.unit(TENANT) as unit:
                stretch = await SessionTurnService(unit).stretch(LONG_CHAT, LONG, where(number))
                return orjson.dumps(wire.message_stretch(stretch))

        return operation

    async def week(self, _: int) -> object:
        async with self._database.unit(TENANT) as unit:
            days = await StatsService(unit).days(read_stats(now=datetime.now(UTC)))
            return stats(days, is_compat22=False)


def _id_part(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()[4:20]


async def _timed(operation: Operation, number: int) -> float:
    started = time.perf_counter()
    await operation(number)
    return (time.perf_counter() - started) * 1000
