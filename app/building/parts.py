"""What the service is built of, from settings; entered once per process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from app.building.models import models
from app.db.engine import create_engine
from app.domain.ids import ProcessId
from app.domain.limits import LimitsConfig, RateConfig
from app.engine.finding import WebSearcher
from app.engine.index_upkeep import IndexUpkeep
from app.engine.lease import Caretaker, Lease, new_process_id
from app.engine.observer import TurnObserver
from app.engine.peers import Peers
from app.engine.rag import RagAnswerer
from app.engine.retention import Retention
from app.engine.turns import Answerer, EngineConfig, TurnEngine
from app.ingest.blobs import BlobStore
from app.llm.base import AttemptObserver, TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.llm.tokens import BpeTokenCounter, Encodings
from app.net.http import HttpClient, HttpConfig
from app.net.pages import PageFetcher
from app.retrieval.service import Retriever
from app.retrieval.web import TavilySearch
from app.security.authenticator import Authenticator
from app.security.limits import Limits
from app.security.quotas import Quotas
from app.security.sealing import Sealer
from app.services.completions import Completions, CompletionsConfig
from app.services.embeddings_api import EmbeddingsApi
from app.services.ledger import Ledger
from app.services.raw_chat import RawChat, RawConfig
from app.services.raw_once import RawOnce
from app.services.v1_assistants import V1Assistants
from app.services.v1_models import V1Models
from app.settings import Settings
from app.telemetry.turns import TurnMetrics
from repositories.limits import LimitCounters, RequestCounter
from repositories.listener import Listener
from repositories.unit_of_work import Database
from routers.deps import EdgeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything routes reach through `app.state`."""

    database: Database
    authenticator: Authenticator
    sealer: Sealer
    catalogue: ModelCatalogue
    blobs: BlobStore
    retriever: Retriever
    engine: TurnEngine
    completions: Completions
    listener: Listener
    lease: Lease
    caretaker: Caretaker
    peers: Peers
    tokens: TokenCounter
    v1_models: V1Models
    v1_assistants: V1Assistants
    ledger: Ledger
    raw_chat: RawChat
    raw_once: RawOnce
    embeddings_api: EmbeddingsApi
    limits: Limits
    quotas: Quotas
    retention: Retention
    index_upkeep: IndexUpkeep
    pages: PageFetcher
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    default_system_prompt: str | None = None


def assemble(
    *,
    database: Database,
    listener: Listener,
    catalogue: ModelCatalogue,
    blobs: BlobStore,
    pepper: bytes,
    counter: TokenCounter,
    observer: TurnObserver,
    process_id: ProcessId,
    edge: EdgeConfig,
    engine_config: EngineConfig,
    completions_config: CompletionsConfig,
    answerer: Answerer | None = None,
    web: WebSearcher | None = None,
    pages: PageFetcher | None = None,
    request_counter: RequestCounter | None = None,
    retention_days: int = 0,
    default_system_prompt: str | None = None,
) -> Parts:
    """Join made parts; tests do it with their own database and models."""
    retriever = Retriever(database, catalogue)
    sealer = Sealer(pepper)
    answerer = answerer or RagAnswerer(retriever, counter, web)
    engine = TurnEngine(database, answerer, counter, process_id=process_id, config=engine_config, observer=observer)
    lease = Lease(database, process_id, kind="api")
    v1_models = V1Models(database, catalogue)
    completions = Completions(database, engine, catalogue, completions_config, sealer)
    ledger = Ledger(database)
    quotas, most_s = engine.quotas, engine_config.turn_timeout_s
    return Parts(
        database=database,
        authenticator=Authenticator(database, pepper),
        sealer=sealer,
        catalogue=catalogue,
        blobs=blobs,
        retriever=retriever,
        engine=engine,
        completions=completions,
        listener=listener,
        lease=lease,
        caretaker=Caretaker(database, lease, engine, counter),
        peers=Peers(database, listener, engine, lease),
        tokens=counter,
        quotas=quotas,
        v1_models=v1_models,
        v1_assistants=V1Assistants(completions, catalogue, v1_models),
        ledger=ledger,
        embeddings_api=EmbeddingsApi(catalogue, quotas, ledger, Encodings()),
        raw_chat=RawChat(catalogue, v1_models, quotas, ledger, counter, RawConfig(timeout_s=most_s)),
        raw_once=RawOnce(database, process_id, most_s=most_s),
        limits=Limits(LimitCounters(database.url), edge.limits, process_id, request_counter),
        retention=Retention(database, retention_days),
        index_upkeep=IndexUpkeep(database),
        pages=pages or PageFetcher(HttpClient(HttpConfig(is_public_only=True))),  # opens nothing until it is used
        edge=edge,
        default_system_prompt=default_system_prompt,
    )


