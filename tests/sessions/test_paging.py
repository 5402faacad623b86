"""Pages from a cursor on, the last pages, and how many sessions there are (conversations.md 3.3, 8.1)."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db.conversations import chats, messages, sessions
from app.domain.ids import TenantId
from app.domain.listing import Listing, OrderBy
from app.domain.sessions import SessionFilter
from app.services import session_cursors
from app.services.sessions import SessionService
from repositories import session_hours, session_lists, session_search
from tests.chats.world import Api, World
from tests.sessions.rows import START, add_rows, total


@pytest.mark.promise("conversations:P-keyset")
@pytest.mark.parametrize("order", ["create_time", "update_time", "name"])
@pytest.mark.parametrize("desc", ["true", "false"])
async def test_a_list_is_walked_from_cursor_to_cursor(api: Api, world: World, order: str, desc: str) -> None:
    chat = (await api.chat())["id"]
    ids = await add_rows(world, api, chat, 11)
    query = {"orderby": order, "desc": desc}
    keys: dict[str, Callable[[int], Any]] = {
        "create_time": lambda number: number,
        "update_time": lambda number: (number // 2, ids[number]),
        "name": lambda number: (number % 3, number),
    }
    expected = [ids[number] for number in sorted(range(11), key=keys[order], reverse=desc == "true")]
    whole = [one["id"] for one in await api.ok("GET", f"/chats/{chat}/sessions", params=query)]
    assert whole == expected

    walked: list[str] = []
    cursor, answers = "", 0
    while cursor or not walked:
        asked = {**query, "page_size": "4", "after": cursor}
        answer = await api.raw("GET", f"/chats/{chat}/sessions", params=asked)
        walked += [one["id"] for one in answer.json()["data"]]
        assert answer.headers["X-Total-Count"] == "11"
        cursor, answers = answer.headers.get("X-Next-Cursor", ""), answers + 1

    assert walked == expected
    assert answers == 3


def forge(moment: str) -> str:
    """Return a cursor of a list by creation time, of a moment that no session was created at."""
    told = json.dumps(["create_time", True, moment, moment, "a" * 32])
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


@pytest.mark.promise("conversations:P-keyset")
async def test_cursors_that_are_none(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    await add_rows(world, api, chat, 3)
    path = f"/chats/{chat}/sessions"
    cursor = (await api.raw("GET", path, params={"page_size": "1"})).headers["X-Next-Cursor"]

    forged = [forge(moment) for moment in ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00+14:00", "2026-01-01T00:00")]

    for wrong in ("x", "%%%", "ü", "W10", "bnVsbA", cursor[:-3], cursor + "AAAA", "A" * 5000, *forged):
        told = await api.refusal("GET", path, params={"after": wrong})
        assert told == (400, 102, "`after` is no cursor of a list of sessions."), wrong
    for other in ({"orderby": "name"}, {"desc": "false"}, {"orderby": "update_time"}):
        told = await api.refusal("GET", path, params={"after": cursor, **other})
        assert told == (400, 102, "`after` belongs to a list of another order.")


@pytest.mark.promise("conversations:P-keyset-stable")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.sampled_from(["create_time", "update_time", "name"]),
    is_descending=st.booleans(),
    size=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=6),
)
async def test_nothing_that_stays_is_skipped_or_repeated_while_sessions_come_and_go(
    world: World, order: OrderBy, is_descending: bool, size: int, steps: list[tuple[int, int]]
) -> None:
    """Before each page some sessions are added, at random places, and some of those deleted."""
    api = await world.caller()
    chat = (await api.chat())["id"]
    lasting = set(await add_rows(world, api, chat, 9))
    listing = Listing(order_by=order, is_descending=is_descending, limit=size)
    seen: list[str] = []
    passing: list[str] = []
    after = None
    while True:
        added, removed = steps.pop() if steps else (0, 0)
        if added:
            passing += await add_rows(world, api, chat, added)
        gone = [passing.pop() for _ in range(min(removed, len(passing)))]
        await world.sql(api, sessions.delete().where(sessions.c.id.in_(gone)))
        async with world.database.unit(TenantId(api.tenant_id)) as unit:
            shown = await SessionService(unit).page(chat, listing, SessionFilter(), after=after, has_messages=False)
        seen += [session.id for session in shown.page.sessions]
        if shown.page.following is None:
            break
        after = session_cursors.read_cursor(session_cursors.write_cursor(shown.page.following), listing)
        assert after == shown.page.following

    assert len(seen) == len(set(seen))
    assert lasting <= set(seen)


@pytest.mark.promise("conversations:P-last-page")
async def test_the_last_pages_of_a_long_list_are_read_from_its_end(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_lists, "_FAR", 10)
    chat = (await api.chat())["id"]
    await add_rows(world, api, chat, 25)
    whole = [one["id"] for one in await api.ok("GET", f"/chats/{chat}/sessions")]

    for page in range(1, 8):
        with world.recorded() as statements:
            answer = await api.raw("GET", f"/chats/{chat}/sessions", params={"page": str(page), "page_size": "4"})
        shown = [one["id"] for one in answer.json()["data"]]
        assert shown == whole[4 * page - 4 : 4 * page]
        assert ("X-Next-Cursor" in answer.headers) is (page < 7)
        is_backwards = any("created_at ASC" in statement for statement in statements)
        assert is_backwards is (page > 4)
    assert await api.ok("GET", f"/chats/{chat}/sessions", params={"page": "8", "page_size": "4"}) == []


@pytest.mark.promise("conversations:P-total")
async def test_what_a_filter_leaves_is_counted_up_to_a_bound(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session_lists.COUNTED == 10_000
    monkeypatch.setattr(session_lists, "COUNTED", 5)
    chat = (await api.chat())["id"]
    await add_rows(world, api, chat, 5, user_id="few")
    await add_rows(world, api, chat, 6, user_id="many")

    async def told(**query: str) -> tuple[str, str | None]:
        answer = await api.raw("GET", f"/chats/{chat}/sessions", params={"page_size": "2", **query})
        return answer.headers["X-Total-Count"], answer.headers.get("X-Total-Relation")

    assert await told() == ("11", None)
    assert await told(user_id="few") == ("5", None)
    assert await told(user_id="many") == ("5", "gte")
    assert await told(user_id="many", page_size="30") == ("6", None)
    assert await told(user_id="nobody") == ("0", None)


@pytest.mark.promise("conversations:P-counts")
async def test_sessions_are_counted_whoever_writes_them(api: Api, world: World, rival: Api) -> None:
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    foreign = (await rival.chat())["id"]
    await asyncio.gather(*(api.session(chat) for _ in range(12)), rival.session(foreign))
    ids = await add_rows(world, api, chat, 5)
    await add_rows(world, api, other, 2)
    assert await total(world, api, chat) == (17, 17)

    await asyncio.gather(
        api.ok("DELETE", f"/chats/{chat}/sessions", json={"ids": ids[:2]}),
        api.session(chat),
        world.sql(api, sessions.delete().where(sessions.c.id == ids[2])),
    )
    assert await total(world, api, chat) == (15, 15)
    await world.sql(api, sessions.update().where(sessions.c.id == ids[3]).values(deleted_at=START))
    assert await total(world, api, chat) == (14, 15)
    await world.sql(api, sessions.delete().where(sessions.c.id == ids[3]))
    assert await total(world, api, chat) == (14, 14)
    assert await total(world, api, other) == (2, 2)
    assert await total(world, rival, foreign) == (1, 1)
    await world.sql(api, chats.delete().where(chats.c.id == chat))  # and so all that belongs to it
    assert await total(world, api, chat) == (0, 0)


@pytest.mark.promise("conversations:8.1-keywords")
@pytest.mark.parametrize(("walked", "candidates"), [(1000, 1000), (3, 1000), (3, 2)])
async def test_words_are_found_whichever_way_they_are_looked_for(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch, walked: int, candidates: int
) -> None:
    """Among the first of the list, by the indexes, and by the indexes where they name too many to hand over."""
    monkeypatch.setattr(session_search, "WALKED", walked)
    monkeypatch.setattr(session_hours, "CANDIDATES", candidates)
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    ids = await add_rows(world, api, chat, 8)
    foreign = await add_rows(world, api, other, 1)
    await world.sql(api, sessions.update().where(sessions.c.id == ids[1]).values(name="Mein Wörterbuch"))
    for number, one in enumerate([*ids[2:5], *foreign]):
        content = f"{number}: so viele WÖRTER, 100% _klar_"
        values = {"tenant_id": api.tenant_id, "turn_id": one, "role": "user", "session_id": one, "position": 0}
        await world.sql(api, messages.insert().values(values | {"content": content}))

    async def found(keywords: str, **query: str) -> list[int]:
        asked = {"keywords": keywords, **query}
        return [ids.index(one["id"]) for one in await api.ok("GET", f"/chats/{chat}/sessions", params=asked)]

    assert await found("wörter") == [4, 3, 2, 1]
    assert await found("wörter", desc="false", page_size="2", page="2") == [3, 4]
    assert await found("viele wörter", orderby="name") == [2, 4, 3]
    assert await found("100%") == [4, 3, 2]
    assert await found("10%") == await found("1___") == await found("\\") == []
    assert await found(ids[6][8:20].upper()) == [6]
    assert await found("viele", user_id="nobody") == []
    first = await api.raw("GET", f"/chats/{chat}/sessions", params={"keywords": "wörter", "page_size": "3"})
    cursor = first.headers["X-Next-Cursor"]
    assert await found("wörter", after=cursor) == [1]
    assert int(first.headers["X-Total-Count"]) == 4 or first.headers["X-Total-Relation"] == "gte"
