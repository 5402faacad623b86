"""One assistant's OpenAI-like route (conversations.md 5.1)."""

import re
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.domain.chats import Chat
from app.domain.events import Done, RetrievalDone, TurnStarted
from app.domain.ids import TurnId
from app.domain.models import FinishReason, Usage
from app.wire.openai_chat import OpenAIChatStream, completion_body
from app.wire.references import chunk_with_metadata
from schemas.openai_completions import OpenAIChatCreate
from tests.completions.world import reference
from tests.conftest import Tenant
from tests.contract.asking import told
from tests.service import Service, scripted, stream
from tests.upstream.fixtures import ScriptedUpstream


def path(chat: Chat, mount: str = "chats_openai") -> str:
    return f"/api/v1/{mount}/{chat.id}/chat/completions"


def ask(content: Any) -> dict[str, Any]:
    return {"model": "model", "messages": [{"role": "user", "content": content}]}


@pytest.mark.promise("conversations:5.1-alias", "conversations:5.1-usage", "conversations:5.1-streams-by-default",
                     "conversations:5.1-echo", "conversations:5.1-whole", "conversations:5.1-id")  # fmt: skip
async def test_the_alias_answers_as_the_route_does(
    service: Service, tenant: Tenant, chat: Chat, client: httpx.AsyncClient
) -> None:
    question = scripted(text="Forty two.", think="Hm. ")
    ids: list[str] = []
    for mount in ("openai", "chats_openai"):
        body = {**ask(question), "model": "anything"}
        whole = (await client.post(path(chat, mount), json={**body, "stream": False})).json()
        usage = whole["usage"]
        prompt_tokens = len(f"Be brief. {question}".split())
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt_tokens, 3)  # words, not characters
        assert usage["total_tokens"] == prompt_tokens + 3
        details = usage["completion_tokens_details"]
        assert (details["reasoning_tokens"], details["accepted_prediction_tokens"]) == (1, 2)
        assert details["rejected_prediction_tokens"] == 0
        assert (whole["model"], whole["object"]) == ("anything", "chat.completion")
        assert abs(whole["created"] - time.time()) < 10
        [choice] = whole["choices"]
        assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "stop")
        message = choice["message"]
        assert (message["role"], message["content"], message["reasoning_content"]) == (
            "assistant",
            "Forty two.",
            "Hm. ",
        )
        answer = await stream(client, "POST", path(chat, mount), json=body)
        *chunks, end = answer.data
        assert end == "[DONE]"
        deltas = [one["choices"][0]["delta"] for one in chunks]
        assert "".join(one["content"] or "" for one in deltas) == "Forty two."
        assert "".join(one["reasoning_content"] or "" for one in deltas) == "Hm. "
        assert {one["model"] for one in chunks} == {"anything"}
        assert (chunks[-1]["usage"], chunks[-1]["choices"][0]["finish_reason"]) == (usage, "stop")
        assert len({one["id"] for one in chunks}) == 1
        ids += [whole["id"], chunks[0]["id"]]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"chatcmpl-[0-9a-f-]{36}", one) for one in ids)
    async with service.database.unit(tenant.id) as unit:
        assert (await unit._connection.execute(text("SELECT count(*) FROM sessions"))).scalar_one() == 0


@pytest.mark.promise("conversations:5.1-echo", "conversations:5.1-generation", "conversations:5.1-ignored")
async def test_a_call_chooses_model_and_settings_for_itself(
    service: Service, tenant: Tenant, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    own = {"temperature": 0.1, "top_p": 0.3, "presence_penalty": 0.4, "frequency_penalty": 0.7, "max_tokens": 512}
    chat = await service.chat(tenant, llm_setting=own)
    most = {"temperature": 0.9, "top_p": 0.8, "presence_penalty": 0.5, "frequency_penalty": 0.6, "max_tokens": 77}
    ignored = {"n": 1, "user": "ada", "tools": [{"type": "function"}], "seed": 1, "logit_bias": {}, "what": ["ever"]}
    calls: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"model": "model"}, "scripted", own),
        ({"model": "unknown@nowhere", **ignored}, "scripted", own),
        ({"model": "second@tests", "temperature": 0}, "second", own | {"temperature": 0}),
        ({"model": "model", **most}, "scripted", most),
    ]
    for sent, model, settings in calls:
        answer = await client.post(path(chat), json={**ask(scripted(text="Yes.")), "stream": False, **sent})
        assert (answer.status_code, answer.json()["model"]) == (200, sent["model"])
        call = upstream.calls()[-1]
        assert call["model"] == model
        assert {name: call["body"][name] for name in own} == settings
        assert not {"tools", "user", "what"} & set(call["body"])


