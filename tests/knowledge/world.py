"""Datasets, documents and retrieval behind a small app of their own, on a real Postgres, with a worker to call."""

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import obstore
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.engine import create_engine
from app.domain.datasets import NewChunk
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId, new_id
from app.domain.limits import LimitsConfig
from app.domain.principals import ALL_SCOPES, Scope
from app.engine.lease import new_process_id
from app.ingest.blobs import BlobStore
from app.ingest.chunking import chunk_id
from app.ingest.retrying import RetryConfig
from app.llm.base import ChatModel
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.llm.scripted import ScriptedEmbeddingModel
from app.llm.tokens import ApproximateTokenCounter
from app.retrieval.service import Retriever
from app.retrieval.text_index import tsvector
from app.security.authenticator import Authenticator
from app.security.keys import make_key
from app.security.limits import Limits
from app.security.quotas import Quotas
from app.worker import WorkerConfig, WorkerParts, run_worker
from repositories.limits import LimitCounters
from repositories.listener import Listener
from repositories.statements import Driver, Statement
from repositories.unit_of_work import Database
from routers import chunks, datasets, documents, errors, file_tree, files, images, jobs, metadata, retrieval
from routers.deps import EdgeConfig
from tests.chats.world import PEPPER, Api
from tests.pg import DatabaseUrls
from tests.routes import include

ENTRIES = (
    ModelEntry(name="scripted-embedding", provider="builtin", kind="embedding", dimensions=64, default=True),
    ModelEntry(name="other-embedding", provider="builtin", kind="embedding", dimensions=64),
    ModelEntry(name="keyless", provider="Cloud", kind="embedding", base_url="http://x", dimensions=64),
    ModelEntry(name="ranker", provider="builtin", kind="rerank"),
)
ROUTES = (datasets, metadata, images, documents, chunks, files, file_tree, retrieval, jobs)
DEFAULT_MODEL = "scripted-embedding@builtin"
FAST = WorkerConfig(lease_s=5, heartbeat_s=0.1, poll_s=0.2, retry=RetryConfig(backoff_s=0.05))


@dataclass
class World:
    """The app, its database and a record of what is asked of it."""

    database: Database
    engine: AsyncEngine
    urls: DatabaseUrls
    client: AsyncClient
    app: FastAPI
    blobs: BlobStore
    catalogue: ModelCatalogue
    embedding: ScriptedEmbeddingModel
    models: dict[str, Any] = field(default_factory=dict[str, Any])

    async def caller(self, scopes: frozenset[Scope] = ALL_SCOPES) -> Api:
        tenant_id = TenantId(new_id())
        key = make_key(tenant_id=tenant_id, pepper=PEPPER, now=datetime.now(UTC), scopes=scopes)
        async with self.database.unit(tenant_id) as unit:
            await unit.tenants.add("someone")
            await unit.keys.add(key.stored, key.hash)
        return Api(self.client, tenant_id, key.secret)

    def worker_parts(self, config: WorkerConfig = FAST, *, owner: str = "w1", hears: bool = True) -> WorkerParts:
        return WorkerParts(
            database=self.database,
            blobs=self.blobs,
            catalogue=self.catalogue,
            tokens=ApproximateTokenCounter(),
            owner=owner,
            listener=Listener(self.urls.app) if hears else None,
            config=config,
        )

    async def work(self, config: WorkerConfig = FAST) -> None:
        """Run a worker until nothing is left to do."""
        with anyio.fail_after(60):
            await run_worker(self.worker_parts(config, hears=False), exit_when_idle_s=0.05)

    async def rows(self, api: Api, statement: str, **values: Any) -> Sequence[Any]:
        async with self.database.unit(api.tenant_id) as unit:
            return (await unit._connection.execute(text(statement), values)).all()

    @contextmanager
    def queries(self) -> Generator[list[str], None, None]:
        """Record the statements that run meanwhile, through SQLAlchemy or straight to the driver."""
        seen: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        def noted(method: Any) -> Any:
            async def noting(driver: Driver, statement: Statement | str, *values: Any) -> Any:
                seen.append(statement if isinstance(statement, str) else statement.sql)
                return await method(driver, statement, *values)

            return noting

        event.listen(self.engine.sync_engine, "before_cursor_execute", note)
        try:
            with pytest.MonkeyPatch.context() as patched:
                for name in ("all", "first", "scalar", "run", "set"):
                    patched.setattr(Driver, name, noted(getattr(Driver, name)))
                yield seen
        finally:
            event.remove(self.engine.sync_engine, "before_cursor_execute", note)


async def make_dataset(api: Api, **sent: Any) -> Any:
    return await api.ok("POST", "/datasets", json={"name": new_id(), **sent})


async def upload(api: Api, dataset_id: str, *files: tuple[str, bytes]) -> list[Any]:
    parts = [("file", (name, data)) for name, data in files]
    documents: list[Any] = await api.ok("POST", f"/datasets/{dataset_id}/documents", files=parts)
    return documents


