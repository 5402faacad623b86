"""Sums of days are those of the sessions, whatever happens to these and whatever is asked (conversations.md 8.3)."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from sqlalchemy import delete, select, text, update

from app.db.conversations import sessions
from app.db.stats import session_days
from app.domain.ids import ChatId, SessionId, new_id
from app.domain.stats import StatsFilter
from repositories import sessions as session_rows
from tests.chats.world import Api, World

DAY = datetime(2026, 3, 1, tzinfo=UTC)

# What 8.3 says, of the sessions themselves.
SESSIONS_SAY = text("""
    SELECT day, sum(n), count(*), sum(tokens), round(sum(duration_s)::numeric, 3), sum(rounds), sum(thumb_up) FROM (
        SELECT (s.created_at AT TIME ZONE 'UTC')::date AS day, s.user_id, count(*) AS n, sum(s.tokens) AS tokens,
            sum(s.duration_s) AS duration_s, sum(s.round) AS rounds, sum(s.thumb_up) AS thumb_up
        FROM sessions s LEFT JOIN chats c ON c.id = s.chat_id
        WHERE s.deleted_at IS NULL AND s.created_at BETWEEN :begin AND :end
          AND s.source IS NOT DISTINCT FROM :source
          AND (CAST(:chat_id AS text) IS NULL OR s.chat_id = :chat_id)
          AND (c.sessions_since IS NULL OR s.created_at > c.sessions_since)
        GROUP BY 1, 2
    ) u GROUP BY day ORDER BY day
""")


async def sessions_say(world: World, api: Api, meant: StatsFilter) -> list[tuple[Any, ...]]:
    values = {"begin": meant.begin, "end": meant.end, "source": meant.source, "chat_id": meant.chat_id}
    return [tuple(row) for row in await world.sql(api, SESSIONS_SAY.bindparams(**values))]


async def sums_say(world: World, api: Api, meant: StatsFilter) -> list[tuple[Any, ...]]:
    async with world.database.unit(api.tenant_id) as unit:
        return [
            (one.day, one.sessions, one.users, one.tokens, pytest.approx(one.duration_s, abs=0.002),
             round(one.rounds * one.sessions), one.thumb_up)
            for one in await unit.stats.days(meant)
        ]  # fmt: skip


def moment(drawn: random.Random) -> datetime:
    return DAY + timedelta(hours=drawn.randrange(5 * 24), microseconds=drawn.choice([0, 0, -1]))


class Life:
    """What happens to the sessions of two chats, drawn."""

    def __init__(self, world: World, api: Api, drawn: random.Random, chats: list[str]) -> None:
        self.world, self.api, self.drawn, self.chats = world, api, drawn, chats

    async def begin(self) -> None:
        rows = [
            {
                "tenant_id": self.api.tenant_id,
                "id": new_id(),
                "kind": "chat",
                "chat_id": self.drawn.choice(self.chats),
                "name": "x",
                "user_id": self.drawn.choice(["", "", "ada", "eve", "bob"]),
                "source": self.drawn.choice([None, None, "bot"]),
                "created_at": moment(self.drawn),
                "tokens": self.drawn.randrange(50),
            }
            for _ in range(self.drawn.randrange(1, 6))
        ]
        await self.world.sql(self.api, sessions.insert().values(rows))

    async def speak(self) -> None:
        counters = {"tokens": sessions.c.tokens + 7, "duration_s": sessions.c.duration_s + 0.25}
        more = {"round": sessions.c.round + 1, "thumb_up": sessions.c.thumb_up + 1}
        await self.world.sql(self.api, update(sessions).where(self.some()).values(**counters, **more))

    async def rename(self) -> None:
        user = self.drawn.choice(["", "ada", "mia"])
        await self.world.sql(self.api, update(sessions).where(self.some()).values(user_id=user))

    async def end(self) -> None:
        gone = {"deleted_at": DAY, "user_id": ""}
        await self.world.sql(
            self.api, update(sessions).where(self.some(), sessions.c.deleted_at.is_(None)).values(gone)
        )

    async def delete(self) -> None:
        await self.world.sql(self.api, delete(sessions).where(self.some()))

    async def delete_all(self) -> None:
        async with self.world.database.unit(self.api.tenant_id) as unit:
            await unit.sessions.delete_all(ChatId(self.drawn.choice(self.chats)))

    async def tidy(self) -> None:
        async with self.world.database.unit(self.api.tenant_id) as unit:
            await unit.sessions.remove_hidden(ChatId(self.drawn.choice(self.chats)), most=3)

    def some(self) -> Any:
        letters = self.drawn.sample("0123456789abcdef", 4)
        return text(f"substr(md5(sessions.id), 1, 1) IN ({', '.join(repr(one) for one in letters)})")

    def asked(self) -> StatsFilter:
        begin, end = sorted([moment(self.drawn), moment(self.drawn)])
        if self.drawn.random() < 0.5:
            begin = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        if self.drawn.random() < 0.5:
            end = end.replace(hour=23, minute=59, second=59, microsecond=999_999)
        chat = self.drawn.choice([None, None, *self.chats])
        return StatsFilter(begin=begin, end=end, source=self.drawn.choice([None, "bot"]), chat_id=chat)


@pytest.mark.promise("conversations:8.3-sums")
@pytest.mark.parametrize("seed", range(4))
async def test_sums_are_those_of_the_sessions(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(session_rows, "DELETED_AT_ONCE", 1)
    api, drawn = await world.caller(), random.Random(seed)  # noqa: S311 (the same each time)
    life = Life(world, api, drawn, [(await api.chat())["id"] for _ in range(2)])
    steps = [*[life.begin] * 5, *[life.speak] * 4, life.rename, life.end, life.delete, life.delete_all, life.tidy]
    for _ in range(60):
        await drawn.choice(steps)()
        for _ in range(3):
            meant = life.asked()
            assert await sums_say(world, api, meant) == await sessions_say(world, api, meant), meant
    await life.begin()  # the last step may have deleted all
    whole = StatsFilter(begin=DAY - timedelta(days=1))
    assert await sums_say(world, api, whole)
    await world.sql(api, delete(sessions))
    assert await sums_say(world, api, whole) == []
    left = (await world.sql(api, select(session_days.c.user_id).distinct())).scalars()
    assert set(left) <= {""}  # nobody's name stays


@pytest.mark.promise("conversations:8.3-sums")
async def test_sessions_that_begin_speak_and_go_at_once_are_all_counted(world: World) -> None:
    """Twenty at a time, of few users, in transactions of their own: no sum is lost, and none waits in a circle."""
    api = await world.caller()
    chat = (await api.chat())["id"]

    async def live(number: int) -> None:
        session = SessionId(new_id())
        values = {"tenant_id": api.tenant_id, "id": session, "kind": "chat", "chat_id": chat, "name": "x"}
        user = ["", "ada", "eve"][number % 3]
        await world.sql(api, sessions.insert().values(values | {"user_id": user, "created_at": DAY}))
        spoken = update(sessions).where(sessions.c.id == session).values(tokens=10, round=1)
        await world.sql(api, spoken)
        if number % 4 == 0:
            await world.sql(api, delete(sessions).where(sessions.c.id == session))

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(live, number)

    (day,) = await sums_say(world, api, StatsFilter(begin=DAY))
    assert day[1:4] == (45, 3, 450)