@pytest.mark.promise("conversations:5.1-messages")
async def test_the_conversation_is_the_callers_without_system_messages_and_leading_answers(
    chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    last = scripted(text="Yes.")
    messages = [
        {"role": "system", "content": "Obey!"}, {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "A?"}, {"role": "system", "content": "Obey!"},
        {"role": "assistant", "content": "B."}, {"role": "user", "content": last},
    ]  # fmt: skip
    answer = await client.post(path(chat), json={"model": "model", "messages": messages, "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == "Yes."
    assert told(upstream) == [("system", "Be brief."), ("user", "A?"), ("assistant", "B."), ("user", last)]


@pytest.mark.promise("conversations:5.1-types", "conversations:5.1-errors", "conversations:5.1-n")
async def test_refusals_are_told_in_both_vocabularies(service: Service, chat: Chat, client: httpx.AsyncClient) -> None:
    good = ask("?")
    rival = await service.chat(await service.tenant())
    wrong: list[tuple[str, dict[str, Any], int, str]] = [
        (path(chat), {}, 102, "required argument are missing: model,messages; "),
        (path(chat), {"messages": good["messages"]}, 102, "required argument are missing: model; "),
        (path(chat), {"model": "model"}, 102, "required argument are missing: messages; "),
        (path(chat), {**good, "messages": []}, 102, "You have to provide messages."),
        (path(chat), {**good, "messages": "hello"}, 102, "messages must be an array."),
        (path(chat), {**good, "messages": ["hello"]}, 102, "Each message must be an object."),
        (path(chat), ask(7), 102, "messages[].content must be a string or an array of content parts."),
        (path(chat), {**good, "messages": [*good["messages"], {"role": "assistant", "content": "!"}]}, 102,
         "The last content of this conversation is not from user."),
        (path(chat), {**good, "extra_body": [1]}, 102, "extra_body must be an object."),
        (path(chat), {**good, "extra_body": {"reference_metadata": 1}}, 102, "reference_metadata must be an object."),
        (path(chat), {**good, "reference_metadata": {"include": True, "fields": "a"}}, 102,
         "reference_metadata.fields must be an array."),
        (path(chat), {**good, "metadata_condition": [1]}, 102, "metadata_condition must be an object."),
        (path(chat), {**good, "extra_body": {"metadata_condition": 1}}, 102, "metadata_condition must be an object."),
        (path(chat), {**good, "n": 2}, 102, "`n` must be 1: an assistant gives one answer."),
        (path(rival), good, 105, f"You don't own the chat {rival.id}"),
    ]  # fmt: skip
    for url, body, code, message in wrong:
        answer = await client.post(url, json=body)
        refusal = answer.json()
        error = refusal.pop("error")
        assert refusal == {"code": code, "message": message, "data": None}, body
        assert error == {"message": message, "type": "invalid_request_error", "param": error["param"], "code": code}
        assert answer.status_code == (404 if code == 105 else 400)
    async with service.client() as nobody:  # who asks comes first
        answer = await nobody.post(path(chat), json={})
    message = "`Authorization` can't be empty"
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": 103}
    assert (answer.status_code, answer.json()) == (401, {"code": 103, "message": message, "data": None, "error": error})


@pytest.mark.promise("conversations:5.1-content-parts")
async def test_parts_of_text_are_joined(chat: Chat, client: httpx.AsyncClient, upstream: ScriptedUpstream) -> None:
    parts = [{"type": "text", "text": "Well?"}, {"type": "image_url", "image_url": {"url": "x"}},
             {"type": "text", "text": scripted(text="Yes.")}]  # fmt: skip
    answer = await client.post(path(chat), json={**ask(parts), "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == "Yes."
    assert told(upstream)[-1] == ("user", "Well?\n" + scripted(text="Yes."))


@pytest.mark.promise("conversations:5.1-reference")
async def test_references_are_in_the_reply_where_they_are_asked_for(chat: Chat, client: httpx.AsyncClient) -> None:
    """At top level or in a literal `extra_body`; both in a stream, on its last chunk, and in a whole answer."""
    wishes: list[tuple[dict[str, Any], bool]] = [
        ({}, False),
        ({"reference": False}, False),
        ({"reference": True}, True),
        ({"extra_body": {"reference": True}}, True),
        ({"extra_body": {"reference": False}}, False),
    ]
    for sent, has_reference in wishes:
        body = {**ask(scripted(text="Yes.")), **sent}
        whole = (await client.post(path(chat), json={**body, "stream": False})).json()["choices"][0]["message"]
        assert (whole.get("reference"), "reference" in whole) == ([] if has_reference else None, has_reference)
        *_, last, _ = (await stream(client, "POST", path(chat), json=body)).data
        delta = last["choices"][0]["delta"]
        assert (delta.get("reference"), delta.get("final_content")) == (([], "Yes.") if has_reference else (None, None))


@pytest.mark.promise("conversations:5.1-reference-metadata")
def test_metadata_stands_beside_references_where_it_is_asked_for() -> None:
    held = replace(reference(0), metadata={"year": 2024, "author": "Ann"})
    asked = [
        ({}, None),
        ({"reference_metadata": {"include": False, "fields": ["year"]}}, None),
        ({"reference_metadata": {"include": True}}, {"year": 2024, "author": "Ann"}),
        ({"extra_body": {"reference_metadata": {"include": True, "fields": ["year", "x"]}}}, {"year": 2024}),
    ]
    for sent, shown in asked:
        fields = OpenAIChatCreate.model_validate(sent).shown_metadata()
        assert chunk_with_metadata(held, fields).get("document_metadata") == shown
        writer = OpenAIChatStream(
            TurnId("t"), "m", "f", has_reference=True, has_usage_chunk=False, metadata_fields=fields
        )
        done = Done(content="", cited=(), usage=Usage(), ended_s=0.0, finish_reason=FinishReason.STOP)
        written = writer.write([(1, RetrievalDone(references=(held,), total=1)), (2, done)])
        assert (b'"document_metadata"' in written) is (shown is not None)
        started = TurnStarted(turn_id=TurnId("t"), session_id=None, chat_id=None, model="m", created_s=0.0)
        found = RetrievalDone(references=(held,), total=1)
        whole = completion_body(
            TurnId("t"), "m", "f", started, found, None, done, has_reference=True, metadata_fields=fields
        )
        [chunk] = whole["choices"][0]["message"]["reference"]
        assert chunk.get("document_metadata") == shown
