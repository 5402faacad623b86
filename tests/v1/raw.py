"""Raw models for tests: what the scripted upstream is told to do stands in the question."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.llm.base import Patience
from app.llm.entries import ModelEntry
from routers.deps import EdgeConfig
from tests.pg import DatabaseUrls
from tests.service import Events, Service, scripted, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

CALLS: list[dict[str, str]] = [
    {"name": "look_up", "arguments": '{"wörd": "größe"}', "id": "call_a"},
    {"name": "add", "arguments": '{"a": 1, "b": 22}', "id": "call_b"},
]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("look_up", "add")
]


def entries(upstream: ScriptedUpstream) -> list[ModelEntry]:
    """Models that differ in what they can do."""

    def chat(name: str, provider: str = "tests", **more: Any) -> ModelEntry:
        return ModelEntry(name=name, provider=provider, kind="chat", base_url=upstream.base_url, api_key="k", **more)

    def embedding(name: str, **more: Any) -> ModelEntry:
        more = {"dimensions": 8, **more}
        return ModelEntry(
            name=name, provider="tests", kind="embedding", base_url=upstream.base_url, api_key="k", **more
        )

    everything = ("tools", "json_schema", "logprobs", "n", "vision", "developer", "completions")
    return [
        chat("able", capabilities=everything),
        chat("plain", capabilities=()),
        chat("new-names", capabilities=("max_completion_tokens",)),
        chat("twin"),
        chat("twin", "others"),
        chat("org/Ünder Model:v1", upstream_name="scripted"),
        chat("no-key").__class__(name="no-key", provider="tests", kind="chat", base_url=upstream.base_url),
        embedding("embed", batch=64, encoding="cl100k_base", context=100),
        embedding("embed-cut", capabilities=("shortening",)),
        embedding("embed-any", capabilities=("dimensions", "tokens")),
        embedding('nan@@{"nan": true}'),
        embedding('slow@@{"head_ms": 400}', batch=1),
        embedding('flaky@@{"status": 500, "status_from": 4}', batch=1),
    ]


@pytest.fixture
async def service(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    """A service with raw models, whose SSE streams say `: ping` every second."""
    patience = Patience(first_token_s=20, piece_s=20)
    one = served(
        fresh_database,
        upstream,
        tmp_path,
        edge=EdgeConfig(ping_s=1),
        patience=patience,
        entries=entries(upstream),
    )
    async with in_a_task(one) as found:
        yield found


def ask(question: str = "How?", model: str = "scripted", /, **body: Any) -> dict[str, Any]:
    """Return the body of a chat completion; words of the scripted upstream go in with `do`."""
    directive = body.pop("do", None)
    text = scripted(question, **directive) if directive is not None else question
    return {"model": model, "messages": [{"role": "user", "content": text}], **body}


async def streamed(client: httpx.AsyncClient, body: dict[str, Any], path: str = "/v1/chat/completions") -> Events:
    """Return the whole stream."""
    answer = await client.post(path, json=body | {"stream": True})
    return Events(answer.status_code, answer.headers, answer.content)


def envelope(answer: httpx.Response) -> dict[str, Any]:
    """Return the error of an answer, which must be there and whole."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = told["error"]
    return error


def assert_framed(raw: bytes) -> None:
    """Hold the bytes of a whole stream against openai.md 1.8: no `event:`, `id:` or `retry:`, one line an event, LF."""
    assert b"\r" not in raw
    assert raw.endswith(b"\n\ndata: [DONE]\n\n")
    *events, _ = raw.removesuffix(b"\n\n").split(b"\n\n")
    for event in events:
        assert event == b": ping" or event.startswith(b"data: {"), event
        assert b"\n" not in event
        assert event == b": ping" or json.loads(event.removeprefix(b"data: "))


def joined(chunks: list[Any]) -> dict[str, Any]:
    """Return the first choice as clients put it together: strings are joined."""
    message: dict[str, Any] = {"calls": {}}
    for chunk in chunks:
        for choice in chunk["choices"] if isinstance(chunk, dict) else ():
            if choice["index"] != 0:
                continue
            for key, value in choice["delta"].items():
                if key == "tool_calls":
                    for part in value:
                        call = message["calls"].setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
                        call["id"] += part.get("id", "")
                        for name, words in part["function"].items():
                            call[name] += words
                elif isinstance(value, str):
                    message[key] = message.get(key, "") + value
            if choice["finish_reason"]:
                message["finish"] = choice["finish_reason"]
    return message
