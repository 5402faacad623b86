"""An engine on a real database, with a scripted model behind it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import pytest

from app.domain.chats import Chat
from app.domain.events import Numbered
from app.domain.ids import ChatId, SessionId, TenantId, TurnId, new_id
from app.domain.models import GenerationOptions
from app.domain.retrieval import SearchRequest, SearchResult
from app.domain.sessions import Session
from app.domain.turns import TurnState
from app.engine.ask import Ask, OnDisconnect, Recognition
from app.engine.draft import Draft
from app.engine.follow import follow
from app.engine.lease import Caretaker, Lease, new_process_id
from app.engine.peers import Peers
from app.engine.rag import RagAnswerer
from app.engine.turns import EngineConfig, TurnEngine
from app.llm.base import ChatModel
from repositories.listener import Listener
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.tasks import in_a_task


class NothingFound:
    async def search(self, tenant_id: TenantId, request: SearchRequest) -> SearchResult:
        return SearchResult(hits=[], total=0, documents=[])


class WordCounter:
    def count(self, text: str) -> int:
        return len(text.split())


class Silent:
    """An observer that remembers how turns ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[TurnId, TurnState]] = []

    def turn_began(self) -> None:
        return

    def turn_ended(self, turn_id: TurnId, ask: Ask, state: TurnState, draft: Draft) -> None:
        self.ended.append((turn_id, state))


class Process:
    """One process of the service: engine, caretaker and peers, as `building.running` holds them."""

    def __init__(self, urls: DatabaseUrls, database: Database, config: EngineConfig) -> None:
        self.database = database
        self.listener = Listener(urls.app)
        self.process_id = new_process_id()
        self.observer = Silent()
        self.engine = TurnEngine(
            database,
            RagAnswerer(NothingFound(), WordCounter()),
            WordCounter(),
            process_id=self.process_id,
            config=config,
            observer=self.observer,
        )
        self.lease = Lease(database, self.process_id, kind="api")
        self.caretaker = Caretaker(database, self.lease, self.engine, WordCounter())
        self.peers = Peers(database, self.listener, self.engine, self.lease)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Process"]:
        await self.lease.take()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.engine.run)
            tasks.start_soon(self.listener.run)
            tasks.start_soon(self.peers.run)
            yield self
            tasks.cancel_scope.cancel()


MakeProcess = Callable[..., Process]


@pytest.fixture
def make_process(fresh_database: DatabaseUrls, database: Database) -> MakeProcess:
    def make(**config: float) -> Process:
        return Process(fresh_database, database, EngineConfig(**config))  # type: ignore[arg-type]

    return make


@pytest.fixture
async def process(make_process: MakeProcess) -> AsyncGenerator[Process]:
    async with in_a_task(make_process().running()) as running:
        yield running


@pytest.fixture
def engine(process: Process) -> TurnEngine:
    return process.engine


@pytest.fixture
async def chat(database: Database, tenant: Tenant) -> Chat:
    now = datetime.now(UTC)
    chat = Chat(id=ChatId(new_id()), tenant_id=tenant.id, name="Support", created_at=now, updated_at=now)
    async with database.unit(tenant.id) as unit:
        await unit.chats.add(chat)
    return chat


@pytest.fixture
async def session(database: Database, tenant: Tenant, chat: Chat) -> Session:
    now = datetime.now(UTC)
    session = Session(id=SessionId(new_id()), chat_id=chat.id, name="A talk", created_at=now, updated_at=now)
    async with database.unit(tenant.id) as unit:
        await unit.sessions.add(session)
    return session


class MakeAsk:
    """Makes asks of one tenant's chat."""

    def __init__(self, tenant: Tenant, chat: Chat) -> None:
        self._tenant = tenant
        self._chat = chat

    def __call__(
        self,
        model: ChatModel,
        *,
        question: str = "How do I reset it?",
        session_id: SessionId | None = None,
        idempotency_key: str | None = None,
        retry_count: int | None = None,
        body: bytes = b"{}",
        on_disconnect: OnDisconnect = "finish",
    ) -> Ask:
        return Ask(
            tenant_id=self._tenant.id,
            key_id=self._tenant.key_id,
            recognition=Recognition(
                route="POST /test", body_hash=body, idempotency_key=idempotency_key, retry_count=retry_count
            ),
            chat=self._chat,
            question=question,
            model=model,
            options=GenerationOptions(),
            prompt_version="v1",
            system="Be brief.",
            session_id=session_id,
            on_disconnect=on_disconnect,
        )


@pytest.fixture
def ask(tenant: Tenant, chat: Chat) -> MakeAsk:
    return MakeAsk(tenant, chat)


async def gather(engine: TurnEngine, tenant: Tenant, turn_id: TurnId) -> list[Numbered]:
    """Follow a turn to its end."""
    with anyio.fail_after(10):
        return [numbered async for batch in follow(engine, tenant.id, turn_id) for numbered in batch]
