"""Making, changing and reading one session: conversations.md 3.1, 3.2, 3.4."""

import asyncio
import time
import uuid
from email.utils import formatdate
from typing import Any

import pytest
from sqlalchemy import text

from app.db.conversations import messages, sessions
from app.db.engine import create_engine
from app.domain.errors import Invalid
from app.domain.sessions import SessionNotWritten
from app.domain.turns import TurnState
from app.services.sessions import SessionService
from app.wire.dialects import Dialect, refusal_of
from tests.chats.world import Api, World, invalid, missing
from tests.pg import DatabaseUrls
from tests.sessions.world import add_turn, reference

METHODS = pytest.mark.parametrize("method", ["PUT", "PATCH"])

CHUNK_7 = {
    "id": "chunk0",
    "content": "text 0",
    "document_id": "doc",
    "document_name": "doc.txt",
    "dataset_id": "set",
    "image_id": "",
    "positions": [[1, 2, 3, 4, 5]],
    "chunk_id": "chunk0",
    "doc_id": "doc",
    "doc_name": "doc.txt",
}


@pytest.mark.promise("conversations:3.2-create", "conversations:1.5-times")
async def test_3_2_the_whole_object_of_a_new_session(api: Api) -> None:
    chat = await api.chat(prompt={"opener": "Hello {who}, {what}"})

    session = await api.session(chat["id"], name="Trip", user_id="u-1", who="Ada", more={"a": [1]})

    (opener,) = session.pop("messages")
    assert uuid.UUID(opener.pop("id")).version == 4
    assert abs(opener.pop("created_at") * 1000 - session["create_time"]) < 5000
    assert opener == {"role": "assistant", "content": "Hello Ada, {what}"}
    assert session == {
        "id": session["id"],
        "chat_id": chat["id"],
        "name": "Trip",
        "user_id": "u-1",
        "create_time": session["create_time"],
        "create_date": session["create_date"],
        "update_time": session["create_time"],
        "update_date": session["create_date"],
    }
    assert len(session["id"]) == 32
    assert abs(session["create_time"] / 1000 - time.time()) < 10
    assert isinstance(session["create_time"], int)
    assert session["create_date"] == formatdate(session["create_time"] // 1000, usegmt=True)


@pytest.mark.promise("conversations:1.5-times")
async def test_1_5_every_write_changes_the_time(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    path = f"/chats/{chat}/sessions/{(await api.session(chat))['id']}"
    session = await api.ok("GET", path)
    turn = ""

    async def rename() -> None:
        await api.ok("PUT", path, json={"name": "N"})

    async def answer() -> None:
        nonlocal turn
        turn = await add_turn(world, api, chat, session["id"])

    async def vote() -> None:
        await api.ok("PUT", f"{path}/messages/{turn}/feedback", json={"thumbup": True})

    async def forget() -> None:
        await api.ok("DELETE", f"{path}/messages/{turn}")

    for write in (rename, answer, vote, forget):
        await asyncio.sleep(0.002)  # times are told in milliseconds
        changed = await api.ok("GET", path)
        assert changed["update_time"] == session["update_time"]  # reading is no write
        await write()
        changed = await api.ok("GET", path)
        assert changed["update_time"] > session["update_time"], write.__name__
        assert changed["update_date"] == formatdate(changed["update_time"] // 1000, usegmt=True)
        assert changed["create_time"] == session["create_time"]
        session = changed


@pytest.mark.promise("conversations:3.2-create")
async def test_3_2_defaults_of_a_session(api: Api) -> None:
    chat = await api.chat()

    for content in (b"", b"{}", b"null", b'{"user_id":null}'):
        headers = {"Content-Type": "application/json"}
        session = await api.ok("POST", f"/chats/{chat['id']}/sessions", content=content, headers=headers)
        assert (session["name"], session["user_id"]) == ("New session", "")
        assert session["messages"][0]["content"] == "Hi! I'm your assistant. What can I do for you?"


@pytest.mark.promise("conversations:3.2-create")
async def test_3_2_every_other_key_is_a_variable_of_the_session(api: Api, world: World) -> None:
    chat = await api.chat()

    await api.session(chat["id"], name="x", id="x", messages=[], tone="dry", sent=1, model_fields={"copy": None})

    row = (await world.sql(api, sessions.select())).one()
    assert row.variables == {"tone": "dry", "sent": 1, "model_fields": {"copy": None}}


@pytest.mark.promise("conversations:3.1-messages")
async def test_3_1_the_opener_is_message_0(api: Api, world: World) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"])

    row = (await world.sql(api, messages.select())).one()

    assert (row.session_id, row.position, row.turn_id) == (session["id"], 0, session["messages"][0]["id"])
    assert (await world.sql(api, sessions.select())).one().next_position == 1


@pytest.mark.promise("conversations:3.2-create-refusals", "conversations:3.2-update-refusals")
@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ({"name": ""}, invalid("Name cannot be empty.")),
        ({"name": " "}, invalid("Name cannot be empty.")),
        ({"name": None}, invalid("Name cannot be empty.")),
        ({"name": "x" * 256}, invalid("Name is longer than 255 characters.")),
        ({"name": "x" * 5_000_000}, invalid("Name is longer than 255 characters.")),
        ({"name": 5}, invalid("`name` must be a string.")),
        ({"user_id": 5}, invalid("`user_id` must be a string.")),
    ],
)
async def test_3_2_checks(api: Api, sent: dict[str, Any], refusal: Any) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"])
    path = f"/chats/{chat['id']}/sessions"

    assert await api.refusal("POST", path, json=sent) == refusal
    for method in ("PUT", "PATCH"):
        assert await api.refusal(method, f"{path}/{session['id']}", json=sent) == refusal
    assert len(await api.ok("GET", path)) == 1


@pytest.mark.promise("conversations:3.2-create-refusals")
async def test_3_2_names_may_repeat_and_be_255_characters_long(api: Api) -> None:
    chat = await api.chat()

    for name in ("same", "same", "😀" * 255):
        assert (await api.session(chat["id"], name=name))["name"] == name


@pytest.mark.promise("conversations:3.2-create-refusals")
@pytest.mark.parametrize("chat_id", ["unknown", "%00", "%F0%9F%98%80"])
async def test_3_2_no_such_assistant(api: Api, chat_id: str) -> None:
    refusal = await api.refusal("POST", f"/chats/{chat_id}/sessions", json={"name": ""})

    assert refusal == missing("You do not own the assistant.")


async def test_a_repeated_call_with_an_idempotency_key_makes_one_session(api: Api) -> None:
    chat = await api.chat()
    path = f"/chats/{chat['id']}/sessions"

    first, again = [await api.raw("POST", path, json={}, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert first.content == again.content
    assert len(await api.ok("GET", path)) == 1


@pytest.mark.promise("conversations:3.2-update", "conversations:1.5-times")
@METHODS
async def test_3_2_name_and_user_id_can_be_changed_and_nothing_else(api: Api, method: str) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"], tone="dry")
    path = f"/chats/{chat['id']}/sessions/{session['id']}"

    changed = await api.ok(method, path, json={"name": "N", "user_id": "u", "tone": "wet", "chat_id": "x", "id": "y"})

    times = ("update_time", "update_date")
    (opener,) = session["messages"]
    assert {**changed, **{key: session[key] for key in times}} == session | {
        "name": "N",
        "user_id": "u",
        "messages": [opener | {"reference": []}],
    }
    assert changed["update_time"] > session["update_time"]
    assert (await api.ok(method, path, json={"user_id": ""}))["user_id"] == ""


@pytest.mark.promise("conversations:3.2-update")
@METHODS
async def test_3_2_an_empty_change_is_a_success_that_writes_nothing(api: Api, method: str) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"])
    path = f"/chats/{chat['id']}/sessions/{session['id']}"

    for content in (b"", b"{}", b'{"other":1}'):
        assert (await api.ok(method, path, content=content))["update_time"] == session["update_time"]


@pytest.mark.promise("conversations:3.2-update-refusals")
@METHODS
async def test_3_2_the_order_of_the_checks_of_a_change(api: Api, rival: Api, method: str) -> None:
    """Each fault hides those after it."""
    chat, other, deleted = [(await api.chat())["id"] for _ in range(3)]
    session, lost = (await api.session(chat))["id"], (await api.session(deleted))["id"]
    await api.ok("DELETE", f"/chats/{deleted}")
    body: dict[str, Any] = {"messages": [], "reference": [], "name": ""}

    for path in (f"/chats/{other}/sessions/{session}", f"/chats/{chat}/sessions/unknown"):
        assert await api.refusal(method, path, json=body) == missing("Session does not exist")
    path = f"/chats/{chat}/sessions/{session}"
    assert await rival.refusal(method, path, json=body) == missing("Session does not exist")
    told = await api.refusal(method, f"/chats/{deleted}/sessions/{lost}", json=body)
    assert told == missing("You do not own the session")
    assert await api.refusal(method, path, json=body) == invalid("`message` can not be change")
    assert await api.refusal(method, path, json={"message": []}) == invalid("`message` can not be change")
    assert await api.refusal(method, path, json={"reference": [], "name": ""}) == invalid(
        "`reference` can not be change"
    )
    assert await api.refusal(method, path, json={"name": ""}) == invalid("Name cannot be empty.")


@pytest.mark.promise("conversations:3.2-get", "conversations:3.4-chunks", "conversations:3.1-messages")
async def test_3_4_the_whole_object_of_one_session(api: Api, world: World) -> None:
    chat = await api.chat(avatar="data:x")
    session = await api.session(chat["id"], name="S")
    found = (
        reference(0, similarity=0.5, vector_similarity=float("nan"), term_similarity=float("inf"), doc_type="image"),
        reference(1, "other", url="http://u"),
    )
    turn = await add_turn(world, api, chat["id"], session["id"], references=found, cited=(0,))

    answer = await api.ok("GET", f"/chats/{chat['id']}/sessions/{session['id']}")

    opener, question, told = answer.pop("messages")
    chunk = CHUNK_7 | {
        "url": None,
        "similarity": 0.5,
        "vector_similarity": None,
        "term_similarity": None,
        "doc_type": "image",
    }
    assert told["reference"]["chunks"][0] == chunk
    assert told["reference"]["chunks"][1]["url"] == "http://u"
    assert told["reference"]["doc_aggs"] == [{"doc_name": "doc.txt", "doc_id": "doc", "count": 1}]
    created_at = {"created_at": told["created_at"]}
    for message in (question, told):
        assert isinstance(message["created_at"], float)
        assert abs(message["created_at"] - time.time()) < 10
    assert told == {
        "id": turn,
        "role": "assistant",
        "content": "Because.",
        "state": "done",
        "reference": told["reference"],
        **created_at,
    }
    assert question == {"id": turn, "role": "user", "content": "Why?", "created_at": question["created_at"]}
    assert opener == session["messages"][0] | {"reference": {"chunks": [], "doc_aggs": []}}
    times = ("update_time", "update_date")
    assert {**answer, **{key: session[key] for key in times}} == {
        **{key: value for key, value in session.items() if key != "messages"},
        "avatar": "data:x",
        "reference": [told["reference"]],
    }


@pytest.mark.promise("conversations:3.1-sent-along")
async def test_3_1_what_was_sent_along_with_a_question_is_shown_with_it(api: Api, world: World) -> None:
    chat = (await api.chat())["id"]
    session = await api.session(chat)
    turn = await add_turn(world, api, chat, session["id"])
    sent = {"files": [{"id": "f"}], "doc_ids": ["d"]}
    question = messages.update().where(messages.c.turn_id == turn, messages.c.role == "user")
    await world.sql(api, question.values(extras={**sent, "secret": "ours"}))

    path = f"/chats/{chat}/sessions"
    for shown in (await api.ok("GET", f"{path}/{session['id']}"), *(await api.ok("GET", path))):
        opener, asked, answer = shown["messages"]
        assert asked == {"id": turn, "role": "user", "content": "Why?", "created_at": asked["created_at"], **sent}
        assert not {"files", "doc_ids"} & {*opener, *answer}


@pytest.mark.promise("conversations:3.2-not-written")
async def test_3_2_what_the_database_refuses_is_told(api: Api, fresh_database: DatabaseUrls) -> None:
    chat = (await api.chat())["id"]
    path = f"/chats/{chat}/sessions"
    session = (await api.session(chat))["id"]
    owner = create_engine(fresh_database.owner, pool_size=1)
    async with owner.begin() as connection:
        await connection.execute(text("ALTER TABLE sessions ADD CONSTRAINT no_a CHECK (name <> 'A')"))
    await owner.dispose()

    assert await api.refusal("POST", path, json={"name": "A"}) == (500, 500, "Fail to create a session!")
    assert await api.refusal("PUT", f"{path}/{session}", json={"name": "A"}) == (500, 500, "Session updates error")
    assert [one["name"] for one in await api.ok("GET", path)] == ["New session"]
    in_22 = refusal_of(SessionNotWritten(""), Dialect.RAGFLOW_22)
    assert (in_22.status, in_22.code) == (200, 102)


@pytest.mark.parametrize(
    ("state", "more"),
    [
        (TurnState.DONE, {"state": "done"}),
        (TurnState.STOPPED, {"state": "stopped"}),
        (TurnState.FAILED, {"state": "failed", "error": "The model went away."}),
    ],
)
async def test_an_answer_tells_how_its_turn_ended(
    api: Api, world: World, state: TurnState, more: dict[str, str]
) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"])
    turn = await add_turn(world, api, chat["id"], session["id"], state=state, answer="So f")

    answer = (await api.ok("GET", f"/chats/{chat['id']}/sessions"))[0]["messages"][2]

    created_at = {"created_at": answer["created_at"]}
    assert answer == {"id": turn, "role": "assistant", "content": "So f", "reference": [], **created_at, **more}


async def test_while_a_turn_runs_its_question_stands_alone(api: Api, world: World) -> None:
    chat = await api.chat()
    session = await api.session(chat["id"])
    await add_turn(world, api, chat["id"], session["id"], state=TurnState.RUNNING)

    shown = await api.ok("GET", f"/chats/{chat['id']}/sessions/{session['id']}")

    assert [message["role"] for message in shown["messages"]] == ["assistant", "user"]
    assert shown["reference"] == []


@pytest.mark.promise("conversations:3.2-get")
async def test_3_2_one_session_that_is_not_there(api: Api, rival: Api) -> None:
    chat, other = [(await api.chat())["id"] for _ in range(2)]
    session = (await api.session(chat))["id"]

    for path in (f"/chats/{chat}/sessions/unknown", f"/chats/unknown/sessions/{session}", "/chats/%00/sessions/%00"):
        assert await api.refusal("GET", path) == missing("Session not found!")
    told = await api.refusal("GET", f"/chats/{other}/sessions/{session}")
    assert told == missing("Session does not belong to this chat!")
    assert await rival.refusal("GET", f"/chats/{chat}/sessions/{session}") == missing("Session not found!")


@pytest.mark.promise("conversations:3.2-compat-name")
async def test_3_2_an_empty_name_is_refused_in_the_words_of_the_dialect(world: World, api: Api) -> None:
    chat = (await api.chat())["id"]
    async with world.database.unit(api.tenant_id) as unit:
        for is_compat22, message in ((True, "`name` can not be empty."), (False, "Name cannot be empty.")):
            with pytest.raises(Invalid) as refused:
                await SessionService(unit, is_compat22=is_compat22).create(chat, {"name": ""})
            assert refused.value.message == message
