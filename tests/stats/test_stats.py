"""Statistics: conversations.md 8.2 (rounds), 8.3."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from app.db.conversations import sessions
from app.db.work import usage_ledger
from app.domain.errors import Invalid
from app.domain.ids import new_id
from app.domain.models import Usage
from app.domain.principals import KeyKind
from app.domain.retrieval import ModelCall
from app.domain.stats import DayStats
from app.domain.turns import TurnState
from app.services.stats import read_stats
from app.wire.stats import stats
from tests.chats.world import Api, World
from tests.sessions.world import add_turn

NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
COUNTERS = {"round": 2, "tokens": 1500, "duration_s": 2.9, "thumb_up": 1}


async def add(world: World, api: Api, chat: str, created_at: datetime, **fields: Any) -> str:
    session = new_id()
    values = {"tenant_id": api.tenant_id, "id": session, "kind": "chat", "chat_id": chat, "name": "x"}
    await world.sql(api, sessions.insert().values(values | {"created_at": created_at} | fields))
    return session


async def told(api: Api, **query: str) -> Any:
    return await api.ok("GET", "/system/stats", params=query)


@pytest.mark.promise("conversations:8.3-numbers")
async def test_8_3_a_row_per_day_with_sums_means_and_users(api: Api, world: World, rival: Api) -> None:
    chat = (await api.chat())["id"]
    day = datetime(2026, 3, 1, tzinfo=UTC)
    await add(world, api, chat, day, user_id="a", **COUNTERS)
    await add(world, api, chat, day + timedelta(hours=23, minutes=59), user_id="a", round=1)
    await add(world, api, chat, day + timedelta(hours=5), user_id="b", tokens=500)
    await add(world, api, chat, day + timedelta(days=2), user_id="b", thumb_up=3)
    foreign = (await rival.chat())["id"]
    await add(world, rival, foreign, day, user_id="z", **COUNTERS)

    assert await told(api, from_date="2026-03-01", to_date="2026-03-05") == {
        "pv": [["2026-03-01", 3], ["2026-03-03", 1]],
        "uv": [["2026-03-01", 2], ["2026-03-03", 1]],
        "tokens": [["2026-03-01", 2.0], ["2026-03-03", 0.0]],
        "speed": [["2026-03-01", 2000 / 3.0], ["2026-03-03", 0.0]],
        "round": [["2026-03-01", 1.0], ["2026-03-03", 0.0]],
        "thumb_up": [["2026-03-01", 1], ["2026-03-03", 3]],
    }


@pytest.mark.promise("conversations:8.3-dates")
async def test_8_3_dates_are_inclusive_and_a_day_has_all_its_hours(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    day = datetime(2026, 3, 1, tzinfo=UTC)
    for moment in (day, day + timedelta(hours=12), day + timedelta(days=1) - timedelta(microseconds=1)):
        await add(world, api, chat, moment)

    async def count(from_date: str, to_date: str) -> int:
        return sum(number for _, number in (await told(api, from_date=from_date, to_date=to_date))["pv"])

    assert await count("2026-03-01", "2026-03-01") == 3
    assert await count("2026-03-01 12:00:00", "2026-03-01") == 2
    assert await count("2026-03-01", "2026-03-01 12:00:00") == 2
    assert await count("2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00") == 1
    assert await count("2026-03-02", "2026-03-09") == 0
    assert await api.refusal("GET", "/system/stats", params={"from_date": "yesterday"}) == (
        400,
        102,
        "`from_date` should be a date like 2025-01-31 or 2025-01-31 10:00:00.",
    )


@pytest.mark.promise("conversations:8.3-defaults")
def test_8_3_the_last_seven_days_where_nobody_says() -> None:
    meant = read_stats(now=NOW)
    assert (meant.begin, meant.end) == (datetime(2026, 3, 3, tzinfo=UTC), None)  # until now
    assert (meant.source, meant.chat_id, meant.agent_id) == (None, None, None)
    with pytest.raises(Invalid, match=r"`to_date` should be a date like 2025-01-31 or 2025-01-31 10:00:00\."):
        read_stats(to_date="x", now=NOW)


@pytest.mark.promise("conversations:8.3-defaults")
async def test_8_3_without_dates_the_days_are_counted_from_now(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    midnight = (datetime.now(UTC) - timedelta(days=7)).replace(hour=0, minute=0, second=0, microsecond=0)
    for moment in (midnight - timedelta(microseconds=1), midnight, midnight + timedelta(days=3)):
        await add(world, api, chat, moment)
    assert [number for _, number in (await told(api))["pv"]] == [1, 1]


@pytest.mark.promise("conversations:8.3-source")
async def test_8_3_source_assistant_and_agent_narrow_down(api: Api, world: World) -> None:
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    now = datetime.now(UTC)
    await add(world, api, chat, now)
    await add(world, api, chat, now, source="bot")
    await add(world, api, other, now)
    await add(world, api, other, now, source="agent", kind="agent")
    today = now.strftime("%Y-%m-%d")

    async def count(**query: str) -> int:
        return sum(number for _, number in (await told(api, from_date=today, **query))["pv"])

    assert await count() == 2
    assert await count(chat_id=chat) == 1
    assert await count(chat_id="unknown") == 0
    assert await count(source="bot") == 1
    assert await count(source="agent") == 1
    assert await count(canvas_id=other) == 1
    assert await count(canvas_id="unknown") == 0


@pytest.mark.promise("conversations:8.3-routes")
@pytest.mark.promise("conversations:8.3-dt")
async def test_8_3_both_routes_and_the_date_of_each_dialect(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    await add(world, api, chat, datetime(2026, 3, 1, 5, tzinfo=UTC))
    query = {"from_date": "2026-03-01", "to_date": "2026-03-01"}
    headers = {"Authorization": f"Bearer {api.key}"}

    old = await api.client.get("/v1/api/stats", params=query, headers=headers)

    assert old.json() == {"code": 0, "data": await told(api, **query)}
    assert old.json()["data"]["pv"] == [["2026-03-01", 1]]
    day = DayStats(day=date(2026, 3, 1), sessions=1, users=1, tokens=0, duration_s=0.0, rounds=0.0, thumb_up=0)
    spelled = stats([day], is_compat22=True)
    assert {name: [dt for dt, _ in rows] for name, rows in spelled.items()} == {
        name: ["Sun, 01 Mar 2026 00:00:00 GMT"] for name in ("pv", "uv", "tokens", "speed", "round", "thumb_up")
    }
    page = await world.caller(kind=KeyKind.EMBED)
    for path in ("/v1/api/stats", "/api/v1/system/stats"):
        assert (await api.client.get(path, params=query)).status_code == 401
        refused = await api.client.get(path, params=query, headers={"Authorization": f"Bearer {page.key}"})
        assert refused.status_code == 403


@pytest.mark.promise("conversations:8.2-rounds")
async def test_8_2_only_completed_turns_are_rounds(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    session = (await api.session(chat))["id"]
    for state in (TurnState.DONE, TurnState.FAILED, TurnState.STOPPED, TurnState.DONE, TurnState.RUNNING):
        await add_turn(world, api, chat, session, state=state)

    assert (await world.sql(api, sessions.select())).one().round == 2
    assert (await told(api))["round"][0][1] == 2.0


CALLS = st.lists(
    st.builds(
        ModelCall,
        kind=st.sampled_from(["chat", "embedding", "rerank"]),
        purpose=st.sampled_from(["answer", "refine", "query"]),
        model=st.just("m"),
        provider=st.just("p"),
        usage=st.builds(Usage, prompt_tokens=st.integers(0, 5000), completion_tokens=st.integers(0, 5000)),
        duration_ms=st.floats(0, 10_000),
    ),
    max_size=4,
)
TURNS = st.lists(st.tuples(st.sampled_from([TurnState.DONE, TurnState.FAILED, TurnState.STOPPED]), CALLS), max_size=5)


@pytest.mark.promise("conversations:8.3-ledger")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations=st.lists(TURNS, min_size=1, max_size=3), seconds=st.floats(0, 60))
async def test_8_3_tokens_are_the_sums_of_the_ledger(
    world: World, conversations: list[list[tuple[TurnState, list[ModelCall]]]], seconds: float
) -> None:
    api = await world.caller()
    chat = (await api.chat())["id"]
    done = 0
    for turns in conversations:
        session = (await api.session(chat))["id"]
        for state, calls in turns:
            await add_turn(world, api, chat, session, state=state, calls=tuple(calls), duration_s=seconds)
            done += state is TurnState.DONE

    spent = func.coalesce(func.sum(usage_ledger.c.prompt_tokens + usage_ledger.c.completion_tokens), 0)
    ledger = (await world.sql(api, select(usage_ledger.c.session_id, spent).group_by(usage_ledger.c.session_id))).all()
    counted = (await world.sql(api, select(sessions.c.id, sessions.c.tokens).where(sessions.c.tokens > 0))).all()
    assert {(row[0], row[1]) for row in ledger if row[1]} == {(row[0], row[1]) for row in counted}
    shown = await told(api)
    count = len(conversations)
    turns_in_all = sum(len(turns) for turns in conversations)
    assert shown["pv"][0][1] == count
    assert shown["tokens"][0][1] == pytest.approx(sum(row[1] for row in ledger) / 1000)
    assert shown["round"][0][1] == pytest.approx(done / count)
    expected_speed = sum(row[1] for row in ledger) / (seconds * turns_in_all + 0.1)
    assert shown["speed"][0][1] == pytest.approx(expected_speed)
