"""The embedded chat and embedding models as raw models: the same promises, kept by llama.cpp (openai.md 3, 4, 10)."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pydantic
import pytest

from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import official
from tests.v1.ledger import ledger
from tests.v1.raw import streamed

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
MODEL = "smollm2-135m-instruct"
ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Say hello."}],
    "temperature": 0,
    "max_tokens": 12,
}


class Load(pydantic.BaseModel):
    """What a crane lifts."""

    tons: int


@pytest.mark.promise("openai:3-embedded", "openai:M-05")
async def test_it_answers_whole_and_streamed_alike(client: httpx.AsyncClient, service: Service, tenant: Tenant) -> None:
    whole = (await client.post("/v1/chat/completions", json=ASK)).json()
    message, usage = whole["choices"][0]["message"], whole["usage"]
    assert message["content"]
    assert set(message) == {"role", "content", "refusal", "annotations"}
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert whole["model"] == MODEL
    assert "timings" not in str(whole["choices"])

    events = await streamed(client, ASK | {"stream_options": {"include_usage": True}})
    *chunks, last, done = events.data
    assert done == "[DONE]"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks) == message["content"]
    assert [one["choices"][0]["delta"].get("role") for one in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert last["usage"]["completion_tokens"] == usage["completion_tokens"]
    rows = await ledger(service, tenant, 2)
    assert {(row.provider, row.model, row.completion_tokens) for row in rows} == {
        ("builtin", MODEL, usage["completion_tokens"])
    }


@pytest.mark.promise("openai:3-embedded")
async def test_stop_choices_objects_and_text(service: Service, tenant: Tenant) -> None:
    async with official(service, tenant, timeout=60, _strict_response_validation=True) as client:
        plain = await client.chat.completions.create(**ASK)
        words = plain.choices[0].message.content.split()
        stopped = await client.chat.completions.create(**ASK, stop=[words[1]])
        assert words[1] not in stopped.choices[0].message.content
        assert stopped.choices[0].finish_reason == "stop"
        two = await client.chat.completions.create(**ASK, n=2)
        assert [one.index for one in two.choices] == [0, 1]
        assert two.choices[0].message.content == two.choices[1].message.content == plain.choices[0].message.content
        parsed = await client.chat.completions.parse(**{**ASK, "max_tokens": 40}, response_format=Load)
        assert isinstance(parsed.choices[0].message.parsed, Load)
        text = await client.completions.create(model=MODEL, prompt="Once upon a", max_tokens=5)
        assert text.choices[0].text
        for refused, param in (({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools"),
                               ({"logprobs": True}, "logprobs")):  # fmt: skip
            with pytest.raises(openai.BadRequestError) as raised:
                await client.chat.completions.create(**ASK, **refused)
            assert raised.value.param == param
        long = {**ASK, "messages": [{"role": "user", "content": "word " * 5000}]}
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(**long)
        assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.promise("openai:3-embedded")
async def test_a_process_that_died_is_started_again(client: httpx.AsyncClient, tmp_path: Path) -> None:
    first = (await client.post("/v1/chat/completions", json=ASK)).json()
    os.kill(msgspec.json.decode((tmp_path / "run" / "model.json").read_bytes())["pid"], signal.SIGKILL)
    again = (await client.post("/v1/chat/completions", json=ASK)).json()
    assert again["choices"][0]["message"] == first["choices"][0]["message"]


@pytest.mark.promise("openai:4-embedded")
async def test_the_embedded_embedding_model(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    [name] = [one["id"] for one in listed if one["owned_by"] == "builtin" and one["parley"]["kind"] == "embedding"]
    body = {"model": name, "input": ["The crane lifts forty tons.", "A crane can lift 40 tons.", "Rain fell."]}
    told = (await client.post("/v1/embeddings", json=body)).json()
    one, like, other = (each["embedding"] for each in told["data"])
    assert len(one) == 384
    assert math.isclose(math.hypot(*one), 1, rel_tol=1e-4)
    assert sum(map(float.__mul__, one, like)) > sum(map(float.__mul__, one, other)) + 0.3
    assert told["usage"]["prompt_tokens"] > 0
    long = await client.post("/v1/embeddings", json={"model": name, "input": ["x", "word " * 300]})
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert long.json()["error"]["param"] == "input.1"
