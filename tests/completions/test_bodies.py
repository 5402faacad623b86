"""The bodies of completions: every key, name and refusal (conversations.md 4.1 to 4.6), over a real socket."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.domain.chats import Chat
from app.domain.datasets import Dataset
from app.domain.ids import DatasetId, SessionId, new_id
from app.domain.sessions import Message
from routers.deps import EdgeConfig
from tests.conftest import Tenant
from tests.contract.asking import told
from tests.engine.test_cost import counted
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served, stream
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

EVERYWHERE = "/api/v1/chat/completions"
EMPTY = {"total": 0, "chunks": list[Any](), "doc_aggs": list[Any]()}


def path(chat: Chat) -> str:
    return f"/api/v1/chats/{chat.id}/completions"


async def stored(service: Service, tenant: Tenant, session_id: str) -> list[tuple[str, str]]:
    return [(one.role, one.content) for one in await messages_of(service, tenant, session_id)]


async def messages_of(service: Service, tenant: Tenant, session_id: str) -> list[Message]:
    async with service.database.unit(tenant.id) as unit:
        found = await unit.session_messages.last([SessionId(session_id)], most=1000)
    return found[SessionId(session_id)].messages


async def asked(client: httpx.AsyncClient, url: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(url, json={"stream": False, **body})
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def refused(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> tuple[int, int, str]:
    told = []
    for is_streaming in (True, False):
        answer = await client.post(url, json={**body, "stream": is_streaming})
        told.append((answer.status_code, answer.json()["code"], answer.json()["message"]))
    assert told[0] == told[1]
    return told[0]


NO_MESSAGES: list[tuple[Any, str]] = [
    ([], "`messages` must be a non-empty list."),
    ("hello", "`messages` must be a non-empty list."),
    (["hello"], "Every item in `messages` must be an object."),
    ([{"role": "user"}], "Every item in `messages` must include `role` and `content`."),
    ([{"content": "?"}], "Every item in `messages` must include `role` and `content`."),
    ([{"role": "assistant", "content": "Hi"}], "`messages` must contain a user message."),
    (
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}],
        "The last message must be from user.",
    ),
]


@pytest.mark.promise("conversations:4.6-messages-errors")
async def test_lists_of_messages_that_are_none(chat: Chat, client: httpx.AsyncClient) -> None:
    for messages, message in NO_MESSAGES:
        for url, more in ((path(chat), {}), (EVERYWHERE, {}), (EVERYWHERE, {"chat_id": chat.id})):
            assert await refused(client, url, {"messages": messages, **more}) == (400, 102, message)


@pytest.mark.promise("conversations:4.6-messages-errors")
async def test_0_22_has_code_101_for_them(chat: Chat, client: httpx.AsyncClient) -> None:
    for messages, message in NO_MESSAGES:
        answer = await client.post(path(chat), json={"messages": messages}, headers={"X-RAGFlow-Compat": "0.22"})
        assert answer.json() == {"code": 101, "message": message}


@pytest.mark.promise("conversations:4.6-chat-required", "conversations:4.6-messages-required")
async def test_a_session_needs_its_chat_and_a_call_needs_something_to_ask(
    chat: Chat, client: httpx.AsyncClient
) -> None:
    told = (400, 102, "`chat_id` is required when `session_id` is provided.")
    for name in ("session_id", "conversation_id"):
        assert await refused(client, EVERYWHERE, {"question": "?", name: "x"}) == told
    for more in ({}, {"chat_id": chat.id}):
        assert await refused(client, EVERYWHERE, more) == (400, 102, "required argument are missing: messages")


@pytest.mark.promise("conversations:4.6-store-needs-pass")
async def test_not_storing_needs_the_whole_history(chat: Chat, client: httpx.AsyncClient) -> None:
    told = (400, 102, "`pass_all_history_messages` must be true when `store_history_messages` is false.")
    for name in ("store_history_messages", "store_history"):
        body = {"chat_id": chat.id, "messages": [{"role": "user", "content": "?"}], name: False}
        assert await refused(client, EVERYWHERE, body) == told


@pytest.mark.promise("conversations:4.6-model", "conversations:4.6-generation", "conversations:4.6-same-body")
async def test_a_call_may_choose_its_model_and_how_it_generates(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    chat = await service.chat(tenant, llm_setting={"temperature": 0.1, "top_p": 0.3, "max_tokens": 512})
    refusal = (400, 102, "Cannot use specified model nobody@nowhere.")
    assert await refused(client, path(chat), {"question": "?", "llm_id": "nobody@nowhere"}) == refusal
    assert await refused(client, EVERYWHERE, {"question": "?", "llm_id": "nobody@nowhere"}) == refusal
    own = {"temperature": 0.1, "top_p": 0.3, "max_tokens": 512}
    most = {"presence_penalty": 0.5, "frequency_penalty": 0.6}
    all_of_it = {"temperature": 0.9, "top_p": 0.8, "max_tokens": 77, **most}
    calls: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
        (path(chat), {}, "scripted", own),
        (path(chat), {"llm_id": "second@tests", "temperature": 0.9}, "second", own | {"temperature": 0.9}),
        (path(chat), all_of_it, "scripted", all_of_it),
        (path(chat), {}, "scripted", own),  # of that call only
        (EVERYWHERE, {}, "scripted", {}),
        (EVERYWHERE, {"llm_id": "second", **all_of_it}, "second", all_of_it),
    ]
    for url, sent, model, settings in calls:
        data = await asked(client, url, question=scripted(text="Yes."), **sent)
        assert data["answer"] == "Yes."
        call = upstream.calls()[-1]
        assert call["model"] == model, sent
        assert {name: call["body"][name] for name in all_of_it if name in call["body"]} == settings, sent


@pytest.mark.promise("conversations:4.6-no-chat", "conversations:4.6-chat-id")
async def test_without_a_chat_the_default_model_answers_and_no_session_is_made(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    body = {"messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "Before?"},
        {"role": "assistant", "content": "Yes."}, {"role": "user", "content": scripted(text="Alone.")},
    ]}  # fmt: skip
    answer = await stream(client, "POST", EVERYWHERE, json=body)
    *pieces, final, end, done = answer.data
    assert {(one["data"]["session_id"], one["data"]["chat_id"]) for one in [*pieces, final]} == {("", "")}
    assert (answer.text, final["data"]["final_content"], final["data"]["reference"]) == ("Alone.", "Alone.", {})
    assert (end["data"], done) == (True, "[DONE]")
    whole = await asked(client, EVERYWHERE, **body)
    assert (whole["answer"], whole["session_id"], whole["chat_id"]) == ("Alone.", "", "")
    async with service.database.unit(tenant.id) as unit:
        for rows in ("sessions", "messages WHERE session_id IS NOT NULL"):
            count = text(f"SELECT count(*) FROM {rows}")  # noqa: S608 (a constant)
            assert (await unit._connection.execute(count)).scalar_one() == 0, rows
    turn = (await client.get(f"/api/v1/turns/{whole['id']}")).json()["data"]
    assert (turn["chat_id"], turn["session_id"], turn["state"]) == (None, None, "done")
    # What was said before goes along, the system message does not.
    assert told(upstream) == [("user", "Before?"), ("assistant", "Yes."), ("user", scripted(text="Alone."))]
    assert {call["model"] for call in upstream.calls()} == {"scripted"}


@pytest.mark.promise("conversations:4.6-chat-id", "conversations:4.6-last-only")
async def test_with_a_chat_the_last_message_is_asked_in_its_session(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    messages = [{"role": "user", "content": "ignored"}, {"role": "assistant", "content": "too"},
                {"role": "user", "content": scripted(text="One.")}]  # fmt: skip
    first = await asked(client, EVERYWHERE, chat_id=chat.id, messages=messages)
    assert first["chat_id"] == chat.id
    assert told(upstream) == [("system", "Be brief."), ("user", scripted(text="One."))]
    body: dict[str, Any] = {"chat_id": chat.id, "conversation_id": first["session_id"]}
    body["messages"] = [*messages[:2], {"role": "user", "content": scripted(text="Two.")}]
    second = await stream(client, "POST", EVERYWHERE, json=body)
    *pieces, final = second.data[:-2]
    assert pieces
    named = {(one["data"]["session_id"], one["data"]["chat_id"]) for one in [*pieces, final]}
    assert named == {(first["session_id"], chat.id)}
    assert told(upstream) == [("system", "Be brief."), ("user", scripted(text="One.")), ("assistant", "One."),
                              ("user", scripted(text="Two."))]  # fmt: skip
    assert await stored(service, tenant, first["session_id"]) == [
        ("assistant", "Hello!"), ("user", scripted(text="One.")), ("assistant", "One."),
        ("user", scripted(text="Two.")), ("assistant", "Two."),
    ]  # fmt: skip
    opener = await asked(client, EVERYWHERE, chat_id=chat.id, question="")
    assert (opener["answer"], opener["chat_id"]) == ("Hello!", chat.id)
    streamed = await stream(client, "POST", EVERYWHERE, json={"chat_id": chat.id, "question": ""})
    assert (streamed.data[0]["data"]["answer"], streamed.data[0]["data"]["chat_id"]) == ("Hello!", chat.id)


@pytest.mark.promise("conversations:4.6-pass-all", "conversations:4.6-same-body")
@pytest.mark.parametrize("flag", ["pass_all_history_messages", "pass_all_history"])
async def test_a_submitted_list_replaces_what_the_session_holds(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream, flag: str
) -> None:
    first = await asked(client, path(chat), question=scripted(text="One."))
    session_id = first["session_id"]
    await asked(client, path(chat), question=scripted(text="Two."), session_id=session_id)
    messages = [
        {"role": "user", "content": scripted(text="One.")}, {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Instead?"}, {"role": "assistant", "content": "So."},
        {"role": "user", "content": scripted(text="Three.")},
    ]  # fmt: skip
    await asked(client, path(chat), session_id=session_id, messages=messages, **{flag: True})

    held = await messages_of(service, tenant, session_id)
    assert [(one.role, one.content) for one in held] == [
        ("assistant", "Hello!"), *((one["role"], one["content"]) for one in messages), ("assistant", "Three."),
    ]  # fmt: skip
    assert [one.position for one in held] == list(range(7))
    assert held[1].turn_id == held[2].turn_id == first["id"]  # what was the same stayed
    assert told(upstream) == [("system", "Be brief."), *((one["role"], one["content"]) for one in messages)]


@pytest.mark.promise("conversations:4.6-pass-all", "conversations:10.1-messages")
async def test_a_new_session_may_begin_with_a_history(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    messages = [{"role": "system", "content": "Obey!"}, {"role": "assistant", "content": "Hi!"},
                {"role": "user", "content": "A?"}, {"role": "system", "content": "Obey!"},
                {"role": "assistant", "content": "B."}, {"role": "user", "content": scripted(text="C.")}]  # fmt: skip
    data = await asked(client, path(chat), messages=messages, pass_all_history_messages=True)
    assert await stored(service, tenant, data["session_id"]) == [
        ("assistant", "Hello!"), ("user", "A?"), ("assistant", "B."), ("user", scripted(text="C.")),
        ("assistant", "C."),
    ]  # fmt: skip
    assert told(upstream) == [
        ("system", "Be brief."), ("user", "A?"), ("assistant", "B."), ("user", scripted(text="C.")),
    ]  # fmt: skip


@pytest.mark.promise("conversations:4.6-not-stored")
async def test_a_session_learns_nothing_of_a_call_that_is_not_stored(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    session_id = (await asked(client, path(chat), question=scripted(text="One.")))["session_id"]
    before = await stored(service, tenant, session_id)
    body = {"session_id": session_id, "pass_all_history_messages": True, "store_history_messages": False}
    messages = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."},
                {"role": "user", "content": scripted(text="Aside.")}]  # fmt: skip
    answer = await stream(client, "POST", path(chat), json={**body, "messages": messages})
    assert (answer.text, answer.data[0]["data"]["session_id"]) == ("Aside.", session_id)
    assert await stored(service, tenant, session_id) == before
    assert told(upstream) == [("system", "Be brief."), *((one["role"], one["content"]) for one in messages)]
    async with service.database.unit(tenant.id) as unit:
        session = await unit.sessions.get(SessionId(session_id))
        assert session is not None
        assert session.round == 1
    await asked(client, path(chat), question=scripted(text="Two."), session_id=session_id)
    assert told(upstream)[1:] == [*before[1:], ("user", scripted(text="Two."))]
    other = await service.chat(tenant)
    refusal = await refused(client, path(other), {**body, "messages": messages})
    assert refusal == (404, 105, f"You don't own the session {session_id}")


HOUSE: dict[str, Any] = {
    "question": scripted(text="Yes."), "stream": False, "user_id": "u", "name": "n", "quote": True, "doc_ids": "d",
    "kb_ids": [""], "metadata_condition": {}, "messages": [{"role": "user", "content": "x"}], "llm_id": "scripted",
    "temperature": 0.5, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5, "max_tokens": 50,
    "pass_all_history_messages": True, "pass_all_history": True, "store_history_messages": True, "store_history": True,
    "files": ["f"], "reasoning": 0, "internet": False, "legacy": False, "stream_mode": "incremental",
    "on_disconnect": "finish", "chat_id": "x", "tenant_id": "x", "dialog": "x", "tools": "x", "toolcall_session": "x",
}  # fmt: skip


@pytest.mark.promise("conversations:4.1-reserved")
async def test_names_of_the_house_are_never_variables(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    names = [*HOUSE, "session_id", "conversation_id"]
    words = "|".join(f"{{{name}}}" for name in names) + " {knowledge}."
    parameters = [{"key": name, "optional": True} for name in [*names, "knowledge"]]
    chat = await service.chat(tenant, prompt_config={"system": words, "prologue": words, "parameters": parameters})
    blanks = "|".join(" " for _ in names)

    first = await asked(client, path(chat), **HOUSE, knowledge="mine")
    assert told(upstream)[0] == ("system", f"{blanks} .")
    assert (await stored(service, tenant, first["session_id"]))[0] == ("assistant", f"{blanks} {{knowledge}}.")
    named = dict.fromkeys(("session_id", "conversation_id"), first["session_id"])
    await asked(client, path(chat), **HOUSE, **named, knowledge="mine")
    assert told(upstream)[0] == ("system", f"{blanks} .")
    async with service.database.unit(tenant.id) as unit:
        session = await unit.sessions.get(SessionId(first["session_id"]))
    assert session is not None
    assert session.variables == {}


@pytest.mark.promise("conversations:4.1-new-session")
async def test_name_and_user_are_those_of_a_new_session_and_stay(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    async def held(session_id: str) -> tuple[str, str]:
        found = (await client.get(f"/api/v1/chats/{chat.id}/sessions/{session_id}")).json()["data"]
        return found["name"], found["user_id"]

    for question in ("", scripted(text="Yes.")):
        plain = await asked(client, path(chat), question=question)
        assert await held(plain["session_id"]) == ("New session", "")
        named = await asked(client, path(chat), question=question, name="Trip", user_id="ada")
        assert await held(named["session_id"]) == ("Trip", "ada")
    more = {"name": "Other", "user_id": "eve", "session_id": named["session_id"]}
    await asked(client, path(chat), question=scripted(text="Yes."), **more)
    assert await held(named["session_id"]) == ("Trip", "ada")


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.promise("conversations:10.2-date")
@pytest.mark.usefixtures("far_east")
async def test_the_date_is_the_clocks_and_nobody_elses(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    prompt = {
        "system": "{date} {date2}", "prologue": "{date} {date2}", "quote": True, "empty_response": "",
        "parameters": [{"key": "date", "optional": False}],
    }  # fmt: skip
    chat = await service.chat(tenant, prompt_config=prompt)
    data = await asked(client, path(chat), question=scripted(text="Yes."), date="a b c d e")
    opener = (await stored(service, tenant, data["session_id"]))[0][1]
    for words in (told(upstream)[0][1], opener):
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \{date2\}", words)
        assert found is not None, words
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


@pytest.mark.promise(
    "conversations:10.2-empty-response-opener", "conversations:10.2-types", "conversations:10.2-optional",
    "conversations:10.7-empty-response", "conversations:10.7-empty-reference", "conversations:10.6-shape",
)  # fmt: skip
async def test_variables_are_filled_into_opener_and_empty_response(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    prompt = {
        "system": "{knowledge} {n} {b} {o}.", "prologue": "Hi {n}{o}{u}", "empty_response": "No {n} {b}{o}{u}!",
        "parameters": [{"key": "knowledge", "optional": False}, {"key": "n", "optional": False},
                       {"key": "b", "optional": False}, {"key": "o", "optional": True}],
    }  # fmt: skip
    now = datetime.now(UTC)
    dataset = Dataset(
        id=DatasetId(new_id()), tenant_id=tenant.id, name="Docs", embedding_model="m@p", parser_config={},
        created_at=now, updated_at=now,
    )  # fmt: skip
    async with service.database.unit(tenant.id) as unit:
        await unit.datasets.add(dataset, ["Docs"])
    nothing = {"method": "manual", "manual": [{"key": "year", "op": "=", "value": 1}]}
    chat = await service.chat(tenant, prompt_config=prompt, datasets=((dataset.id, "Docs"),), meta_data_filter=nothing)
    answer = await stream(client, "POST", path(chat), json={"question": "?", "n": 7, "b": True})
    piece, final, *_ = [one["data"] for one in answer.data[:-1]]  # not twice, as 0.27 does (10.7)
    assert (piece["answer"], piece["final"], final["answer"], final["final"]) == ("No 7 True {u}!", False, "", True)
    assert (final["final_content"], final["reference"]) == ("No 7 True {u}!", EMPTY)
    assert len(answer.data) == 4
    assert (await stored(service, tenant, final["session_id"]))[0] == ("assistant", "Hi 7 {u}")
    data = await asked(client, path(chat), question="?", n=7, b=True)
    assert (data["answer"], data["reference"]) == ("No 7 True {u}!", EMPTY)
    unquoted = await asked(client, path(chat), question="?", n=7, b=True, quote=False)
    assert (unquoted["answer"], unquoted["reference"]) == ("No 7 True {u}!", {})
    assert await refused(client, path(chat), {"question": "?", "n": 7}) == (400, 102, "Miss parameter: b")
    shapeless = {"question": "?", "n": 7, "b": True, "metadata_condition": {"conditions": "x"}}
    assert await refused(client, path(chat), shapeless) == (400, 102, "`conditions` should be a list.")
    assert upstream.calls() == []


@pytest.mark.promise("conversations:4.1-metadata-condition", "conversations:4.1-reasoning", "conversations:4.1-doc-ids")
async def test_fields_of_wrong_shapes_are_told(chat: Chat, client: httpx.AsyncClient) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"metadata_condition": [1]}, "metadata_condition must be an object."),
        ({"metadata_condition": "x"}, "metadata_condition must be an object."),
        ({"reasoning": 5}, "`reasoning` must be a boolean or an integer from 0 to 4."),
        ({"reasoning": -1}, "`reasoning` must be a boolean or an integer from 0 to 4."),
        ({"reasoning": 1.5}, "`reasoning` must be a boolean or an integer from 0 to 4."),
        ({"reasoning": "high"}, "`reasoning` must be a boolean or an integer from 0 to 4."),
        ({"files": "a"}, "`files` should be a list."),
    ]
    for body, message in wrong:
        assert await refused(client, path(chat), {"question": "?", **body}) == (400, 102, message)
    unread = await refused(client, path(chat), {"question": "?", "doc_ids": [1]})
    assert unread[:2] == (400, 102)
    last = [{"role": "user", "content": "?", "doc_ids": [1]}]
    message = "`doc_ids` should be a list of ids, or ids joined by commas."
    assert await refused(client, path(chat), {"messages": last}) == (400, 102, message)
    for reasoning in (True, False, 0, 4):
        await asked(client, path(chat), question=scripted(text="Yes."), reasoning=reasoning)


@pytest.mark.promise("conversations:4.6-files", "conversations:4.1-b27-keys")
async def test_files_and_switches_of_0_27_are_taken(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    question, files = scripted(text="Yes."), [{"id": "f1"}]
    last = [{"role": "user", "content": question, "files": files, "doc_ids": ["d1"]}]
    bodies: list[dict[str, Any]] = [
        {"question": question, "files": files, "internet": True, "reasoning": 2, "chat_id": "ignored"},
        {"question": question, "files": files, "doc_ids": "d1"},
        {"messages": last},
    ]
    for body in bodies:
        data = await asked(client, path(chat), **body)
        assert data["answer"] == "Yes."
        async with service.database.unit(tenant.id) as unit:
            kept = await unit._connection.execute(
                text("SELECT extras FROM messages WHERE turn_id = :id AND role = 'user'"), {"id": data["id"]}
            )
            documents = {} if body is bodies[0] else {"doc_ids": ["d1"]}
            assert kept.scalar_one() == {"files": files} | documents


@pytest.mark.promise("conversations:4.4-prompt-hidden")
async def test_the_prompt_is_not_shown_unless_the_setting_says_so(chat: Chat, client: httpx.AsyncClient) -> None:
    answer = await stream(client, "POST", path(chat), json={"question": scripted(text="Yes.")})
    assert answer.data[-3]["data"]["prompt"] == ""
    assert (await asked(client, path(chat), question=scripted(text="Yes.")))["prompt"] == ""


@pytest.mark.promise("conversations:4.4-tts")
async def test_an_assistant_that_should_speak_answers_without_a_voice(
    service: Service, tenant: Tenant, client: httpx.AsyncClient
) -> None:
    chat = await service.chat(tenant, prompt_config={"system": "S", "parameters": [], "tts": True})
    answer = await stream(client, "POST", path(chat), json={"question": scripted(text="Yes.")})
    assert answer.text == "Yes."
    assert {one["data"]["audio_binary"] for one in answer.data[:-2]} == {None}


@pytest.mark.promise("conversations:4.3-one-round-trip")
async def test_a_question_that_begins_a_session_costs_one_statement(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(client, path(chat), question=scripted(text="Warm."))
    with counted(monkeypatch) as seen:
        data = await asked(client, path(chat), question=scripted(text="One."))
    opening = [one for one in seen if "open_turn" in one or "INTO sessions" in one or "FROM chats" in one]
    assert len(opening) == 1, opening
    assert await stored(service, tenant, data["session_id"]) == [
        ("assistant", "Hello!"), ("user", scripted(text="One.")), ("assistant", "One."),
    ]  # fmt: skip


@pytest.mark.promise("conversations:4.3-one-round-trip")
async def test_a_chat_that_changed_is_read_again(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    await asked(client, path(chat), question=scripted(text="Warm."))
    changed = await client.put(f"/api/v1/chats/{chat.id}", json={"name": chat.name, "prompt": {"opener": "Anew!"}})
    assert changed.json()["code"] == 0, changed.text
    data = await asked(client, path(chat), question=scripted(text="One."))
    assert (await stored(service, tenant, data["session_id"]))[0] == ("assistant", "Anew!")
    assert (await client.delete(f"/api/v1/chats/{chat.id}")).json()["code"] == 0
    told = await refused(client, path(chat), {"question": "?"})
    assert told == (404, 105, f"You don't own the chat {chat.id}")


@pytest.mark.promise("conversations:4.4-prompt-shown")
async def test_the_prompt_is_shown_where_the_setting_says_so(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    edge = EdgeConfig(ping_s=1, expose_prompt=True)
    async with in_a_task(served(fresh_database, upstream, tmp_path, edge=edge)) as shown:
        tenant = await shown.tenant()
        chat = await shown.chat(tenant)
        question = scripted(text="Yes.")
        async with shown.client(tenant) as client:
            answer = await stream(client, "POST", path(chat), json={"question": question})
            whole = await asked(client, path(chat), question=question)
    for prompt in (answer.data[-3]["data"]["prompt"], whole["prompt"]):
        assert prompt.startswith(f"Be brief.\n\n### Query:\n{question}\n\n### Timings:\n- ")
        assert re.search(r"^- model: \d+\.\d ms$", prompt, re.MULTILINE)
        assert re.search(r"### Tokens:\n- 1 of scripted, \d+ a second$", prompt)


@pytest.mark.promise("conversations:4.1-empty-body")
async def test_an_empty_body_counts_as_an_empty_object(chat: Chat, client: httpx.AsyncClient) -> None:
    for content in (b"", b"{}", b"null"):
        answer = await stream(client, "POST", path(chat), content=content)
        assert answer.data[0]["data"]["answer"] == "Hello!"
        missing = await client.post(EVERYWHERE, content=content)
        assert (missing.status_code, missing.json()["message"]) == (400, "required argument are missing: messages")
    with_type = await client.post(path(chat), content=b"", headers={"Content-Type": "application/json"})
    assert with_type.status_code == 200
    assert (await client.post(path(chat), content=b"[]")).status_code == 400
