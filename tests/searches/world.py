"""The whole service with scripted models, and datasets that need no worker."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.building import Parts, assemble, running
from app.db.engine import create_engine
from app.domain.ids import KeyId, TenantId, new_id
from app.domain.models import ModelItem, ModelText
from app.domain.principals import PAGE_SCOPES, BotKind, KeyKind, Scope, Visit
from app.domain.retrieval import SearchRequest, SearchResult
from app.engine.lease import new_process_id
from app.engine.turns import EngineConfig
from app.ingest.blobs import BlobStore
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.llm.scripted import ScriptedChatModel, ScriptedEmbeddingModel
from app.main import build_app
from app.security.keys import make_key
from app.services.completions import CompletionsConfig
from repositories.listener import Listener
from repositories.unit_of_work import Database
from routers.deps import EdgeConfig
from tests.conftest import PEPPER
from tests.engine.conftest import Silent, WordCounter
from tests.pg import DatabaseUrls
from tests.routes import share_all
from tests.service import NO_ROOTS, Events, on_a_socket, stream
from tests.tasks import in_a_task

ENTRIES = (
    ModelEntry(
        name="scripted-embedding",
        provider="tests",
        kind="embedding",
        base_url="http://x",
        dimensions=64,
        api_key="",
        default=True,
    ),
    ModelEntry(
        name="other-embedding", provider="tests", kind="embedding", base_url="http://x", dimensions=64, api_key=""
    ),
    ModelEntry(name="talker", provider="tests", kind="chat", base_url="http://x", api_key="", default=True),
    ModelEntry(name="other", provider="tests", kind="chat", base_url="http://x", api_key=""),
    ModelEntry(name="small", provider="builtin", kind="chat", base_url="http://x", api_key=""),
)
ORIGIN = "https://page.example"
CAT, DOG, BIRD = "The cat sleeps on the warm stove.", "A dog eats a bone every morning.", "Birds sing at dawn."


@dataclass(frozen=True)
class Api:
    """One caller; paths are whole."""

    client: httpx.AsyncClient
    tenant_id: TenantId
    key_id: KeyId
    key: str
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", **self.headers}

    async def raw(self, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, path, headers=self.auth() | more.pop("headers", {}), **more)

    async def ok(self, method: str, path: str, **more: Any) -> Any:
        answer = await self.raw(method, path, **more)
        assert answer.status_code == 200, answer.text
        assert answer.json()["code"] == 0, answer.text
        return answer.json()["data"]

    async def refusal(self, method: str, path: str, **more: Any) -> tuple[int, int, str]:
        """Return status, code and message of a refused call; its body has nothing else in it."""
        answer = await self.raw(method, path, **more)
        body = answer.json()
        assert body == {"code": body["code"], "message": body["message"], "data": None}, body
        return answer.status_code, body["code"], body["message"]

    async def refusal_22(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Return the whole body of a call that is refused as 0.22 does it."""
        answer = await self.raw(method, path, headers={"X-RAGFlow-Compat": "0.22"}, **more)
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    async def asked(self, path: str, *, is_22: bool = False, **sent: Any) -> Events:
        headers = self.auth() | ({"X-RAGFlow-Compat": "0.22"} if is_22 else {})
        return await stream(self.client, "POST", path, headers=headers, json=sent)


@dataclass
class World:
    """The service, and the models it asks."""

    database: Database
    parts: Parts
    client: httpx.AsyncClient
    embedding: ScriptedEmbeddingModel
    models: dict[str, ScriptedChatModel]

    async def caller(
        self,
        tenant_id: TenantId | None = None,
        *,
        kind: KeyKind = KeyKind.API,
        scopes: frozenset[Scope] | None = None,
        visit: Visit | None = None,
        tokens_per_day: int | None = None,
    ) -> Api:
        """A new tenant with one key, or one more key of a tenant."""
        is_new = tenant_id is None
        tenant_id = tenant_id or TenantId(new_id())
        if scopes is None:
            scopes = frozenset(Scope) if kind is KeyKind.API else PAGE_SCOPES
        key = make_key(
            tenant_id=tenant_id,
            pepper=PEPPER,
            now=datetime.now(UTC),
            scopes=scopes,
            kind=kind,
            visit=visit,
            tokens_per_day=tokens_per_day,
        )
        async with self.database.unit(tenant_id) as unit:
            if is_new:
                await unit.tenants.add("someone")
            await unit.keys.add(key.stored, key.hash)
        headers = {"Origin": visit.origin} if visit is not None else {}
        return Api(self.client, tenant_id, key.stored.id, key.secret, headers)

    async def page(self, api: Api) -> Api:
        """An embed token of the same tenant."""
        return await self.caller(api.tenant_id, kind=KeyKind.EMBED)

    async def visitor(self, api: Api, search_id: str) -> Api:
        """A visitor's token for one search app of the same tenant."""
        visit = Visit(bot_kind=BotKind.SEARCH, bot_id=search_id, origin=ORIGIN, visitor="v")
        return await self.caller(api.tenant_id, kind=KeyKind.VISITOR, visit=visit)

    def says(self, *said: str | Exception, model: str = "talker", provider: str = "tests") -> ScriptedChatModel:
        """Let a chat model say these things, one call after the other; the last one for ever."""
        scripts: list[list[ModelItem | Exception]] = [
            [each] if isinstance(each, Exception) else [ModelText(piece) for piece in _pieces(each)] for each in said
        ]
        made = ScriptedChatModel(*scripts[0], next_scripts=scripts[1:], name=model, provider=provider)
        self.models[model] = made
        return made

    def noted_searches(self) -> list[SearchRequest]:
        """Note what is searched for from now on."""
        noted: list[SearchRequest] = []
        search = self.parts.retriever.search

        async def noting(tenant_id: TenantId, request: SearchRequest, **more: Any) -> SearchResult:
            noted.append(request)
            return await search(tenant_id, request, **more)

        self.parts.retriever.search = noting  # type: ignore[method-assign]  # of this world only
        return noted

    async def ledger(self, api: Api) -> list[tuple[str, str, str, bool]]:
        """What the ledger says: purpose, kind, key and whether the line belongs to a turn; in alphabetical order."""
        statement = "SELECT purpose, kind, api_key_id, turn_id IS NOT NULL AS is_turn FROM usage_ledger"
        rows = await self.rows(api, statement)
        return sorted((row.purpose, row.kind, row.api_key_id, row.is_turn) for row in rows if row.purpose != "ingest")

    async def rows(self, api: Api, statement: str) -> Any:
        async with self.database.unit(api.tenant_id) as unit:
            return (await unit._connection.execute(text(statement))).all()


