"""Units of work: the only place that begins or commits a transaction."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.db.walls import DISPATCH_ROLE, TENANT_SETTING
from app.domain.ids import TenantId
from repositories.chats import ChatRepository
from repositories.chunk_edits import ChunkEdits
from repositories.chunk_search import ChunkSearch
from repositories.chunk_titles import ChunkTitleRepository
from repositories.chunks import ChunkRepository
from repositories.connections import Connections, roll_back
from repositories.contents import ContentsRepository
from repositories.dataset_removal import DatasetRemoval
from repositories.datasets import DatasetRepository
from repositories.dispatch import DispatchRepository
from repositories.document_contents import DocumentContents
from repositories.document_metadata import DocumentMetadataRepository
from repositories.documents import DocumentRepository
from repositories.file_links import FileLinkRepository
from repositories.files import FileRepository
from repositories.graph import GraphRepository
from repositories.graph_forgetting import GraphForgetting
from repositories.graph_search import GraphSearch
from repositories.idempotency import IdempotencyRepository
from repositories.index_jobs import IndexJobRepository
from repositories.jobs import JobRepository
from repositories.keys import KeyRepository
from repositories.messages import MessageRepository
from repositories.model_answers import ModelAnswerRepository
from repositories.model_listing import ModelListing
from repositories.quotas import QuotaRepository
from repositories.search_apps import SearchAppRepository
from repositories.sections import SectionRepository
from repositories.service import ServiceRepository
from repositories.session_forks import SessionForks
from repositories.session_messages import SessionMessages
from repositories.session_retention import SessionRetention
from repositories.sessions import SessionRepository
from repositories.statements import Driver, Statement
from repositories.stats import StatsRepository
from repositories.stray_blobs import StrayBlobRepository
from repositories.summaries import SummaryRepository
from repositories.tags import TagRepository
from repositories.tenants import TenantRepository
from repositories.told_messages import ToldMessages
from repositories.turn_events import LogBatch, TurnEventRepository
from repositories.turns import TurnRepository
from repositories.usage import UsageRepository

_NOTIFY = Statement("SELECT pg_notify(:channel, :payload)")
_TENANT_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class UnitOfWork:
    """One transaction of one tenant, and the repositories that speak through it.

    Everybody locks in one order, so that no two units wait for each other: chats, their sessions, their turns; or
    documents, jobs, datasets; each by their ids. Sums that triggers keep come after what they count, the ledger last.
    """

    def __init__(self, connection: AsyncConnection, driver: Driver, tenant_id: TenantId) -> None:
        self._connection = connection
        self._driver = driver
        self.tenant_id = tenant_id

    @cached_property
    def tenants(self) -> TenantRepository:
        """The tenant's own row."""
        return TenantRepository(self._connection, self.tenant_id)

    @cached_property
    def keys(self) -> KeyRepository:
        """API keys and embed tokens."""
        return KeyRepository(self._connection, self.tenant_id)

    @cached_property
    def chats(self) -> ChatRepository:
        """Chat assistants."""
        return ChatRepository(self._connection, self._driver, self.tenant_id)

    @cached_property
    def sessions(self) -> SessionRepository:
        """Sessions of any kind."""
        return SessionRepository(self._connection, self.tenant_id)

    @cached_property
    def messages(self) -> MessageRepository:
        """Messages and their references."""
        return MessageRepository(self._driver, self.tenant_id)

    @cached_property
    def session_messages(self) -> SessionMessages:
        """What was said in sessions: stretches, votes, deleted turns."""
        return SessionMessages(self._driver, self.tenant_id)

    @cached_property
    def session_forks(self) -> SessionForks:
        """Copies of sessions."""
        return SessionForks(self._driver, self.tenant_id)

    @cached_property
    def told(self) -> ToldMessages:
        """Histories that callers bring."""
        return ToldMessages(self._driver, self.tenant_id)

    @cached_property
    def turns(self) -> TurnRepository:
        """Turns: opened, closed, found."""
        return TurnRepository(self._driver, self.tenant_id)

    @cached_property
    def turn_events(self) -> TurnEventRepository:
        """The event log of turns."""
        return TurnEventRepository(self._driver, self.tenant_id)

    @cached_property
    def usage(self) -> UsageRepository:
        """The ledger and its roll-ups."""
        return UsageRepository(self._driver, self.tenant_id)

    @cached_property
    def session_retention(self) -> SessionRetention:
        """The end of sessions nobody writes to."""
        return SessionRetention(self._driver, self.tenant_id)

    @cached_property
    def quotas(self) -> QuotaRepository:
        """Tokens of the day."""
        return QuotaRepository(self._driver, self.tenant_id)

    @cached_property
    def stats(self) -> StatsRepository:
        """Sums over sessions, by days."""
        return StatsRepository(self._driver, self.tenant_id)

    @cached_property
    def idempotency(self) -> IdempotencyRepository:
        """Answers kept for repeated calls."""
        return IdempotencyRepository(self._driver, self.tenant_id)

    @cached_property
    def model_listing(self) -> ModelListing:
        """Assistants in brief, for the list of models."""
        return ModelListing(self._connection, self.tenant_id)

    @cached_property
    def datasets(self) -> DatasetRepository:
        """Datasets with their counters."""
        return DatasetRepository(self._connection, self._driver, self.tenant_id)

    @cached_property
    def documents(self) -> DocumentRepository:
        """Documents: rows, run states, progress."""
        return DocumentRepository(self._connection, self.tenant_id)

    @cached_property
    def contents(self) -> ContentsRepository:
        """Tables of contents of documents."""
        return ContentsRepository(self._connection, self.tenant_id)

    @cached_property
    def index_jobs(self) -> IndexJobRepository:
        """Jobs that index whole datasets."""
        return IndexJobRepository(self._connection, self.tenant_id)

    @cached_property
    def tags(self) -> TagRepository:
        """Tags of tag datasets."""
        return TagRepository(self._connection, self.tenant_id)

    @cached_property
    def summaries(self) -> SummaryRepository:
        """Summaries over the chunks of documents."""
        return SummaryRepository(self._connection, self.tenant_id)

    @cached_property
    def files(self) -> FileRepository:
        """The folder tree."""
        return FileRepository(self._connection, self.tenant_id)

    @cached_property
    def file_links(self) -> FileLinkRepository:
        """Documents that were made of files."""
        return FileLinkRepository(self._connection, self.tenant_id)

    @cached_property
    def search_apps(self) -> SearchAppRepository:
        """Search apps."""
        return SearchAppRepository(self._connection, self.tenant_id)

    @cached_property
    def sections(self) -> SectionRepository:
        """Outlines of documents."""
        return SectionRepository(self._connection, self.tenant_id)

    @cached_property
    def chunks(self) -> ChunkRepository:
        """Chunks: stored, listed, changed."""
        return ChunkRepository(self._connection, self.tenant_id)

    @cached_property
    def chunk_edits(self) -> ChunkEdits:
        """Single chunks: added, changed, deleted."""
        return ChunkEdits(self._connection, self.tenant_id)

    @cached_property
    def chunk_search(self) -> ChunkSearch:
        """Searches among chunks."""
        return ChunkSearch(self._driver, self.tenant_id)

    @cached_property
    def graph(self) -> GraphRepository:
        """Knowledge graphs, as jobs make them."""
        return GraphRepository(self._connection, self.tenant_id)

    @cached_property
    def graph_forgetting(self) -> GraphForgetting:
        """What is taken out of knowledge graphs."""
        return GraphForgetting(self._connection, self.tenant_id)

    @cached_property
    def graph_search(self) -> GraphSearch:
        """Knowledge graphs shown and searched."""
        return GraphSearch(self._connection, self.tenant_id)

    @cached_property
    def jobs(self) -> JobRepository:
        """Background jobs."""
        return JobRepository(self._connection, self.tenant_id)

    @cached_property
    def model_answers(self) -> ModelAnswerRepository:
        """What background jobs heard from models."""
        return ModelAnswerRepository(self._connection, self.tenant_id)

    @cached_property
    def chunk_titles(self) -> ChunkTitleRepository:
        """What chunks know of their document's name."""
        return ChunkTitleRepository(self._connection, self.tenant_id)

    @cached_property
    def document_contents(self) -> DocumentContents:
        """Chunks of whole documents, in bulk."""
        return DocumentContents(self._connection, self.tenant_id)

    @cached_property
    def document_metadata(self) -> DocumentMetadataRepository:
        """Metadata of a dataset's documents."""
        return DocumentMetadataRepository(self._connection, self.tenant_id)

    @cached_property
    def dataset_removal(self) -> DatasetRemoval:
        """Datasets that are taken apart."""
        return DatasetRemoval(self._connection, self.tenant_id)

    @cached_property
    def stray_blobs(self) -> StrayBlobRepository:
        """Blobs that no row names."""
        return StrayBlobRepository(self._connection, self.tenant_id)

    async def notify(self, channel: str, payload: str) -> None:
        """Wake listeners of `channel` when this unit commits; `payload` holds ids only, under 8000 bytes."""
        await self._driver.scalar(_NOTIFY, {"channel": channel, "payload": payload})


