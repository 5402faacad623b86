"""Words are found stretch by stretch of time: never one session more or less than by reading all (8.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from app.db.conversations import messages, session_labels, sessions
from app.domain.ids import ChatId, KeyId, SessionId, TenantId, new_id, new_turn_id
from app.domain.listing import Listing, OrderBy
from app.domain.models import ChatMessage
from app.domain.sessions import Session, SessionFilter
from app.services.sessions import SessionService
from repositories import session_hours, session_search
from repositories.turn_openings import Beginning, NewTurn
from tests.chats.world import Api, World
from tests.pg import DatabaseUrls
from tests.sessions.world import add_turn, end_turn

START = datetime(2025, 1, 1, 0, 30, tzinfo=UTC)
WORD = "Wörter"


@dataclass(frozen=True)
class Row:
    """A session as it is drawn: where its word stands, and by how many hours it is older than the newest."""

    hours: int
    place: str
    name: str
    user: str
    updated: int


ROWS = st.lists(
    st.builds(
        Row,
        hours=st.one_of(st.integers(0, 20), st.integers(0, 1500)),
        place=st.sampled_from(["said", "twice", "named", "nowhere", "nowhere"]),
        name=st.sampled_from(["a", "b", "New session"]),
        user=st.sampled_from(["", "", "kim"]),
        updated=st.integers(0, 3),
    ),
    max_size=14,
)


async def add_rows(world: World, api: Api, chat: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for row in rows:
        id_, created = new_id(), START - timedelta(hours=row.hours)
        made.append(
            {
                "tenant_id": api.tenant_id,
                "id": id_,
                "kind": "chat",
                "chat_id": chat,
                "name": row.name + (f" {WORD}" if row.place == "named" else ""),
                "user_id": row.user,
                "created_at": created,
                "updated_at": created + timedelta(hours=50 * row.updated),
            }
        )
        count = {"said": 1, "twice": 2}.get(row.place, 0)
        for position in range(3):
            content = f"{position}: viele wöRTER" if position < count else "nichts"
            key = {"tenant_id": api.tenant_id, "turn_id": f"{id_}{position}", "role": "user", "session_id": id_}
            said.append(key | {"position": position, "content": content})
    if made:
        await world.sql(api, sessions.insert().values(made))
        await world.sql(api, messages.insert().values(said))
    return made


_COLUMNS: dict[OrderBy, tuple[str, ...]] = {
    "create_time": ("created_at", "id"),
    "update_time": ("updated_at", "id"),
    "name": ("name", "created_at", "id"),
}


def naive(rows: Sequence[Row], made: list[dict[str, Any]], listing: Listing, meant: SessionFilter) -> list[str]:
    """Return what a list of everything with the word is: by reading all."""
    found = [
        session
        for row, session in zip(rows, made, strict=True)
        if row.place != "nowhere"
        and meant.user_id in (None, session["user_id"])
        and (meant.created_from is None or session["created_at"] >= meant.created_from)
        and (meant.created_to is None or session["created_at"] <= meant.created_to)
    ]
    found.sort(
        key=lambda session: [session[column] for column in _COLUMNS[listing.order_by]], reverse=listing.is_descending
    )
    return [session["id"] for session in found]


@pytest.mark.promise("conversations:8.1-keywords", "conversations:P-keyset")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    others=ROWS,
    order=st.sampled_from(["create_time", "create_time", "update_time", "name"]),
    is_descending=st.booleans(),
    size=st.integers(1, 4),
    offset=st.integers(0, 6),
    dates=st.tuples(*[st.none() | st.integers(0, 1500)] * 2),
    user=st.sampled_from([None, None, "kim"]),
    keywords=st.sampled_from(["WÖRTER", "wö", "Ö"]),
    limits=st.sampled_from([(1, 0, 1), (1, 0, 30_000), (2, 3, 4), (1, 100, 1), (100, 100, 30_000)]),
)
async def test_words_are_found_as_by_reading_all(
    world: World,
    rows: list[Row],
    others: list[Row],
    order: OrderBy,
    is_descending: bool,
    size: int,
    offset: int,
    dates: tuple[int | None, int | None],
    user: str | None,
    keywords: str,
    limits: tuple[int, int, int],
) -> None:
    """Every order, by pages and from cursor to cursor, of a user, between dates, while another chat has the words."""
    api = await world.caller()
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    made = await add_rows(world, api, chat, rows)
    await add_rows(world, api, other, others)
    since, until = [None if hours is None else START - timedelta(hours=hours) for hours in dates]
    meant = SessionFilter(keywords=keywords, user_id=user, created_from=since, created_to=until)
    listing = Listing(order_by=order, is_descending=is_descending, limit=size, offset=offset)
    expected = naive(rows, made, listing, meant)

    async def page(listing: Listing, after: Any = None) -> Any:
        async with world.database.unit(TenantId(api.tenant_id)) as unit:
            return (await SessionService(unit).page(ChatId(chat), listing, meant, after=after)).page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_search, "WALKED", limits[0])
        patch.setattr(session_search, "WALKED_MOST", 2 * limits[0])
        patch.setattr(session_hours, "CANDIDATES", limits[1])
        patch.setattr(session_hours, "UNIT", limits[2])
        shown = await page(listing)
        walked: list[str] = []
        after = None
        while after is not None or not walked:
            stretch = await page(replace(listing, offset=0), after)
            walked += [session.id for session in stretch.sessions]
            after = stretch.following
            if after is None:
                break

    assert [session.id for session in shown.sessions] == expected[offset : offset + size]
    assert walked == expected
    assert shown.total == len(expected) if shown.is_total_exact else shown.total <= max(len(expected), offset)


_WRONG = text("""
    SELECT m.content FROM messages m LEFT JOIN sessions s ON s.tenant_id = m.tenant_id AND s.id = m.session_id
    WHERE m.session_hour IS DISTINCT FROM hour_of(s.created_at)
    UNION ALL
    SELECT l.label FROM session_labels l JOIN sessions s ON s.tenant_id = l.tenant_id AND s.id = l.session_id
    WHERE l.session_hour <> hour_of(s.created_at)
