"""Listing sessions: conversations.md 3.3, 3.4, and the filters of 8.1."""

from datetime import UTC, datetime, timedelta

import pytest

from app.db.conversations import sessions
from tests.chats.world import Api, World, backdate, invalid, missing
from tests.sessions.rows import add_rows
from tests.sessions.test_sessions import CHUNK_7
from tests.sessions.world import add_turn, reference

PAGING = invalid("page and page_size must be non-negative integers")


async def three(api: Api, world: World) -> tuple[str, list[str]]:
    """A chat with sessions a, B, c, a day apart, the oldest first; a and B are of one user, a was written to last."""
    chat = (await api.chat())["id"]
    ids: list[str] = []
    for day, name in enumerate(("a", "B", "c")):
        session = await api.session(chat, name=name, user_id="u" if day < 2 else "")
        await backdate(world, api, sessions, session["id"], datetime(2025, 1, 1, 12, tzinfo=UTC) + timedelta(days=day))
        ids.append(session["id"])
    for day, session_id in enumerate((ids[1], ids[2], ids[0])):
        moment = datetime(2025, 2, 1 + day, tzinfo=UTC)
        await world.sql(api, sessions.update().where(sessions.c.id == session_id).values(updated_at=moment))
    return chat, ids


@pytest.mark.promise("conversations:3.3-list", "conversations:3.4-chunks")
async def test_3_3_the_list_shows_sessions_with_their_messages(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    session = await api.session(chat)
    found = (reference(0, similarity=0.5), reference(1))
    turn = await add_turn(world, api, chat, session["id"], references=found, cited=(1,))

    answer = await api.raw("GET", f"/chats/{chat}/sessions")

    (shown,) = answer.json()["data"]
    opener, question, told = shown.pop("messages")
    assert opener == session["messages"][0] | {"reference": []}
    assert question == {"id": turn, "role": "user", "content": "Why?", "created_at": question["created_at"]}
    assert (told["id"], told["reference"][0], len(told["reference"])) == (turn, CHUNK_7, 2)
    assert shown == {
        **{key: value for key, value in session.items() if key != "messages"},
        "update_time": shown["update_time"],
        "update_date": shown["update_date"],
    }
    assert answer.headers["X-Total-Count"] == "1"


QUERIES: list[tuple[dict[str, str], str]] = [
    ({}, "cBa"),
    ({"desc": "False"}, "aBc"),
    ({"desc": "no"}, "cBa"),
    ({"orderby": ""}, "cBa"),
    ({"orderby": "create_time", "desc": "false"}, "aBc"),
    ({"orderby": "update_time"}, "acB"),
    ({"orderby": "update_time", "desc": "false"}, "Bca"),
    ({"orderby": "name"}, "caB"),
    ({"orderby": "name", "desc": "false"}, "Bac"),
    ({"page": "0", "page_size": "2"}, "cB"),
    ({"page": "2", "page_size": "2"}, "a"),
    ({"page": "9" * 40}, ""),
    ({"page_size": "0"}, ""),
    ({"id": "", "name": "", "user_id": ""}, "cBa"),
    ({"name": "a"}, "a"),
    ({"name": "A"}, ""),
    ({"user_id": "u"}, "Ba"),
    ({"user_id": "u", "name": "B"}, "B"),
    ({"user_id": "u", "name": "c"}, ""),
    ({"id": "unknown"}, ""),
    ({"id": "\x00"}, ""),
    ({"name": "\x00", "user_id": "\x00"}, ""),
    ({"keywords": "YOUR ASSISTANT"}, "cBa"),
    ({"keywords": "%"}, ""),
    ({"from_date": "2025-01-02"}, "cB"),
    ({"to_date": "2025-01-02"}, "Ba"),
    ({"from_date": "2025-01-02 12:00:01"}, "c"),
    ({"to_date": "2025-01-02 11:59:59"}, "a"),
    ({"from_date": "2025-01-02T12:00:00Z", "to_date": "2025-01-02T12:00:00Z"}, "B"),
    ({"what": "ever"}, "cBa"),
]


@pytest.mark.promise("conversations:3.3-query", "conversations:8.1-dates", "conversations:8.1-keywords")
@pytest.mark.parametrize("messages", ["true", "false"])
async def test_3_3_query(api: Api, world: World, messages: str) -> None:
    chat, _ = await three(api, world)
    for query, expected in QUERIES:
        answer = await api.raw("GET", f"/chats/{chat}/sessions", params=query | {"messages": messages})
        assert answer.status_code == 200, query
        shown = answer.json()["data"]
        assert "".join(session["name"] for session in shown) == expected, query
        assert all(("messages" in session) is (messages == "true") for session in shown)


@pytest.mark.promise("conversations:3.3-query")
async def test_3_3_a_page_has_thirty_sessions_unless_asked_otherwise(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    ids = await add_rows(world, api, chat, 31)
    path = f"/chats/{chat}/sessions"

    assert [each["id"] for each in await api.ok("GET", path)] == ids[:0:-1]
    assert [each["id"] for each in await api.ok("GET", path, params={"page": "2"})] == ids[:1]


@pytest.mark.promise("conversations:3.3-query")
async def test_3_3_an_id_is_compared_exactly(api: Api, world: World) -> None:
    chat, (a, b, _) = await three(api, world)

    assert [each["id"] for each in await api.ok("GET", f"/chats/{chat}/sessions", params={"id": a})] == [a]
    assert await api.ok("GET", f"/chats/{chat}/sessions", params={"id": b, "name": "a"}) == []


@pytest.mark.promise("conversations:3.3-paging-refusals")
async def test_3_3_refused_queries(api: Api) -> None:
    chat = (await api.chat())["id"]
    refusals: list[tuple[dict[str, str], tuple[int, int, str]]] = [
        ({"page": "-1"}, PAGING),
        ({"page": "x"}, PAGING),
        ({"page_size": "x"}, PAGING),
        ({"page_size": "-1"}, PAGING),
        ({"orderby": "user_id"}, invalid("orderby should be create_time or update_time")),
        ({"to_date": "soon"}, invalid("`to_date` should be a date like 2025-01-31 or 2025-01-31 10:00:00.")),
    ]
    for query, refusal in refusals:
        assert await api.refusal("GET", f"/chats/{chat}/sessions", params=query) == refusal


@pytest.mark.promise("conversations:3.3-list")
async def test_3_3_not_owned(api: Api, rival: Api) -> None:
    chat = (await rival.chat())["id"]

    for chat_id in (chat, "unknown"):
        told = await api.refusal("GET", f"/chats/{chat_id}/sessions")
        assert told == missing(f"You don't own the assistant {chat_id}.")


@pytest.mark.promise("conversations:3.3-list")
async def test_3_3_sessions_of_another_chat_are_not_among_them(api: Api, world: World) -> None:
    chat, _ = await three(api, world)
    other = (await api.chat())["id"]

    assert await api.ok("GET", f"/chats/{other}/sessions") == []
    assert len(await api.ok("GET", f"/chats/{chat}/sessions")) == 3


def of_lists(statements: list[str]) -> list[str]:
    """Leave out what looks up the key, which is remembered for a second."""
    return [statement for statement in statements if "api_keys" not in statement]


async def test_filters_counts_and_pages_never_read_messages(api: Api, world: World) -> None:
    chat, ids = await three(api, world)
    for session_id in ids:
        await add_turn(world, api, chat, session_id, references=(reference(0),))
    query = {"name": "a", "user_id": "u", "id": ids[0], "page_size": "1", "from_date": "2025-01-01"}

    with world.recorded() as with_messages:
        await api.ok("GET", f"/chats/{chat}/sessions", params=query)
    with world.recorded() as all_of_them:
        await api.ok("GET", f"/chats/{chat}/sessions")
    with world.recorded() as without:
        await api.ok("GET", f"/chats/{chat}/sessions", params={**query, "messages": "false"})

    with_messages, all_of_them, without = map(of_lists, (with_messages, all_of_them, without))
    assert len(with_messages) == 5  # chat with its count, page, messages, references, documents that are still there
    assert len(all_of_them) == 5  # a page that is not full tells the count
    assert [" messages" in statement for statement in with_messages] == [False, False, True, False, False]
    assert len(without) == 2
    assert not any(" messages" in statement for statement in without)


@pytest.mark.promise("conversations:8.1-keywords")
async def test_8_1_keywords_are_looked_for_in_messages_ids_and_names(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    by_text, by_name, other = [await api.session(chat, name=name) for name in ("x", "Größe & more", "y")]
    await add_turn(world, api, chat, by_text["id"], question="Which GRÖSSE, größe?")

    async def found(keywords: str) -> list[str]:
        query = {"keywords": keywords, "desc": "false"}
        return [each["id"] for each in await api.ok("GET", f"/chats/{chat}/sessions", params=query)]

    assert await found("GRÖßE") == [by_text["id"], by_name["id"]]
    assert await found(other["id"][2:].upper()) == [other["id"]]


async def test_a_page_without_sessions_reads_no_messages(api: Api, world: World) -> None:
    chat, _ = await three(api, world)

    with world.recorded() as statements:
        await api.ok("GET", f"/chats/{chat}/sessions", params={"page": "9"})

    assert len(of_lists(statements)) == 2
