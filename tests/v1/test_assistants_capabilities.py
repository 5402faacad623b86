"""Assistants can do what their models can: pictures, structured answers, logprobs (openai.md 3.2, 3.8)."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from app.domain.chats import Chat
from app.llm.entries import ModelEntry
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream
from tests.v1.assistants import WEATHER, asked_of, chunks_of, content_of, official, says

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 16


@pytest.fixture
async def able(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    """A service with a model that can do everything, and one that can do nothing but talk."""
    entries = [
        ModelEntry(
            name="seer", provider="tests", kind="chat", base_url=upstream.base_url, api_key="x",
            capabilities=("vision", "tools", "json_schema", "logprobs"),
        ),
        ModelEntry(
            name="talker", provider="tests", kind="chat", base_url=upstream.base_url, api_key="x", capabilities=()
        ),
    ]  # fmt: skip
    async with in_a_task(served(fresh_database, upstream, tmp_path, entries=entries)) as found:
        yield found


def with_picture(url: str) -> list[Any]:
    [question] = says("A crane.")
    picture = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return [{"role": "user", "content": [{"type": "text", "text": question["content"]}, picture]}]


@pytest.mark.promise("openai:CC-14-assistant", "openai:3.8-capability", "openai:CC-10-assistant")
async def test_an_assistant_can_do_what_its_model_can(able: Service) -> None:
    tenant = await able.tenant()
    seer, talker = await able.chat(tenant, llm_id="seer"), await able.chat(tenant, llm_id="talker")
    good = "data:image/png;base64," + base64.b64encode(PNG).decode()
    form: Any = {"type": "json_object"}
    async with official(able, tenant) as client:
        for url in (good, "https://example.org/crane.png"):
            await client.chat.completions.create(model=seer.id, messages=with_picture(url))
            shown = asked_of(able)[-1]["messages"][-1]["content"][1]
            assert shown == {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
        refusals: list[tuple[str, dict[str, Any], str, str]] = [
            (seer.id, {"messages": with_picture(good[:-4] + "!!!!")}, "invalid_image",
             "messages.0.content.1.image_url.url"),
            (talker.id, {"messages": with_picture(good)}, "unsupported_value", "messages.0.content"),
            (talker.id, {"messages": says("x"), "response_format": form}, "unsupported_value", "response_format"),
            (talker.id, {"messages": says("x"), "response_format": schema}, "unsupported_value", "response_format"),
            (talker.id, {"messages": says("x"), "tools": [WEATHER]}, "unsupported_value", "tools"),
            (talker.id, {"messages": says("x"), "logprobs": True}, "unsupported_parameter", "logprobs"),
        ]  # fmt: skip
        for model, call, code, param in refusals:
            with pytest.raises(openai.BadRequestError) as refused:
                await client.chat.completions.create(model=model, **call)
            assert (refused.value.code, refused.value.param) == (code, param)
            assert model != talker.id or "talker" in str(refused.value)
        told = {
            "model": seer.id, "messages": says("Grüße, Welt 😀.", logprobs=True), "logprobs": True, "top_logprobs": 2,
        }  # fmt: skip
        whole = await client.chat.completions.create(**told)
        chunks = await chunks_of(client, **told)
    tokens = whole.choices[0].logprobs.content if whole.choices[0].logprobs else []
    streamed = [token for one in chunks for token in (one["choices"][0]["logprobs"] or {"content": []})["content"]]

    assert all((one["logprobs"], one["top_logprobs"]) == (True, 2) for one in asked_of(able)[-2:])
    assert "".join(one.token for one in tokens or ()) == "Grüße, Welt 😀." == content_of(chunks)
    assert all(bytes(one.bytes or ()).decode() == one.token for one in tokens or ())
    assert [one["token"] for one in streamed] == [one.token for one in tokens or ()]


class Load(pydantic.BaseModel):
    """What a crane lifts."""

    tons: int


@pytest.mark.promise("openai:CC-16-parse")
async def test_the_parse_helper_gives_the_object(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        parsed = await client.chat.completions.parse(model=chat.id, messages=says('{"tons": 40}'), response_format=Load)

    assert parsed.choices[0].message.parsed == Load(tons=40)
