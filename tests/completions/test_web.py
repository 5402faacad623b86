"""Web search with an assistant's key, over HTTP to a stand-in of the provider (conversations.md 10.7 step 2)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from app.domain.errors import UpstreamFailed
from app.net.http import HttpClient
from app.retrieval.knowledge import CITATION_INSTRUCTIONS
from app.retrieval.web import RESULTS_MOST, TavilySearch
from tests.conftest import Tenant
from tests.contract.asking import stored, told
from tests.service import Service, on_a_socket, scripted, stream
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

CHUNK_KEYS = {
    "id", "content", "document_id", "document_name", "dataset_id", "image_id", "positions", "url", "similarity",
    "vector_similarity", "term_similarity", "doc_type", "chunk_id", "doc_id", "doc_name",
}  # fmt: skip
RESULTS = [
    {"title": "Refunds", "url": "https://shop.example/refunds", "content": "Thirty days.", "score": 0.9},
    {"title": "", "url": "https://shop.example/x", "content": "More.", "score": None},
    {"title": "No words", "url": "https://shop.example/y", "content": " "},
    {"title": "No page", "url": "javascript:alert(1)", "content": "Bad."},
    "nothing",
]


class Provider:
    """An ASGI app that answers searches."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"results": RESULTS}
        self.asked: list[tuple[str, str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        key = dict(scope["headers"]).get(b"authorization", b"").decode()
        self.asked.append((scope["path"], key, orjson.loads(message["body"])))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": orjson.dumps(self.body)})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def search(provider: Provider) -> AsyncIterator[TavilySearch]:
    async with in_a_task(on_a_socket(provider)) as base_url, HttpClient() as http:
        yield TavilySearch(http, base_url)


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


@pytest.mark.promise("conversations:10.7-web")
async def test_pages_come_as_references_with_their_url(provider: Provider, search: TavilySearch) -> None:
    pages = await search.search("refunds?", "tvly-1", deadline_s=soon())

    [(path, key, body)] = provider.asked
    assert (path, key) == ("/search", "Bearer tvly-1")
    assert body == {"query": "refunds?", "search_depth": "advanced", "max_results": RESULTS_MOST}
    assert [(one.document_name, one.url, one.content, one.similarity) for one in pages] == [
        ("Refunds", "https://shop.example/refunds", "Thirty days.", 0.9),
        ("https://shop.example/x", "https://shop.example/x", "More.", None),
    ]


@pytest.mark.promise("conversations:10.7-web-falls-back")
async def test_what_goes_wrong_names_neither_key_nor_query(provider: Provider, search: TavilySearch) -> None:
    for status, body, key in (
        (500, {}, "tvly-1"),
        (200, {"no": 1}, "tvly-1"),
        (200, {"results": 1}, "tvly-1"),
        (200, {}, "a\nb"),
    ):
        provider.status, provider.body = status, body
        with pytest.raises(UpstreamFailed) as failure:
            await search.search("secret question", key, deadline_s=soon())
        assert key not in failure.value.message
        assert "secret question" not in failure.value.message


@pytest.mark.promise("conversations:10.10-web-alone", "conversations:4.6-internet", "conversations:4.1-quote")
@pytest.mark.promise("conversations:4.4-final-content", "conversations:4.4-reference")
async def test_an_assistant_with_a_sealed_key_answers_from_the_web(
    service: Service,
    tenant: Tenant,
    client: httpx.AsyncClient,
    upstream: ScriptedUpstream,
    provider: Provider,
    search: TavilySearch,
) -> None:
    service.parts.engine._answerer._finder._web = search  # type: ignore[attr-defined]  # what settings do
    made = await client.post("/api/v1/chats", json={
        "name": "Web", "prompt": {"prompt": "Use {knowledge}", "tavily_api_key": "tvly-2"},
    })  # fmt: skip
    chat = made.json()["data"]
    assert chat["prompt"]["tavily_api_key"] == "***"
    url = f"/api/v1/chats/{chat['id']}/completions"

    answer = await client.post(url, json={"question": scripted(text="Thirty days [ID:0]."), "stream": False})

    data = answer.json()["data"]
    assert data["answer"] == "Thirty days [ID:0]."
    assert [one["url"] for one in data["reference"]["chunks"]] == [one["url"] for one in RESULTS[:2]]  # type: ignore[index]
    assert data["reference"]["doc_aggs"][0]["doc_name"] == "Refunds"
    assert [key for _, key, _ in provider.asked] == ["Bearer tvly-2"]

    near_miss = scripted(text="Thirty days (ID: 0).", gap_ms=5)
    streamed = await stream(client, "POST", url, json={"question": near_miss})
    *pieces, final = [one["data"] for one in streamed.data[:-2]]
    assert [one["reference"] for one in pieces] == [{}] * len(pieces)
    assert (streamed.text, final["final_content"]) == ("Thirty days (ID: 0).", "Thirty days [ID:0].")
    assert set(final["reference"]["chunks"][0]) == CHUNK_KEYS
    assert set(final["reference"]) == {"total", "chunks", "doc_aggs"}
    [*_, answer_kept] = await stored(service, tenant, final["session_id"])
    assert answer_kept.content == final["final_content"]
    assert CITATION_INSTRUCTIONS in told(upstream)[0][1]

    unquoted = await client.post(url, json={"question": near_miss, "stream": False, "quote": False})
    assert (unquoted.json()["data"]["answer"], unquoted.json()["data"]["reference"]) == ("Thirty days (ID: 0).", {})
    assert CITATION_INSTRUCTIONS not in told(upstream)[0][1]
    provider.asked.clear()

    offline = await client.post(url, json={"question": scripted(text="So."), "stream": False, "internet": False})
    assert (offline.json()["data"]["answer"], len(provider.asked)) == ("So.", 0)
