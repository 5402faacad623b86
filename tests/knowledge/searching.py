"""The conformance fixture of searches, and models that help with them."""

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from app.domain.models import ModelText
from app.domain.retrieval import SearchRequest
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.llm.scripted import ScriptedChatModel
from app.retrieval.service import Retriever
from repositories.statements import Driver, Statement
from routers.middleware import RequestContext
from tests.chats.world import Api
from tests.knowledge.world import ENTRIES, World, add_chunk, make_dataset, parsed

FIXTURE = b"This is the content of a test TXT file."
TALKER = ModelEntry(name="talker", provider="Scripted", kind="chat", base_url="http://x", api_key="", default=True)
EARLY_EXIT = {"total": 0, "chunks": [], "doc_aggs": {}}


async def four_of_five(world: World, api: Api) -> tuple[str, str]:
    """One parsed chunk and four added ones (knowledge.md 3.2); dataset and document."""
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("ragflow_test_upload_0.txt", FIXTURE))
    for number in range(4):
        await add_chunk(world, api, dataset["id"], document["id"], f"chunk test {number}")
    return dataset["id"], document["id"]


async def search(api: Api, *dataset_ids: str, question: str = "chunk", **sent: Any) -> Any:
    return await api.ok("POST", "/retrieval", json={"question": question, "dataset_ids": list(dataset_ids), **sent})


async def refused(api: Api, *dataset_ids: str, **sent: Any) -> tuple[int, int, str]:
    body = {"question": "chunk", "dataset_ids": list(dataset_ids), **sent}
    return await api.refusal("POST", "/retrieval", json=body)


def helped_by(world: World, *said: str | Exception) -> ScriptedChatModel:
    """Let searches ask a chat model that says these things one after the other, the last one for ever."""
    scripts = [[one if isinstance(one, Exception) else ModelText(one)] for one in said]
    model = ScriptedChatModel(*scripts[0], next_scripts=scripts[1:], name="talker", provider="Scripted")
    helped_with(world, model)
    return model


def helped_with(world: World, model: Any) -> None:
    """Let searches ask this chat model."""

    def built(entry: ModelEntry) -> Any:
        return world.models[entry.name]

    known: Any = built
    entries = (*(each for each in ENTRIES if each.kind != "chat"), TALKER)
    catalogue = ModelCatalogue(entries, chat=lambda _: model, embedding=known, rerank=known)
    world.app.state.retriever = Retriever(world.database, catalogue)


def noted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[SearchRequest]:
    """Keep what the retriever is asked for, in its order."""
    retriever: Retriever = world.app.state.retriever
    asked: list[SearchRequest] = []
    search = retriever.search

    async def noting(tenant_id: Any, request: SearchRequest, **more: Any) -> Any:
        asked.append(request)
        return await search(tenant_id, request, **more)

    monkeypatch.setattr(retriever, "search", noting)
    return asked


@contextmanager
def explained() -> Generator[list[str]]:
    """Record the plan of each statement that reads rows meanwhile, straight from the driver."""
    plans: list[str] = []
    read = Driver.all

    async def explain(driver: Driver, statement: Statement, values: dict[str, Any]) -> Any:
        told = Statement("")
        told.sql, told._names = f"EXPLAIN {statement.sql}", statement._names
        plans.append("\n".join(row[0] for row in await read(driver, told, values)))
        return await read(driver, statement, values)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Driver, "all", explain)
        yield plans


def contents(found: Any) -> list[str]:
    """The texts that were found, best first."""
    return [chunk["content"] for chunk in found["chunks"]]


async def purposes(world: World, api: Api) -> list[tuple[str, str]]:
    """What the ledger says of searches: purpose and kind of each model call."""
    rows: Sequence[Any] = await world.rows(api, "SELECT purpose, kind FROM usage_ledger ORDER BY id")
    return [(row.purpose, row.kind) for row in rows if row.purpose != "ingest"]


@pytest.fixture
async def as_22(world: World, api: Api) -> AsyncIterator[Api]:
    """The same caller under compat=0.22."""
    app: Any = RequestContext(world.app, is_compat22=True)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://parley") as client:
        yield Api(client, api.tenant_id, api.key)


@pytest.fixture
async def fixture(world: World, api: Api) -> tuple[str, str]:
    """Return the dataset and the document of `four_of_five`."""
    return await four_of_five(world, api)
