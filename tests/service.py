"""The whole service for tests: in this process on a real socket, or as `parley serve` in processes of its own."""

import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import structlog
import uvicorn
from fastapi import FastAPI

from app.building import Parts, assemble, running
from app.db.engine import create_engine
from app.domain.chats import Chat
from app.domain.ids import ChatId, TenantId, new_id
from app.domain.principals import ALL_SCOPES, KeyKind, Scope
from app.engine.lease import new_process_id
from app.engine.turns import EngineConfig
from app.ingest.blobs import BlobStore
from app.llm.base import Patience
from app.llm.entries import ModelEntry
from app.llm.factory import ModelFactory, ModelRoomConfig
from app.llm.retry import RetryPolicy
from app.main import build_app
from app.net.http import HttpClient, HttpConfig
from app.security.keys import make_key
from app.services.completions import CompletionsConfig
from repositories.listener import Listener
from repositories.unit_of_work import Database
from routers.deps import EdgeConfig
from tests.conftest import PEPPER, Tenant
from tests.engine.conftest import Silent, WordCounter
from tests.pg import DatabaseUrls
from tests.routes import share_all
from tests.upstream.fixtures import ScriptedUpstream

MODEL = "scripted"

# What clients of plain http check servers against. By default each client reads the roots of the web, for 20 ms.
NO_ROOTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def scripted(question: str = "How?", **directive: Any) -> str:
    """Return a question that tells the scripted upstream how to answer (tests/upstream/directives.py)."""
    return f"{question} @@{json.dumps(directive)}"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service on a socket of this machine."""

    base_url: str
    parts: Parts
    app: FastAPI
    database: Database
    upstream: ScriptedUpstream

    async def tenant(
        self,
        scopes: frozenset[Scope] = ALL_SCOPES,
        kind: KeyKind = KeyKind.API,
        tenant_id: TenantId | None = None,
    ) -> Tenant:
        """Make a tenant with one key, or one more key of a tenant."""
        is_new = tenant_id is None
        tenant_id = tenant_id or TenantId(new_id())
        key = make_key(tenant_id=tenant_id, pepper=PEPPER, now=datetime.now(UTC), scopes=scopes, kind=kind)
        async with self.database.unit(tenant_id) as unit:
            if is_new:
                await unit.tenants.add("someone")
            await unit.keys.add(key.stored, key.hash)
        return Tenant(tenant_id, key.stored.id, key.secret)

    async def chat(self, tenant: Tenant, **changes: Any) -> Chat:
        """Make an assistant without datasets; its prompt is short."""
        now = datetime.now(UTC)
        prompt = {"system": "Be brief.", "prologue": "Hello!", "parameters": [], "quote": True, "empty_response": ""}
        values: dict[str, Any] = {"name": new_id(), "prompt_config": prompt, **changes}
        chat = Chat(id=ChatId(new_id()), tenant_id=tenant.id, created_at=now, updated_at=now, **values)
        async with self.database.unit(tenant.id) as unit:
            await unit.chats.add(chat)
        return chat

    def client(self, tenant: Tenant | None = None) -> httpx.AsyncClient:
        """Return a client of this service, with the tenant's key."""
        headers = tenant.auth if tenant is not None else {}
        return httpx.AsyncClient(base_url=self.base_url, headers=headers, timeout=20, verify=NO_ROOTS)


@asynccontextmanager
async def parts_of(
    urls: DatabaseUrls,
    upstream: ScriptedUpstream,
    folder: Path,
    *,
    edge: EdgeConfig | None = None,
    engine: EngineConfig | None = None,
    patience: Patience | None = None,
    entries: Sequence[ModelEntry] = (),
) -> AsyncGenerator[Parts, None]:
    """Join the parts of one process; its default chat model is the scripted upstream, more come as `entries`."""
    database = Database(create_engine(urls.app, pool_size=10))
    entry = ModelEntry(
        name=MODEL, provider="tests", kind="chat", base_url=upstream.base_url, api_key="upstream-secret", default=True
    )
    config = ModelRoomConfig(
        run_dir=folder / "run", patience=patience or Patience(), policy=RetryPolicy(attempts=2, base_s=0.01)
    )
    counter = WordCounter()
    async with HttpClient(HttpConfig()) as http:
        factory = ModelFactory(config, http, counter)
        try:
            yield assemble(
                database=database,
                listener=Listener(urls.app),
                catalogue=factory.catalogue([entry, *entries]),
                blobs=BlobStore.at((folder / "blobs").as_uri()),
                pepper=PEPPER,
                counter=counter,
                observer=Silent(),
                process_id=new_process_id(),
                edge=edge or EdgeConfig(),
                engine_config=engine or EngineConfig(),
                completions_config=CompletionsConfig(),
            )
        finally:
            await factory.aclose()
            await database.close()