async def parse(api: Api, dataset_id: str, *document_ids: str) -> None:
    await api.ok("POST", f"/datasets/{dataset_id}/chunks", json={"document_ids": list(document_ids)})


async def shown(api: Api, dataset_id: str, document_id: str) -> Any:
    listed = await api.ok("GET", f"/datasets/{dataset_id}/documents", params={"id": document_id})
    return listed["docs"][0]


async def parsed(world: World, api: Api, dataset_id: str, *files: tuple[str, bytes]) -> list[Any]:
    """Upload and parse; the documents as they are then."""
    ids = [document["id"] for document in await upload(api, dataset_id, *files)]
    await parse(api, dataset_id, *ids)
    await world.work()
    return [await shown(api, dataset_id, each) for each in ids]


def stored_blobs(world: World) -> list[str]:
    """Return the keys of all bytes there are, of all tenants."""
    return sorted(str(blob["path"]) for page in obstore.list(world.blobs._store) for blob in page)


async def add_chunk(
    world: World, api: Api, dataset_id: str, document_id: str, content: str, vector: Sequence[float] | None = None
) -> None:
    """What `POST …/chunks` of a document will do: no title tokens, no position (knowledge.md 3.1)."""
    chunk = NewChunk(
        id=ChunkId(chunk_id(content, document_id)),
        section_id=None,
        ordinal=1000,
        content=content,
        lexemes=tsvector(content, ""),
        embedding=vector or world.embedding.vector(content),
        positions=[],
        token_count=3,
    )
    async with world.database.unit(api.tenant_id) as unit:
        rows, tokens = await unit.chunks.add(DatasetId(dataset_id), DocumentId(document_id), [chunk])
        await unit.datasets.add_counts(DatasetId(dataset_id), chunks=rows, tokens=tokens)


async def assert_exact_counters(world: World, api: Api) -> None:
    """Every counter is what counting the rows gives, each as often as it was added (knowledge.md 3.1)."""
    drifted = await world.rows(
        api,
        """
        SELECT d.id, d.document_count, d.chunk_count, d.token_count,
            (SELECT count(*) FROM documents x WHERE x.dataset_id = d.id) AS documents,
            (SELECT COALESCE(sum(additions), 0) FROM chunks c WHERE c.dataset_id = d.id) AS chunks,
            (SELECT COALESCE(sum(additions * token_count), 0) FROM chunks c WHERE c.dataset_id = d.id) AS tokens
        FROM datasets d
        """,
    )
    for row in drifted:
        assert (row.document_count, row.chunk_count, row.token_count) == (row.documents, row.chunks, row.tokens)
    for row in await world.rows(
        api,
        """
        SELECT d.chunk_count, d.token_count, COALESCE(sum(c.additions), 0) AS chunks,
            COALESCE(sum(c.additions * c.token_count), 0) AS tokens
        FROM documents d LEFT JOIN chunks c ON c.document_id = d.id GROUP BY d.tenant_id, d.id
        """,
    ):
        assert (row.chunk_count, row.token_count) == (row.chunks, row.tokens)


@pytest.fixture
async def world(fresh_database: DatabaseUrls) -> AsyncIterator[World]:
    """The app with routes of datasets, documents, chunks and retrieval; jobs run when a test says so."""
    engine = create_engine(fresh_database.app, pool_size=10)
    database = Database(engine)
    embedding = ScriptedEmbeddingModel(provider="builtin")
    models: dict[str, Any] = {
        "scripted-embedding": embedding,
        "other-embedding": ScriptedEmbeddingModel(name="other-embedding", provider="builtin"),
    }

    def built(entry: ModelEntry) -> Any:
        return models[entry.name]

    def chat(entry: ModelEntry) -> ChatModel:
        raise LookupError(entry.name)

    embedding_of: Any = built
    rerank_of: Any = built
    catalogue = ModelCatalogue(ENTRIES, chat=chat, embedding=embedding_of, rerank=rerank_of)
    blobs = BlobStore.at("memory:///")
    app = FastAPI(redirect_slashes=False)
    app.state.database = database
    app.state.authenticator = Authenticator(database, PEPPER)
    app.state.catalogue = catalogue
    app.state.blobs = blobs
    app.state.tokens = ApproximateTokenCounter()
    app.state.retriever = Retriever(database, catalogue)
    app.state.quotas = Quotas(database, new_process_id())
    app.state.limits = Limits(LimitCounters(database.url), LimitsConfig(), new_process_id())
    app.state.edge = EdgeConfig(upload_max_bytes=1024 * 1024, upload_max_files=5)
    errors.install(app)
    include(app, *(module.router for module in ROUTES))
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://parley") as client:
        yield World(database, engine, fresh_database, client, app, blobs, catalogue, embedding, models)
    await database.close()


@pytest.fixture
async def api(world: World) -> Api:
    return await world.caller()


@pytest.fixture
async def rival(world: World) -> Api:
    """Another tenant, who must see nothing of the first."""
    return await world.caller()