""")


@pytest.mark.promise("conversations:8.1-keywords")
async def test_all_that_is_said_carries_the_hour_in_which_its_session_began(api: Api, world: World) -> None:
    """Whoever wrote it: turns of old sessions, openers, told histories, copies, and a session that is dated anew."""
    chat = (await api.chat(prompt={"opener": "?"}))["id"]
    session = (await api.session(chat))["id"]
    await world.sql(api, sessions.update().values(created_at=START))
    await add_turn(world, api, chat, session)
    path = f"/chats/{chat}/sessions/{session}"
    async with world.database.unit(api.tenant_id) as unit:
        told = [ChatMessage(role="user", content="a"), ChatMessage(role="assistant", content="b")]
        assert await unit.told.replace(session, [*told, ChatMessage(role="user", content="c")])
    turn = await add_turn(world, api, chat, session)
    fork = (await api.ok("POST", f"{path}/fork", json={"message_id": turn}))["id"]
    await add_turn(world, api, chat, fork)

    assert (await world.sql(api, _WRONG)).all() == []
    hours = select(func.count(messages.c.session_hour.distinct()), func.count())
    assert (await world.sql(api, hours)).one() == (2, 14)
    await world.sql(api, sessions.update().where(sessions.c.id == fork).values(created_at=START + timedelta(hours=2)))
    assert (await world.sql(api, _WRONG)).all() == []
    assert (await world.sql(api, select(func.count()).select_from(session_labels))).scalar_one() == 2


async def test_turns_pass_the_hour_along(api: Api, world: World, fresh_database: DatabaseUrls) -> None:
    """What every turn writes costs no look-up more: without the trigger it is right all the same."""
    chat = (await api.chat())["id"]
    superuser = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    await superuser.execute("ALTER TABLE messages DISABLE TRIGGER set_session_hour")
    await superuser.close()
    now = datetime.now(UTC)
    session = Session(
        id=SessionId(new_id()),
        chat_id=ChatId(chat),
        kind="chat",
        name="n",
        user_id="",
        source=None,
        variables={},
        round=0,
        tokens=0,
        duration_s=0,
        thumb_up=0,
        created_at=now,
        updated_at=now,
    )
    beginning = Beginning(session=session, opener="?", opener_id=new_turn_id())
    first = new_turn_id()
    turn = NewTurn(
        id=first,
        session_id=session.id,
        chat_id=ChatId(chat),
        api_key_id=KeyId("k"),
        owner="p",
        route="r",
        body_hash=b"",
        request_id="",
        question="Why?",
        model="gpt-4o",
        prompt_version="1",
        created_at=now,
        beginning=beginning,
    )
    async with world.database.unit(api.tenant_id) as unit:
        await unit.turns.open(turn)
    await end_turn(world, api, first, "Because.")
    await world.sql(api, sessions.update().values(created_at=START))
    second = await add_turn(world, api, chat, session.id)

    assert (await world.sql(api, _WRONG)).all() == []
    said = await world.sql(api, select(messages.c.turn_id).order_by(messages.c.position))
    assert list(said.scalars()) == [beginning.opener_id, first, first, second, second]