@asynccontextmanager
async def built(
    settings: Settings, database_url: str, pepper: bytes, *, on_attempt: AttemptObserver | None = None
) -> AsyncGenerator[Parts, None]:
    """Build the parts of one process that answers, and give them back at the end."""
    counter = BpeTokenCounter()
    database = Database(create_engine(database_url, pool_size=settings.database_pool_size))
    async with (
        models(settings, counter, on_attempt=on_attempt) as catalogue,
        HttpClient(HttpConfig(connect_timeout_s=settings.connect_timeout)) as web,
        HttpClient(HttpConfig(connect_timeout_s=settings.connect_timeout, is_public_only=True)) as public,
    ):
        try:
            yield assemble(
                database=database,
                listener=Listener(database_url),
                catalogue=catalogue,
                blobs=BlobStore.at(blob_url(settings)),
                pepper=pepper,
                counter=counter,
                observer=TurnMetrics(),
                process_id=new_process_id(),
                edge=_edge(settings),
                engine_config=EngineConfig(
                    turn_timeout_s=settings.turn_timeout,
                    lock_timeout_s=settings.turn_lock_timeout,
                    max_session_messages=settings.max_session_messages,
                    on_full=settings.on_full,
                ),
                completions_config=CompletionsConfig(on_disconnect=settings.on_disconnect),
                default_system_prompt=settings.default_system_prompt,
                request_counter=_request_counter(settings, database_url),
                retention_days=settings.session_retention_days,
                web=TavilySearch(web, settings.tavily_url),
                pages=PageFetcher(public),
            )
        finally:
            await database.close()


def _edge(settings: Settings) -> EdgeConfig:
    return EdgeConfig(
        ping_s=settings.sse_ping,
        expose_prompt=settings.expose_prompt,
        upload_max_bytes=settings.upload_max_bytes,
        upload_max_files=settings.upload_max_files,
        body_max_bytes=settings.body_max_bytes,
        duplicate_dataset_name=settings.duplicate_dataset_name,
        is_compat22=settings.compat == "0.22",
        limits=LimitsConfig(
            rate=RateConfig(limit=settings.rate_limit, burst=settings.rate_burst, window_s=settings.rate_window),
            max_streams=settings.max_streams,
        ),
    )


def _request_counter(settings: Settings, database_url: str) -> RequestCounter | None:
    """Return what counts calls instead of Postgres, if there is a Redis."""
    if settings.redis_url is None:
        return None
    from repositories.redis_limits import FallingBack, RedisCounter

    return FallingBack(RedisCounter(settings.redis_url), LimitCounters(database_url))


@asynccontextmanager
async def running(parts: Parts) -> AsyncGenerator[None, None]:
    """Take the lease, close what a dead process left behind, and hold the tasks that drive the service."""
    await parts.lease.take()
    await parts.caretaker.adopt()
    async with anyio.create_task_group() as tasks:
        await tasks.start(parts.engine.run)
        tasks.start_soon(parts.listener.run)
        tasks.start_soon(parts.caretaker.run)
        tasks.start_soon(parts.peers.run)
        tasks.start_soon(parts.authenticator.run)
        tasks.start_soon(parts.ledger.run)
        tasks.start_soon(parts.limits.run)
        tasks.start_soon(parts.retention.run)
        tasks.start_soon(parts.index_upkeep.run)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await parts.engine.drain(0)
                await parts.lease.leave()
            tasks.cancel_scope.cancel()


def blob_url(settings: Settings) -> str:
    """Return where files are kept."""
    return settings.blob_url or (settings.data_dir.absolute() / "blobs").as_uri()