@asynccontextmanager
async def served(
    urls: DatabaseUrls,
    upstream: ScriptedUpstream,
    folder: Path,
    *,
    edge: EdgeConfig | None = None,
    engine: EngineConfig | None = None,
    patience: Patience | None = None,
    entries: Sequence[ModelEntry] = (),
) -> AsyncGenerator[Service, None]:
    """Serve on a free port of this machine."""
    structlog.configure(
        processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    async with parts_of(urls, upstream, folder, edge=edge, engine=engine, patience=patience, entries=entries) as parts:
        app = build_app(parts)
        share_all(app)
        async with running(parts), on_a_socket(app) as base_url:
            yield Service(base_url=base_url, parts=parts, app=app, database=parts.database, upstream=upstream)


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # pytest keeps them
        return nullcontext()


@asynccontextmanager
async def on_a_socket(app: Any) -> AsyncGenerator[str, None]:
    """Serve an ASGI app; yield its address."""
    # Named as TCP, or asyncio leaves the small packets to wait 40 ms for each other.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        config = uvicorn.Config(
            app, lifespan="off", http="httptools", ws="none", log_config=None, timeout_graceful_shutdown=1
        )
        server = _Server(config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            with anyio.fail_after(10):
                while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
                    await anyio.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.should_exit = True


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one SSE answer."""

    status: int
    headers: httpx.Headers
    raw: bytes

    @property
    def data(self) -> list[Any]:
        """Return each event's data: parsed JSON, or the text `[DONE]`."""
        lines = [line.removeprefix("data: ") for line in self.raw.decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]

    @property
    def text(self) -> str:
        """Return the pieces of a native stream, joined."""
        return "".join(one["data"]["answer"] for one in self.data if isinstance(one, dict) and is_piece(one))


def is_piece(event: Mapping[str, Any]) -> bool:
    """Say whether a native event holds a piece of the answer."""
    data = event.get("data")
    return event.get("code") == 0 and isinstance(data, dict) and data.get("final") is False


async def stream(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> Events:
    """Read a whole SSE answer within 20 seconds."""
    with anyio.fail_after(20):
        async with client.stream(method, path, **more) as answer:
            return Events(answer.status_code, answer.headers, await answer.aread())


# --- parley serve ----------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class ServedProcess:
    """`parley serve` with a database of its own in `folder`, killed and started again as often as you like."""

    folder: Path
    upstream: ScriptedUpstream
    port: int
    workers: int = 1
    key: str = "ragflow-chaos-tests-0123456789abcdef"
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, *, timeout_s: float = 30) -> httpx.AsyncClient:
        """Return a client with its key."""
        return httpx.AsyncClient(base_url=self.base_url, headers=self.auth, timeout=timeout_s, verify=NO_ROOTS)

    @property
    def log(self) -> Path:
        """What the service printed, over all its lives."""
        return self.folder / "service.log"

    def start(self) -> None:
        """Start it; `wait_until_ready` says when it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
        environment |= {
            "PARLEY_DATA_DIR": str(self.folder / "data"),
            "PARLEY_API_KEY": self.key,
            "PARLEY_HOST": "127.0.0.1",
            "PARLEY_PORT": str(self.port),
            "PARLEY_LLM_BASE_URL": self.upstream.base_url,
            "PARLEY_LLM_API_KEY": "upstream-secret",
            "PARLEY_LLM_MODEL": MODEL,
            "PARLEY_LOG_FORMAT": "json",
            "PARLEY_RATE_LIMIT": "0",  # tests of limits say otherwise
            "PARLEY_MAX_STREAMS": "0",
            "PARLEY_MAX_SESSION_MESSAGES": "0",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            **self.settings,
        }
        command = [sys.executable, "-m", "app.cli", "serve", "--workers", str(self.workers)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self, timeout_s: float = 60) -> float:
        """Return how many seconds it took until `/livez` answered and a key was taken."""
        begun = time.monotonic()
        while True:
            assert self.process is not None
            assert self.process.poll() is None, f"the service ended: {self.tail()}"
            assert time.monotonic() - begun < timeout_s, f"the service did not get ready: {self.tail()}"
            try:
                answer = httpx.get(f"{self.base_url}/api/v1/chats", headers=self.auth, timeout=2, verify=NO_ROOTS)
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            if answer.status_code == 200:
                return time.monotonic() - begun
            time.sleep(0.05)

    def kill(self) -> None:
        """End the main process at once (SIGKILL), as a power cut would; its children have to see to themselves."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """End it in order; return the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait(10)

    def tail(self) -> str:
        """Return the last lines it printed."""
        return self.log.read_text("utf-8", "replace")[-3000:] if self.log.exists() else ""


def free_port() -> int:
    """Return a port nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def parley_serve(
    folder: Path, upstream: ScriptedUpstream, *, workers: int = 1, settings: Mapping[str, str] | None = None
) -> Generator[ServedProcess, None, None]:
    """Run `parley serve` in `folder` until the block ends."""
    service = ServedProcess(
        folder=folder, upstream=upstream, port=free_port(), workers=workers, settings=settings or {}
    )
    service.start()
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.stop()


def sentences(count: int, seed: str = "") -> Sequence[str]:
    """Return `count` words that differ, for scripts whose every piece can be told from the others."""
    return [f"{seed}w{number} " for number in range(count)]