class Database:
    """Opens units of work; the only place that begins or commits."""

    def __init__(self, engine: AsyncEngine) -> None:
        # Transactions are begun and ended here and in no other layer: see `_transaction`.
        self._connections = Connections(engine.execution_options(isolation_level="AUTOCOMMIT"))

    @asynccontextmanager
    async def unit(self, tenant_id: TenantId, *, settings: str = "") -> AsyncGenerator[UnitOfWork, None]:
        """Commit when the block ends, roll back when it raises.

        `settings` are further `SET LOCAL` that a repository names, parted by `;`: made in the same round trip.
        """
        if not _TENANT_ID.fullmatch(tenant_id):
            raise ValueError("a tenant id is made of letters, digits, _ and -")
        begin = f"SET LOCAL {TENANT_SETTING} = '{tenant_id}'; {settings}"
        async with self._transaction(begin) as (connection, driver):
            yield UnitOfWork(connection, driver, tenant_id)

    @asynccontextmanager
    async def turns_alone(self, tenant_id: TenantId) -> AsyncGenerator[TurnRepository, None]:
        """Turns without a unit: for `open` and `close`, which are one statement and so one transaction each."""
        async with self._connections.taken() as (_, raw):
            yield TurnRepository(Driver(raw), tenant_id)

    @asynccontextmanager
    async def quotas_alone(self, tenant_id: TenantId) -> AsyncGenerator[QuotaRepository, None]:
        """Quotas without a unit: each of their methods is one statement and so one transaction."""
        async with self._connections.taken() as (_, raw):
            yield QuotaRepository(Driver(raw), tenant_id)

    @asynccontextmanager
    async def usage_alone(self, tenant_id: TenantId) -> AsyncGenerator[UsageRepository, None]:
        """The ledger without a unit: for `add`, which is one statement and so one transaction."""
        async with self._connections.taken() as (_, raw):
            yield UsageRepository(Driver(raw), tenant_id)

    @asynccontextmanager
    async def dispatch(self) -> AsyncGenerator[DispatchRepository, None]:
        """A transaction of no tenant: finding keys and work.

        It crosses the tenant wall but sees only the columns of `app/db/walls.py`.
        """
        async with self._transaction(f"SET LOCAL ROLE {DISPATCH_ROLE}") as (connection, _):
            yield DispatchRepository(connection)

    @asynccontextmanager
    async def log_batch(self) -> AsyncGenerator[LogBatch, None]:
        """A transaction that appends to the logs of several tenants in turn.

        It may return before it is on disk: a crash of Postgres can lose the last moments of running
        turns, never anything a closing transaction has told of (design.md 1.2).
        """
        async with self._transaction("SET LOCAL synchronous_commit = off") as (_, driver):
            yield LogBatch(driver)

    @asynccontextmanager
    async def service(self) -> AsyncGenerator[ServiceRepository, None]:
        """A transaction over tables that belong to the service (processes), and for bare NOTIFY."""
        async with self._transaction("") as (connection, _):
            yield ServiceRepository(connection)

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncGenerator[tuple[AsyncConnection, Driver], None]:
        """Begin, with the settings of the transaction in the same round trip; commit, or roll back when raised.

        Raises:
            Unavailable: there is no connection to be had.
            CommitRefused: a statement had failed and the error was swallowed; nothing was written.
        """
        async with self._connections.taken() as (connection, raw):
            try:
                await raw.execute(f"BEGIN; {begin}")
                yield connection, Driver(raw)
                if await raw.execute("COMMIT") != "COMMIT":
                    raise CommitRefused
            except BaseException:
                await roll_back(connection, raw)
                raise

    @property
    def url(self) -> str:
        """Where it is, password and all: for those who need a connection of their own."""
        return self._connections.url

    @property
    def connections_in_use(self) -> int:
        """How many connections of the pool are out."""
        return self._connections.in_use

    async def close(self) -> None:
        """Give every connection back."""
        await self._connections.close()


class CommitRefused(Exception):
    """Postgres rolled a unit back that was to be committed: an earlier statement of it had failed."""
