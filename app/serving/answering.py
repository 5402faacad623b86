"""One process that answers: `answer` in the process of `serve`, or `python -m app.serving.answering` beneath it."""

import argparse
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import structlog
import uvicorn
from sse_starlette.sse import AppStatus

from app.building import Parts, built, running
from app.db.process import die_with_parent
from app.engine.turns import TurnEngine
from app.main import WebConfig, build_app
from app.serving.kept import pepper_of
from app.serving.preloading import preload
from app.serving.stopping import Stop
from app.settings import Settings, read_settings
from app.telemetry.gathering import Gathering
from app.telemetry.logs import set_up_logs
from app.telemetry.metrics import METRICS
from migrations.run import check

log = structlog.get_logger()

READY = b"ready\n"
"""What a process beneath `serve` writes to its standard output once it answers."""

KEEP_ALIVE_S = 65  # longer than the 60 s that proxies keep an idle connection
_LAST_WORDS_S = 5.0  # for answers that are being written when all turns have ended
_GRACE_S = 5

Beside = Callable[[Parts], Coroutine[Any, Any, None]]


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to `Stop`: neither it nor sse-starlette, which asks it, cuts streams by itself."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets=sockets)
        self._on_ready()

    @property
    def is_busy(self) -> bool:
        """Whether a call is being answered."""
        return bool(self.server_state.tasks)


async def answer(
    settings: Settings,
    database_url: str,
    pepper: bytes,
    listener: socket.socket,
    stop: Stop,
    *,
    on_ready: Callable[[], None],
    beside: Beside | None = None,
    gathering: Gathering | None = None,
) -> None:
    """Answer calls on `listener` until `stop` is asked and done. `beside` runs all the while."""
    async with built(settings, database_url, pepper, on_attempt=METRICS.attempted) as parts, running(parts):
        web = WebConfig(
            cors_origins=settings.cors_origins,
            embed_origins=settings.embed_origins,
            metrics=settings.metrics,
            check_migrations=partial(check, database_url),
            gather_metrics=gathering.text if gathering is not None else None,
        )
        app = build_app(parts, web)
        _settle_memory()
        server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            ),
            on_ready,
        )
        async with _beside(parts, beside) as tasks:
            tasks.start_soon(METRICS.measure_lag)
            if gathering is not None:
                tasks.start_soon(gathering.run, app.state.readiness.refresh)
            if settings.preload:
                tasks.start_soon(preload, parts.catalogue)
            tasks.start_soon(_end, server, parts.engine, stop, settings.drain)
            await server.serve(sockets=[listener])
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def _beside(parts: Parts, beside: Beside | None) -> AsyncGenerator[anyio.abc.TaskGroup, None]:
    async with anyio.create_task_group() as tasks:
        if beside is not None:
            tasks.start_soon(beside, parts)
        yield tasks


async def _end(server: _Server, engine: TurnEngine, stop: Stop, drain_s: float) -> None:
    """Once asked: no new turns, time for the running ones, then no new calls, then the end (operations.md 4)."""
    await stop.asked.wait()
    log.info("draining", turns=engine.running_count, patience_s=drain_s if stop.is_patient else 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hurry, server, stop)
        with anyio.CancelScope() as patience:
            tasks.start_soon(_lose, patience, stop)
            await engine.drain(drain_s if stop.is_patient else 0)
        if patience.cancelled_caught:
            await engine.drain(0)
        with anyio.move_on_after(_LAST_WORDS_S):
            while server.is_busy and not server.force_exit:  # noqa: ASYNC110  uvicorn tells nobody
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    AppStatus.should_exit = True  # streams that follow turns of other processes would go on
    server.should_exit = True


async def _hurry(server: _Server, stop: Stop) -> None:
    await stop.hurried.wait()
    server.force_exit = True


async def _lose(patience: anyio.CancelScope, stop: Stop) -> None:
    await stop.hurried.wait()
    patience.cancel()


def main() -> None:
    """Answer on an inherited socket until SIGTERM, or until `serve` is gone."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--fd", type=int, required=True, help="the listening socket")
    arguments.add_argument("--parent", type=int, required=True, help="the process id of serve")
    arguments.add_argument("--number", type=int, required=True, help="which of them it is")
    arguments.add_argument("--gather", type=Path, required=True, help="where their metrics are told")
    chosen = arguments.parse_args()
    die_with_parent(signal.SIGTERM, parent_pid=chosen.parent)
    settings = read_settings()
    set_up_logs(settings.log_format, settings.log_level)
    gathering = Gathering(chosen.gather, chosen.number)
    anyio.run(_main, settings, chosen.fd, chosen.parent, gathering, backend_options={"use_uvloop": True})


async def _main(settings: Settings, descriptor: int, parent: int, gathering: Gathering) -> None:
    if settings.database_url is None:
        sys.exit("this process is started by `parley serve`")
    stop = Stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(stop.heed, is_orphaned=lambda: os.getppid() != parent))
        await answer(
            settings,
            settings.database_url,
            pepper_of(settings),
            socket.socket(fileno=descriptor),
            stop,
            on_ready=_say_ready,
            gathering=gathering,
        )
        tasks.cancel_scope.cancel()


def _say_ready() -> None:
    os.write(1, READY)


def _settle_memory() -> None:
    """Keep the collector off what was imported and built: it lives as long as the process, and is looked at no more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


if __name__ == "__main__":
    main()