async def make_dataset(api: Api, *contents: str, name: str = "", **sent: Any) -> str:
    """A dataset with one document that holds these chunks."""
    dataset = await api.ok("POST", "/api/v1/datasets", json={"name": name or new_id(), **sent})
    if contents:
        await add_document(api, dataset["id"], *contents)
    return str(dataset["id"])


async def add_document(api: Api, dataset_id: str, *contents: str, name: str = "pets.txt", **fields: Any) -> str:
    """A document that holds these chunks."""
    path = f"/api/v1/datasets/{dataset_id}/documents"
    [document] = await api.ok("POST", path, files=[("file", (name, b"-"))])
    if fields:
        await api.ok("PUT", f"{path}/{document['id']}", json={"meta_fields": fields})
    for content in contents:
        await api.ok("POST", f"{path}/{document['id']}/chunks", json={"content": content})
    return str(document["id"])


async def make_search(api: Api, **config: Any) -> str:
    made = await api.ok("POST", "/api/v1/searches", json={"name": new_id(), "search_config": config})
    return str(made["search_id"])


def _pieces(text: str) -> list[str]:
    return [f"{word} " if n + 1 < len(text.split(" ")) else word for n, word in enumerate(text.split(" "))]


@asynccontextmanager
async def _world(urls: DatabaseUrls, folder: Path) -> AsyncGenerator[World]:
    database = Database(create_engine(urls.app, pool_size=10))
    embedding = ScriptedEmbeddingModel()
    models: dict[str, ScriptedChatModel] = {}
    catalogue = ModelCatalogue(
        ENTRIES, chat=lambda entry: _Current(models, entry), embedding=lambda _: embedding, rerank=_no_reranker
    )
    parts = assemble(
        database=database,
        listener=Listener(urls.app),
        catalogue=catalogue,
        blobs=BlobStore.at((folder / "blobs").as_uri()),
        pepper=PEPPER,
        counter=WordCounter(),
        observer=Silent(),
        process_id=new_process_id(),
        edge=EdgeConfig(ping_s=1),
        engine_config=EngineConfig(),
        completions_config=CompletionsConfig(),
    )
    app = build_app(parts)
    share_all(app)
    async with (
        running(parts),
        on_a_socket(app) as base_url,
        httpx.AsyncClient(base_url=base_url, timeout=20, verify=NO_ROOTS) as client,
    ):
        world = World(database, parts, client, embedding, models)
        world.says("Yes.")
        yield world
    await database.close()


class _Current:
    """The chat model that a test last gave for an entry."""

    def __init__(self, models: dict[str, ScriptedChatModel], entry: ModelEntry) -> None:
        self._models = models
        self._entry = entry
        self.name = entry.name
        self.provider = entry.provider
        self.context_tokens = None

    def stream(self, *told: Any, **more: Any) -> Any:
        return self._models[self._entry.name].stream(*told, **more)


def _no_reranker(entry: ModelEntry) -> Any:
    raise AssertionError(entry.name)


@pytest.fixture
async def world(fresh_database: DatabaseUrls, tmp_path: Path) -> AsyncIterator[World]:
    async with in_a_task(_world(fresh_database, tmp_path)) as made:
        yield made


@pytest.fixture
async def api(world: World) -> Api:
    return await world.caller()


@pytest.fixture
async def rival(world: World) -> Api:
    """Another tenant, who must see nothing of the first."""
    return await world.caller()


@pytest.fixture
async def page(world: World, api: Api) -> Api:
    """A page of the first tenant, with an embed token."""
    return await world.page(api)


@pytest.fixture
async def pets(api: Api) -> str:
    """A dataset of three chunks."""
    return await make_dataset(api, CAT, DOG, BIRD)
