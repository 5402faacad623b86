"""Chats and sessions behind a small app of their own, on a real Postgres; fixtures for both folders."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import event, insert, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.engine import create_engine
from app.db.knowledge import datasets
from app.domain.ids import TenantId, new_id
from app.domain.limits import LimitsConfig
from app.domain.principals import ALL_SCOPES, KeyKind, Scope
from app.engine.lease import new_process_id
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.security.authenticator import Authenticator
from app.security.keys import make_key
from app.security.limits import Limits
from app.security.sealing import Sealer
from repositories.limits import LimitCounters
from repositories.statements import Statement
from repositories.unit_of_work import Database
from routers import chats, errors, feedback, sessions, stats
from tests.pg import DatabaseUrls
from tests.routes import include

PEPPER = b"tests only"

ENTRIES = (
    ModelEntry(name="gpt-4o", provider="OpenAI", kind="chat", base_url="http://x", api_key="", default=True),
    ModelEntry(name="other", provider="OpenAI", kind="chat", base_url="http://x", api_key=""),
    ModelEntry(name="keyless", provider="OpenAI", kind="chat", base_url="http://x"),
    ModelEntry(name="ranker", provider="Local", kind="rerank", base_url="http://x", api_key=""),
)


@dataclass(frozen=True)
class Api:
    """One caller of the API; a call's answer is what `tell` makes of it."""

    client: AsyncClient
    tenant_id: TenantId
    key: str

    async def raw(self, method: str, path: str, **more: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.key}"} | more.pop("headers", {})
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    async def ok(self, method: str, path: str, **more: Any) -> Any:
        answer = await self.raw(method, path, **more)
        assert answer.status_code == 200, answer.text
        assert answer.json()["code"] == 0
        return answer.json()["data"]

    async def refusal(self, method: str, path: str, **more: Any) -> tuple[int, int, str]:
        """Return status, code and message of a refused call; its body has nothing else in it."""
        answer = await self.raw(method, path, **more)
        body = answer.json()
        assert body == {"code": body["code"], "message": body["message"], "data": None}, body
        return answer.status_code, body["code"], body["message"]

    async def chat(self, **fields: Any) -> Any:
        return await self.ok("POST", "/chats", json={"name": new_id(), **fields})

    async def session(self, chat_id: str, **fields: Any) -> Any:
        return await self.ok("POST", f"/chats/{chat_id}/sessions", json=fields)


def invalid(message: str) -> tuple[int, int, str]:
    """A refusal of kind V."""
    return 400, 102, message


def missing(message: str) -> tuple[int, int, str]:
    """A refusal of kind N."""
    return 404, 105, message


@dataclass
class World:
    """The app, its database, and a record of what is asked of it."""

    database: Database
    engine: AsyncEngine
    client: AsyncClient
    app: FastAPI

    async def caller(self, scopes: frozenset[Scope] = ALL_SCOPES, kind: KeyKind = KeyKind.API) -> Api:
        """A new tenant with one key."""
        tenant_id = TenantId(new_id())
        key = make_key(tenant_id=tenant_id, pepper=PEPPER, now=datetime.now(UTC), scopes=scopes, kind=kind)
        async with self.database.unit(tenant_id) as unit:
            await unit.tenants.add("someone")
            await unit.keys.add(key.stored, key.hash)
        return Api(self.client, tenant_id, key.secret)

    async def dataset(
        self, api: Api, *, name: str | None = None, chunks: int = 3, embedding: str = "mini@Builtin"
    ) -> str:
        dataset_id = new_id()
        values = {
            "tenant_id": api.tenant_id,
            "id": dataset_id,
            "name": name or dataset_id,
            "embedding_model": embedding,
            "parser_config": {},
            "chunk_count": chunks,
        }
        async with self.database.unit(api.tenant_id) as unit:
            await unit._connection.execute(insert(datasets).values(values))
        return dataset_id

    async def sql(self, api: Api, statement: Any) -> Any:
        async with self.database.unit(api.tenant_id) as unit:
            return await unit._connection.execute(statement)

    @contextmanager
    def recorded(self) -> Generator[list[str]]:
        """Record the statements of the block, those sent straight to the driver too."""
        seen: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        def arguments(statement: Statement, values: dict[str, Any]) -> list[Any]:
            seen.append(statement.sql)
            return plain(statement, values)

        plain = Statement.arguments
        event.listen(self.engine.sync_engine, "before_cursor_execute", note)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Statement, "arguments", arguments)
                yield seen
        finally:
            event.remove(self.engine.sync_engine, "before_cursor_execute", note)


def _never(_entry: ModelEntry) -> NoReturn:
    raise AssertionError("no model is built for chats and sessions")


@pytest.fixture
async def world(fresh_database: DatabaseUrls) -> AsyncIterator[World]:
    engine = create_engine(fresh_database.app, pool_size=5)
    database = Database(engine)
    app = FastAPI(redirect_slashes=False)
    app.state.database = database
    app.state.authenticator = Authenticator(database, PEPPER)
    app.state.sealer = Sealer(PEPPER)
    app.state.limits = Limits(LimitCounters(database.url), LimitsConfig(), new_process_id())
    app.state.catalogue = ModelCatalogue(ENTRIES, chat=_never, embedding=_never, rerank=_never)
    errors.install(app)
    include(app, chats.router, sessions.router, feedback.router, stats.router)
    transport = ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://parley") as client:
        yield World(database, engine, client, app)
    await database.close()


@pytest.fixture
async def api(world: World) -> Api:
    return await world.caller()


@pytest.fixture
async def rival(world: World) -> Api:
    return await world.caller()


MakeDataset = Callable[..., Awaitable[str]]


@pytest.fixture
def make_dataset(world: World, api: Api) -> MakeDataset:
    async def make(**fields: Any) -> str:
        return await world.dataset(api, **fields)

    return make


async def drop_dataset(world: World, api: Api, dataset_id: str) -> None:
    await world.sql(api, datasets.delete().where(datasets.c.id == dataset_id))


async def backdate(world: World, api: Api, table: Any, row_id: str, created_at: datetime) -> None:
    await world.sql(api, update(table).where(table.c.id == row_id).values(created_at=created_at))
