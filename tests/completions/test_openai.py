"""One assistant's OpenAI-like route (conversations.md 5.1)."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.domain.events import Done, RetrievalDone
from app.domain.ids import TurnId
from app.domain.models import FinishReason, Usage
from app.wire.openai_chat import OpenAIChatStream
from app.wire.references import chunk_with_metadata
from schemas.openai_completions import OpenAIChatCreate
from tests.completions.world import reference
from tests.service import Service, scripted, stream


def path(chat: Chat, mount: str = "chats_openai") -> str:
    return f"/api/v1/{mount}/{chat.id}/chat/completions"


def ask(content: Any) -> dict[str, Any]:
    return {"model": "model", "messages": [{"role": "user", "content": content}]}


@pytest.mark.promise("conversations:5.1-alias", "conversations:5.1-usage", "conversations:5.1-streams-by-default",
                     "conversations:5.1-echo")  # fmt: skip
async def test_the_alias_answers_as_the_route_does(chat: Chat, client: httpx.AsyncClient) -> None:
    for mount in ("openai", "chats_openai"):
        body = {**ask(scripted(text="Forty two.", think="Hm. ")), "model": "anything"}
        whole = (await client.post(path(chat, mount), json={**body, "stream": False})).json()
        usage = whole["usage"]
        details = usage["completion_tokens_details"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert details["accepted_prediction_tokens"] == usage["completion_tokens"] - details["reasoning_tokens"]
        assert (whole["model"], whole["object"]) == ("anything", "chat.completion")
        message = whole["choices"][0]["message"]
        assert (message["content"], message["reasoning_content"]) == ("Forty two.", "Hm. ")
        answer = await stream(client, "POST", path(chat, mount), json=body)
        assert answer.data[-1] == "[DONE]"
        assert "".join(one["choices"][0]["delta"]["content"] or "" for one in answer.data[:-1]) == "Forty two."
    assert (await client.get(f"/api/v1/chats/{chat.id}/sessions")).json()["data"] == []


@pytest.mark.promise("conversations:5.1-types", "conversations:5.1-errors", "conversations:5.1-n")
async def test_refusals_are_told_in_both_vocabularies(service: Service, chat: Chat, client: httpx.AsyncClient) -> None:
    good = ask("?")
    rival = await service.chat(await service.tenant())
    wrong: list[tuple[str, dict[str, Any], int, str]] = [
        (path(chat), {}, 102, "required argument are missing: model,messages; "),
        (path(chat), {"messages": good["messages"]}, 102, "required argument are missing: model; "),
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
        told = answer.json()
        assert (told["code"], told["message"], told["data"]) == (code, message, None), body
        assert told["error"]["message"] == message
        assert answer.status_code == (404 if code == 105 else 400)


@pytest.mark.promise("conversations:5.1-content-parts")
async def test_parts_of_text_are_joined(chat: Chat, client: httpx.AsyncClient) -> None:
    parts = [{"type": "text", "text": "Well?"}, {"type": "image_url", "image_url": {"url": "x"}},
             {"type": "text", "text": scripted(text="Yes.")}]  # fmt: skip
    answer = await client.post(path(chat), json={**ask(parts), "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == "Yes."


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
