"""Assistants as models: the official client, and an assistant that knows something."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai

from app.domain.chats import Chat
from app.domain.ids import DatasetId
from tests.conftest import Tenant
from tests.service import Service, scripted

PROMPT = {
    "system": "You know this: {knowledge}",
    "prologue": "Hello!",
    "parameters": [{"key": "knowledge", "optional": False}],
    "quote": True,
    "empty_response": "Nothing is known of that.",
    "refine_multiturn": False,
}
FACTS = (
    "The harbour crane Marlene lifts forty tons at most.",
    "The harbour crane Ottilie lifts ninety tons at most.",
)
QUESTION = "How much does the harbour crane lift?"
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def says(text: str, question: str = QUESTION, **directive: Any) -> list[dict[str, Any]]:
    """Return the messages of a question to which the scripted model answers `text`."""
    return [{"role": "user", "content": scripted(question, text=text, **directive)}]


def asks(question: str = QUESTION, **directive: Any) -> list[dict[str, Any]]:
    """Return the messages of a question that tells the scripted model what to do."""
    return [{"role": "user", "content": scripted(question, **directive)}]


@asynccontextmanager
async def official(service: Service, tenant: Tenant, **settings: Any) -> AsyncGenerator[Any, None]:
    """Yield the official client for the tenant's key; it does not retry unless told.

    Typed loosely: what is sent are plain objects.
    """
    given: dict[str, Any] = {"max_retries": 0, "timeout": 20, **settings}
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key, **given) as client:
        yield client


@dataclass(frozen=True)
class Knowing:
    """An assistant with a dataset, and the ids of its chunks in the order of FACTS."""

    chat: Chat
    dataset_id: str
    document_id: str
    chunk_ids: tuple[str, ...]


async def knowing(service: Service, tenant: Tenant, facts: Sequence[str] = FACTS, **prompt: Any) -> Knowing:
    """Make a dataset of one document whose chunks are `facts`, and an assistant of it."""
    async with service.client(tenant) as client:
        dataset = await _made(client.post("/api/v1/datasets", json={"name": "harbour"}))
        files = {"file": ("cranes.txt", b"cranes", "text/plain")}
        [document] = await _made(client.post(f"/api/v1/datasets/{dataset['id']}/documents", files=files))
        place = f"/api/v1/datasets/{dataset['id']}/documents/{document['id']}/chunks"
        chunks = [(await _made(client.post(place, json={"content": fact})))["chunk"] for fact in facts]
    chat = await service.chat(
        tenant,
        prompt_config={**PROMPT, **prompt},
        datasets=((DatasetId(dataset["id"]), "harbour"),),
        similarity_threshold=0.05,
        vector_similarity_weight=0.0,  # the scripted vectors mean nothing
    )
    return Knowing(chat, dataset["id"], document["id"], tuple(chunk["id"] for chunk in chunks))


async def _made(call: Any) -> Any:
    answer: httpx.Response = await call
    body = answer.json()
    assert body["code"] == 0, body
    return body["data"]


async def chunks_of(client: Any, **call: Any) -> list[dict[str, Any]]:
    """Return the chunks of a streamed call as JSON, as they came."""
    async with client.chat.completions.with_streaming_response.create(**call, stream=True) as answer:
        lines: list[str] = [line async for line in answer.iter_lines()]
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def content_of(chunks: Sequence[dict[str, Any]]) -> str:
    """Return the text of a stream."""
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])


def joined_calls(chunks: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return id, name and arguments of the tool calls of a stream."""
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for piece in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(piece["index"], ["", "", ""])
                call[0] += piece.get("id", "")
                call[1] += piece["function"].get("name", "")
                call[2] += piece["function"]["arguments"]
    return [(one[0], one[1], one[2]) for _, one in sorted(calls.items())]


def asked_of(service: Service) -> list[dict[str, Any]]:
    """Return the bodies that the chat model was sent."""
    return [call["body"] for call in service.upstream.calls() if call["path"].endswith("/chat/completions")]
