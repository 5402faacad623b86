"""Starts a worker process when there are documents to parse, and only then: an idle service stays small."""

from collections.abc import Mapping

import anyio
import structlog

from app.engine.lease import new_process_id
from app.serving.children import child, command
from app.serving.stopping import Stop
from repositories.failures import DATABASE_FAILURES
from repositories.jobs import CHANNEL
from repositories.listener import Listener
from repositories.unit_of_work import Database

log = structlog.get_logger()

IDLE_S = 60.0
"""A worker leaves after so long without work."""

_LOOK_EVERY_S = 5.0
_LEAST_BACKOFF_S = 1.0
_MOST_BACKOFF_S = 60.0
_PATIENCE_S = 10.0


class IngestKeeper:
    """Keeps one worker process while there is work; one keeper per `serve`."""

    def __init__(self, database: Database, listener: Listener, env: Mapping[str, str], stop: Stop) -> None:
        self._database = database
        self._env = env
        self._stop = stop
        self._look = anyio.Event()
        self._backoff_s = _LEAST_BACKOFF_S
        listener.subscribe(CHANNEL, lambda _: self._look.set())

    async def run(self) -> None:
        """Keep it up until cancelled."""
        while True:
            self._look = anyio.Event()
            if await self._has_work():
                await self._run_worker()
                continue
            with anyio.move_on_after(_LOOK_EVERY_S):
                await self._look.wait()

    async def _has_work(self) -> bool:
        try:
            async with self._database.dispatch() as dispatch:
                queue = await dispatch.jobs.queue()
        except DATABASE_FAILURES as error:
            log.warning("queue_not_seen", error=str(error)[:300])
            return False
        return queue.queued + queue.running > 0  # what runs may be the job of a worker that died

    async def _release(self, owner: str) -> None:
        """Let the jobs of a dead worker be taken up at once; else they wait for its leases to end."""
        try:
            async with self._database.dispatch() as dispatch:
                released = await dispatch.jobs.release(owner)
        except DATABASE_FAILURES as error:
            log.warning("jobs_not_released", error=str(error)[:300])
        else:
            log.info("jobs_released", jobs=len(released))

    async def _run_worker(self) -> None:
        owner = new_process_id()
        what = command("app.serving.worker_process", "--exit-when-idle", str(IDLE_S), "--owner", owner)
        async with child(what, self._env, self._stop, patience_s=_PATIENCE_S) as process:
            log.info("worker_started", pid=process.pid)
            status = await process.wait()
        if status == 0:
            self._backoff_s = _LEAST_BACKOFF_S
            log.info("worker_left", pid=process.pid)
            return
        log.warning("worker_died", pid=process.pid, status=status, retry_s=self._backoff_s)
        await self._release(owner)
        await anyio.sleep(self._backoff_s)
        self._backoff_s = min(_MOST_BACKOFF_S, self._backoff_s * 2)
