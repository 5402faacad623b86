"""The bodies of completions: every key, name and refusal (conversations.md 4.1 to 4.6), over a real socket."""

from datetime import UTC, datetime
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
from tests.engine.test_cost import counted
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served, stream
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

EVERYWHERE = "/api/v1/chat/completions"


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


@pytest.mark.promise("conversations:4.6-messages-errors")
async def test_lists_of_messages_that_are_none(chat: Chat, client: httpx.AsyncClient) -> None:
    wrong: list[tuple[Any, str]] = [
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
    for messages, message in wrong:
        for url, more in ((path(chat), {}), (EVERYWHERE, {}), (EVERYWHERE, {"chat_id": chat.id})):
            assert await refused(client, url, {"messages": messages, **more}) == (400, 102, message)


@pytest.mark.promise("conversations:4.6-messages-errors")
async def test_0_22_has_code_101_for_them(chat: Chat, client: httpx.AsyncClient) -> None:
    answer = await client.post(path(chat), json={"messages": []}, headers={"X-RAGFlow-Compat": "0.22"})
    assert answer.json()["code"] == 101


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


@pytest.mark.promise("conversations:4.6-model", "conversations:4.6-generation")
async def test_a_call_may_choose_its_model_and_how_it_generates(
    service: Service, chat: Chat, client: httpx.AsyncClient
) -> None:
    told = (400, 102, "Cannot use specified model nobody@nowhere.")
    assert await refused(client, path(chat), {"question": "?", "llm_id": "nobody@nowhere"}) == told
    assert await refused(client, EVERYWHERE, {"question": "?", "llm_id": "nobody@nowhere"}) == told
    data = await asked(client, path(chat), question=scripted(text="Yes."), llm_id="scripted@tests", temperature=0.9)
    assert data["answer"] == "Yes."


@pytest.mark.promise("conversations:4.6-no-chat", "conversations:4.6-chat-id")
async def test_without_a_chat_the_default_model_answers_and_no_session_is_made(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
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
    assert (await client.get(f"/api/v1/chats/{chat.id}/sessions")).json()["data"] == []
    turn = (await client.get(f"/api/v1/turns/{whole['id']}")).json()["data"]
    assert (turn["chat_id"], turn["session_id"], turn["state"]) == (None, None, "done")
    words = len(f"Before? Yes. {scripted(text='Alone.')}".split())
    assert turn["usage"]["prompt_tokens"] == words  # what was said before went along, the system message did not


@pytest.mark.promise("conversations:4.6-chat-id", "conversations:4.6-last-only")
async def test_with_a_chat_the_last_message_is_asked_in_its_session(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    messages = [{"role": "user", "content": "ignored"}, {"role": "assistant", "content": "too"},
                {"role": "user", "content": scripted(text="One.")}]  # fmt: skip
    first = await asked(client, EVERYWHERE, chat_id=chat.id, messages=messages)
    assert first["chat_id"] == chat.id
    second = await asked(client, EVERYWHERE, chat_id=chat.id, conversation_id=first["session_id"],
                         question=scripted(text="Two."))  # fmt: skip
    assert second["session_id"] == first["session_id"]
    assert await stored(service, tenant, first["session_id"]) == [
        ("assistant", "Hello!"), ("user", scripted(text="One.")), ("assistant", "One."),
        ("user", scripted(text="Two.")), ("assistant", "Two."),
    ]  # fmt: skip
    opener = await asked(client, EVERYWHERE, chat_id=chat.id, question="")
    assert (opener["answer"], opener["chat_id"]) == ("Hello!", chat.id)


@pytest.mark.promise("conversations:4.6-pass-all", "conversations:4.6-same-body")
@pytest.mark.parametrize("flag", ["pass_all_history_messages", "pass_all_history"])
async def test_a_submitted_list_replaces_what_the_session_holds(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient, flag: str
) -> None:
    first = await asked(client, path(chat), question=scripted(text="One."))
    session_id = first["session_id"]
    await asked(client, path(chat), question=scripted(text="Two."), session_id=session_id)
    messages = [
        {"role": "user", "content": scripted(text="One.")}, {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Instead?"}, {"role": "assistant", "content": "So."},
        {"role": "user", "content": scripted(text="Three.")},
    ]  # fmt: skip
    third = await asked(client, path(chat), session_id=session_id, messages=messages, **{flag: True})

    held = await messages_of(service, tenant, session_id)
    assert [(one.role, one.content) for one in held] == [
        ("assistant", "Hello!"), *((one["role"], one["content"]) for one in messages), ("assistant", "Three."),
    ]  # fmt: skip
    assert [one.position for one in held] == list(range(7))
    assert held[1].turn_id == held[2].turn_id == first["id"]  # what was the same stayed
    turn = (await client.get(f"/api/v1/turns/{third['id']}")).json()["data"]
    told = " ".join(["Be brief.", *(one["content"] for one in messages)])
    assert turn["usage"]["prompt_tokens"] == len(told.split())


@pytest.mark.promise("conversations:4.6-pass-all")
async def test_a_new_session_may_begin_with_a_history(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    messages = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."},
                {"role": "user", "content": scripted(text="C.")}]  # fmt: skip
    data = await asked(client, path(chat), messages=messages, pass_all_history_messages=True)
    assert await stored(service, tenant, data["session_id"]) == [
        ("assistant", "Hello!"), ("user", "A?"), ("assistant", "B."), ("user", scripted(text="C.")),
        ("assistant", "C."),
    ]  # fmt: skip


@pytest.mark.promise("conversations:4.6-not-stored")
async def test_a_session_learns_nothing_of_a_call_that_is_not_stored(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    session_id = (await asked(client, path(chat), question=scripted(text="One.")))["session_id"]
    before = await stored(service, tenant, session_id)
    body = {"session_id": session_id, "pass_all_history_messages": True, "store_history_messages": False}
    messages = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B."},
                {"role": "user", "content": scripted(text="Aside.")}]  # fmt: skip
    answer = await stream(client, "POST", path(chat), json={**body, "messages": messages})
    assert (answer.text, answer.data[0]["data"]["session_id"]) == ("Aside.", session_id)
    assert await stored(service, tenant, session_id) == before
    other = await service.chat(tenant)
    told = await refused(client, path(other), {**body, "messages": messages})
    assert told == (404, 105, f"You don't own the session {session_id}")


@pytest.mark.promise("conversations:4.1-reserved")
async def test_names_of_the_house_are_never_variables(
    service: Service, tenant: Tenant, client: httpx.AsyncClient
) -> None:
    names = ["tenant_id", "dialog", "tools", "toolcall_session", "files", "reasoning", "internet", "chat_id",
             "conversation_id", "pass_all_history", "store_history", "legacy", "stream", "quote"]  # fmt: skip
    sent: dict[str, Any] = dict.fromkeys(names[:4], "x") | {"files": [], "reasoning": 0, "internet": False,
        "chat_id": "x", "pass_all_history": False, "store_history": True, "legacy": False, "quote": True}  # fmt: skip
    for name in names:
        prompt = {"system": f"Say {{{name}}}.", "parameters": [{"key": name, "optional": False}]}
        chat = await service.chat(tenant, prompt_config=prompt)
        told = await refused(client, path(chat), {**sent, "question": "?"})
        assert told == (400, 102, f"Miss parameter: {name}")


@pytest.mark.promise("conversations:10.2-date")
async def test_the_date_is_the_clocks_and_nobody_elses(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    prompt = {
        "system": "{date} {date2}", "prologue": "It is {date}.", "quote": True, "empty_response": "",
        "parameters": [{"key": "date", "optional": False}],
    }  # fmt: skip
    chat = await service.chat(tenant, prompt_config=prompt)
    data = await asked(client, path(chat), question=scripted(text="Yes."), date="a b c d e")
    turn = (await client.get(f"/api/v1/turns/{data['id']}")).json()["data"]
    assert turn["usage"]["prompt_tokens"] == 3 + len(scripted(text="Yes.").split())  # day, time, {date2}
    opener = (await stored(service, tenant, data["session_id"]))[0][1]
    assert pytest.approx(len("It is 2026-01-01 00:00:00.")) == len(opener)
    assert opener.startswith("It is 20")


@pytest.mark.promise(
    "conversations:10.2-empty-response-opener", "conversations:10.2-types", "conversations:10.2-optional"
)
async def test_variables_are_filled_into_opener_and_empty_response(
    service: Service, tenant: Tenant, client: httpx.AsyncClient
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
    data = await asked(client, path(chat), question="?", n=7, b=True)
    assert data["answer"] == "No 7 True {u}!"
    assert (await stored(service, tenant, data["session_id"]))[0] == ("assistant", "Hi 7 {u}")
    assert await refused(client, path(chat), {"question": "?", "n": 7}) == (400, 102, "Miss parameter: b")


@pytest.mark.promise("conversations:4.1-metadata-condition", "conversations:4.1-reasoning", "conversations:4.1-doc-ids")
async def test_fields_of_wrong_shapes_are_told(chat: Chat, client: httpx.AsyncClient) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"metadata_condition": [1]}, "metadata_condition must be an object."),
        ({"reasoning": 5}, "`reasoning` must be a boolean or an integer from 0 to 4."),
        ({"reasoning": "high"}, "`reasoning` must be a boolean or an integer from 0 to 4."),
        ({"doc_ids": [1]}, "`doc_ids` should be a list of ids, or ids joined by commas."),
        ({"files": "a"}, "`files` should be a list."),
    ]
    for body, message in wrong:
        status, code, told = await refused(client, path(chat), {"question": "?", **body})
        assert (status, code) == (400, 102)
        assert message in told or "doc_ids" in body


@pytest.mark.promise("conversations:4.6-files", "conversations:4.1-b27-keys")
async def test_files_and_switches_of_0_27_are_taken(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    data = await asked(client, path(chat), question=scripted(text="Yes."), files=[{"id": "f1"}], internet=True,
                       reasoning=2, chat_id="ignored")  # fmt: skip
    assert data["answer"] == "Yes."
    async with service.database.unit(tenant.id) as unit:
        kept = await unit._connection.execute(
            text("SELECT extras FROM messages WHERE turn_id = :id AND role = 'user'"), {"id": data["id"]}
        )
        assert kept.scalar_one() == {"files": [{"id": "f1"}]}


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
    for told in (answer.data[-3]["data"]["prompt"], whole["prompt"]):
        assert told.startswith(f"Be brief.\n\n### Query:\n{question}\n\n### Timings:\n- ")
        assert "- model: " in told
        assert "### Tokens:\n- 1 of scripted, " in told


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
