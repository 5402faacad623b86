"""Single turns: deleted, voted on, forked from, read in stretches, exported (conversations.md 8.4)."""

import asyncio
from typing import Any

import pytest

from app.db.conversations import message_references, messages, sessions, turns
from app.db.work import usage_ledger
from app.domain.turns import TurnState
from tests.chats.world import Api, World, invalid, missing
from tests.sessions.world import add_turn, end_turn, reference

BUSY = invalid("Another answer is being generated for this session.")


async def opened(api: Api, **fields: Any) -> tuple[str, str, str]:
    """A chat, a session of it, and the path of that session."""
    chat = (await api.chat())["id"]
    session = (await api.session(chat, **fields))["id"]
    return chat, session, f"/chats/{chat}/sessions/{session}"


@pytest.mark.promise("conversations:8.4-delete-turn")
async def test_8_4_a_turn_goes_with_question_answer_and_references(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    first = await add_turn(world, api, chat, session, references=(reference(0),), cited=(0,))
    second = await add_turn(world, api, chat, session, question="And?", references=(reference(1),))

    shown = await api.ok("DELETE", f"{path}/messages/{first}")

    assert [one["id"] for one in shown["messages"][1:]] == [second, second]
    assert shown == await api.ok("GET", path)
    assert {row.turn_id for row in await world.sql(api, message_references.select())} == {second}
    assert [row.id for row in await world.sql(api, turns.select())] == [second]
    third = await add_turn(world, api, chat, session)
    assert [one["id"] for one in (await api.ok("GET", path))["messages"]][-2:] == [third, third]


@pytest.mark.promise("conversations:8.4-delete-unknown")
async def test_8_4_what_cannot_be_deleted(api: Api, world: World, rival: Api) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    (opener,) = (await world.sql(api, messages.select().where(messages.c.position == 0))).all()
    other = (await api.chat())["id"]

    for message in ("unknown", "%00"):
        assert await api.refusal("DELETE", f"{path}/messages/{message}") == missing("Message not found!")
    assert await rival.refusal("DELETE", f"{path}/messages/{turn}") == missing("Session not found!")
    for wrong in (f"/chats/{chat}/sessions/x", f"/chats/x/sessions/{session}"):
        assert await api.refusal("DELETE", f"{wrong}/messages/{turn}") == missing("Session not found!")
    told = await api.refusal("DELETE", f"/chats/{other}/sessions/{session}/messages/{turn}")
    assert told == missing("Session does not belong to this chat!")
    told = await api.refusal("DELETE", f"{path}/messages/{opener.turn_id}")
    assert told == invalid("The opener cannot be deleted.")
    assert len((await api.ok("GET", path))["messages"]) == 3


@pytest.mark.promise("conversations:8.4-delete-unanswered")
async def test_8_4_a_turn_without_an_answer_can_be_deleted_but_not_while_it_runs(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session, state=TurnState.RUNNING)

    assert await api.refusal("DELETE", f"{path}/messages/{turn}") == BUSY
    await world.sql(api, turns.update().values(state="failed"))  # an answer that was never stored
    shown = await api.ok("DELETE", f"{path}/messages/{turn}")

    assert [one["role"] for one in shown["messages"]] == ["assistant"]


@pytest.mark.promise("conversations:8.4-delete-turn")
async def test_8_4_a_turn_can_be_deleted_while_a_later_one_runs(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    first = await add_turn(world, api, chat, session)
    running = await add_turn(world, api, chat, session, question="Now?", state=TurnState.RUNNING)

    shown = await api.ok("DELETE", f"{path}/messages/{first}")
    assert [one["content"] for one in shown["messages"]][1:] == ["Now?"]
    assert await end_turn(world, api, running, "Now.")
    last = await add_turn(world, api, chat, session, question="And?")

    told = (await api.ok("GET", f"{path}/messages"))["messages"]
    assert [(one["id"], one["position"]) for one in told[1:]] == [(running, 3), (running, 4), (last, 5), (last, 6)]


@pytest.mark.promise("conversations:8.4-vote")
async def test_8_4_a_vote_is_stored_on_the_answer(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    feedback = f"{path}/messages/{turn}/feedback"

    async def vote(**sent: Any) -> tuple[Any, Any, int]:
        shown = await api.ok("PUT", feedback, json=sent)
        assert shown == await api.ok("GET", path)
        question, answer = shown["messages"][1:]
        assert "thumbup" not in question
        row = (await world.sql(api, sessions.select())).one()
        return answer.get("thumbup"), answer.get("feedback"), row.thumb_up

    assert await vote(thumbup=True, feedback="ignored") == (True, None, 1)
    assert await vote(thumbup=True) == (True, None, 1)
    assert await vote(thumbup=False, feedback="too long") == (False, "too long", 0)
    assert await vote(thumbup=False, feedback="") == (False, "too long", 0)
    assert await vote(thumbup=True) == (True, None, 1)
    await api.ok("DELETE", f"{path}/messages/{turn}")
    assert (await world.sql(api, sessions.select())).one().thumb_up == 0


@pytest.mark.promise("conversations:8.4-vote-refusals")
async def test_8_4_votes_that_cannot_be(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    running = await add_turn(world, api, chat, session, state=TurnState.RUNNING)

    votes: list[Any] = [None, 1, "true", [], {}]
    for value in votes:
        told = await api.refusal("PUT", f"{path}/messages/{turn}/feedback", json={"thumbup": value})
        assert told == invalid("thumbup must be a boolean")
    told = await api.refusal("PUT", f"{path}/messages/{turn}/feedback")
    assert told == invalid("thumbup must be a boolean")
    told = await api.refusal("PUT", f"{path}/messages/{turn}/feedback", json={"thumbup": False, "feedback": 5})
    assert told == invalid("`feedback` must be a string.")
    for message in ("unknown", running):
        told = await api.refusal("PUT", f"{path}/messages/{message}/feedback", json={"thumbup": True})
        assert told == missing("Message not found!")


@pytest.mark.promise("conversations:8.4-thumb-up")
async def test_8_4_thumb_up_is_the_number_of_true_votes_whoever_votes_at_once(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    ids = [await add_turn(world, api, chat, session) for _ in range(4)]

    async def vote(turn: str, thumbup: bool) -> None:
        await api.ok("PUT", f"{path}/messages/{turn}/feedback", json={"thumbup": thumbup})

    votes = [(ids[number % 4], number % 3 == 0) for number in range(24)]
    await asyncio.gather(*(vote(turn, thumbup) for turn, thumbup in votes))

    stored = (await world.sql(api, messages.select().where(messages.c.thumbup.is_(True)))).all()
    assert (await world.sql(api, sessions.select())).one().thumb_up == len(stored)
    await asyncio.gather(*(vote(turn, True) for turn in ids))
    assert (await world.sql(api, sessions.select())).one().thumb_up == 4
    await asyncio.gather(vote(ids[0], False), vote(ids[1], False), vote(ids[2], True))
    assert (await world.sql(api, sessions.select())).one().thumb_up == 2


@pytest.mark.promise("conversations:8.4-aliases")
async def test_8_4_the_routes_of_0_22_do_the_same(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    named = {"conversation_id": session, "message_id": turn}

    async def call(route: str, **sent: Any) -> Any:
        headers = {"Authorization": f"Bearer {api.key}"}
        return (await api.client.post(f"/v1/conversation/{route}", json=sent, headers=headers)).json()

    voted = await call("thumbup", **named, thumbup=False, feedback="no")
    assert (voted["code"], voted["data"]["messages"][-1]["feedback"]) == (0, "no")
    assert voted["data"] == await api.ok("GET", path)
    assert (await call("thumbup", **named, thumbup="yes"))["message"] == "thumbup must be a boolean"
    lacking = await call("delete_msg", conversation_id=session)
    assert (lacking["code"], lacking["message"]) == (102, "required argument are missing: message_id; ")
    assert (await call("delete_msg"))["message"] == "required argument are missing: conversation_id,message_id; "
    unknown = await call("delete_msg", conversation_id="x", message_id=turn)
    assert (unknown["code"], unknown["message"]) == (105, "Session not found!")
    gone = await call("delete_msg", **named)
    assert [one["role"] for one in gone["data"]["messages"]] == ["assistant"]


@pytest.mark.promise("conversations:P-fork")
async def test_a_fork_has_all_that_was_said_up_to_a_turn(api: Api, world: World) -> None:
    chat, session, path = await opened(api, user_id="u", name="Trip", tone="dry")
    first = await add_turn(world, api, chat, session, references=(reference(0), reference(1)), cited=(1,))
    second = await add_turn(world, api, chat, session, question="Q2", answer="A2", state=TurnState.STOPPED)
    await add_turn(world, api, chat, session, question="Q3", answer="A3")
    await api.ok("PUT", f"{path}/messages/{first}/feedback", json={"thumbup": True})
    before = await api.ok("GET", path)

    fork = await api.ok("POST", f"{path}/fork", json={"message_id": second, "name": "Other way"})

    assert (fork["name"], fork["user_id"], fork["chat_id"]) == ("Other way", "u", chat)
    assert fork == await api.ok("GET", f"/chats/{chat}/sessions/{fork['id']}")
    own, theirs = before["messages"][:5], fork["messages"]
    assert not {one["id"] for one in own} & {one["id"] for one in theirs}
    assert theirs[1]["id"] == theirs[2]["id"]

    def said(one: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in one.items() if key not in ("id", "thumbup")}

    assert [said(one) for one in theirs] == [said(one) for one in own]
    assert [one.get("thumbup") for one in (own[2], *theirs)] == [True, *[None] * 5]
    assert await api.ok("GET", path) == before
    row = (await world.sql(api, sessions.select().where(sessions.c.id == fork["id"]))).one()
    assert (row.tokens, row.round, row.thumb_up, row.variables, row.next_position) == (0, 0, 0, {"tone": "dry"}, 5)
    assert (await world.sql(api, usage_ledger.select())).all() == []
    more = await add_turn(world, api, chat, fork["id"], question="Else?")
    shown = await api.ok("GET", f"/chats/{chat}/sessions/{fork['id']}")
    assert [one["id"] for one in shown["messages"]][-2:] == [more, more]
    await api.ok("DELETE", f"/chats/{chat}/sessions", json={"ids": [session]})
    assert len((await api.ok("GET", f"/chats/{chat}/sessions/{fork['id']}"))["messages"]) == 7


@pytest.mark.promise("conversations:P-fork-refusals")
async def test_forks_that_cannot_be(api: Api, world: World, rival: Api) -> None:
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session)
    running = await add_turn(world, api, chat, session, state=TurnState.RUNNING)

    assert await api.refusal("POST", f"{path}/fork", json={"message_id": running}) == BUSY
    assert await api.refusal("POST", f"{path}/fork", json={"message_id": "x"}) == missing("Message not found!")
    told = await api.refusal("POST", f"{path}/fork")
    assert told == invalid("required argument are missing: message_id; ")
    told = await api.refusal("POST", f"{path}/fork", json={"message_id": turn, "name": "x" * 256})
    assert told == invalid("Name is longer than 255 characters.")
    told = await rival.refusal("POST", f"{path}/fork", json={"message_id": turn})
    assert told == missing("Session not found!")
    kept = await api.ok("POST", f"{path}/fork", json={"message_id": turn})
    assert kept["name"] == "New session"
    assert len(await api.ok("GET", f"/chats/{chat}/sessions")) == 2


async def long_session(world: World, api: Api, session: str, count: int) -> None:
    """Add `count` messages after the opener, two a turn."""
    rows = [
        {
            "tenant_id": api.tenant_id,
            "turn_id": f"{session}-{number // 2}",
            "role": "assistant" if number % 2 else "user",
            "session_id": session,
            "position": number + 1,
            "content": f"text {number}",
        }
        for number in range(count)
    ]
    await world.sql(api, messages.insert().values(rows))
    await world.sql(api, sessions.update().values(next_position=count + 1))


@pytest.mark.promise("conversations:P-messages")
async def test_messages_are_read_in_stretches_by_position(api: Api, world: World) -> None:
    _, session, path = await opened(api)
    await long_session(world, api, session, 9)

    async def stretch(**query: int) -> tuple[list[int], int | None, int | None]:
        told = await api.ok("GET", f"{path}/messages", params=query)
        return [one["position"] for one in told["messages"]], told["before"], told["after"]

    assert await stretch() == (list(range(10)), None, None)
    assert await stretch(limit=4) == ([6, 7, 8, 9], 6, None)
    assert await stretch(before=6, limit=4) == ([2, 3, 4, 5], 2, 5)
    assert await stretch(before=2, limit=4) == ([0, 1], None, 1)
    assert await stretch(after=5, limit=2) == ([6, 7], 6, 7)
    assert await stretch(after=7, limit=2) == ([8, 9], 8, None)
    assert await stretch(after=9) == ([], None, None)
    assert await stretch(before=0) == ([], None, None)
    for query in ({"before": "x"}, {"limit": "-1"}, {"after": "1.5"}):
        assert (await api.refusal("GET", f"{path}/messages", params=query))[:2] == (400, 102)
    told = await api.refusal("GET", f"{path}/messages", params={"before": "1", "after": "1"})
    assert told == invalid("Only one of `before` and `after` can be given.")
    assert await api.refusal("GET", "/chats/x/sessions/y/messages") == missing("Session not found!")


@pytest.mark.promise("conversations:P-long-session")
async def test_a_long_session_is_shown_with_its_last_messages(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    await long_session(world, api, session, 1204)

    answer = await api.raw("GET", path)
    (listed,) = await api.ok("GET", f"/chats/{chat}/sessions")

    shown = answer.json()["data"]
    assert (len(shown["messages"]), shown["messages"][-1]["content"]) == (1000, "text 1203")
    assert (answer.headers["X-Messages-Before"], shown["messages_before"]) == ("205", 205)
    before = await api.ok("GET", f"{path}/messages", params={"before": 205, "limit": 1000})
    assert [one["position"] for one in before["messages"]] == list(range(205))
    assert (len(listed["messages"]), listed["messages_before"]) == (200, 1005)
    for query, count in (({}, 100), ({"limit": 5000}, 1000), ({"limit": 0}, 1)):
        assert len((await api.ok("GET", f"{path}/messages", params=query))["messages"]) == count


@pytest.mark.promise("conversations:P-export")
async def test_an_export_is_the_whole_session(api: Api, world: World) -> None:
    chat, session, path = await opened(api, name="Ünïted", tone="dry")
    await add_turn(world, api, chat, session, references=(reference(0),), cited=(0,))
    shown = await api.ok("GET", path)
    await long_session(world, api, (await api.session(chat))["id"], 3)

    answer = await api.raw("GET", f"{path}/export")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="session-{session}.json"')
    told = answer.json()
    assert told.pop("format") == "parley.session/1"
    placed = [one | {"position": number} for number, one in enumerate(shown["messages"])]
    assert told == {
        **{key: shown[key] for key in shown if key not in ("messages", "avatar", "reference")},
        "variables": {"tone": "dry"},
        "messages": placed,
    }
    assert await api.refusal("GET", f"/chats/{chat}/sessions/x/export") == missing("Session not found!")


@pytest.mark.promise("conversations:P-export")
async def test_an_export_reads_a_long_session_in_short_stretches(api: Api, world: World) -> None:
    _, session, path = await opened(api)
    await long_session(world, api, session, 1250)

    with world.recorded() as statements:
        answer = await api.raw("GET", f"{path}/export")

    assert [one["position"] for one in answer.json()["messages"]] == list(range(1251))
    reads = [statement for statement in statements if "ORDER BY m.position LIMIT" in statement]
    assert len(reads) == 3
