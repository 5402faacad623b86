"""The roof of the worker process: takes jobs off the queue and runs them, so that parsing never slows an answer."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import anyio.abc
import structlog

from app.domain.datasets import ClaimedJob, LeaseLost
from app.ingest.blobs import BlobStore
from app.ingest.job_kinds import JobParts, hand_back, job_handlers
from app.ingest.pipeline import PipelineConfig
from app.ingest.retrying import RetryConfig
from app.ingest.sweeping import Sweeper
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.net.pages import PageFetcher
from repositories.failures import DATABASE_FAILURES
from repositories.jobs import CHANNEL
from repositories.listener import Listener
from repositories.unit_of_work import Database

log = structlog.get_logger()

LOW_PRIORITY = 10
"""Niceness of the process: answers come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How a worker works. Times in seconds; `concurrency` is how many jobs it runs at once."""

    concurrency: int = 1
    lease_s: float = 30.0
    heartbeat_s: float = 1.0
    poll_s: float = 5.0
    hand_back_s: float = 5.0
    retry: RetryConfig = field(default_factory=RetryConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What a worker is built of. Without a `listener` it finds work by looking every `poll_s`; without `pages` it
    does not follow the links of documents.
    """

    database: Database
    blobs: BlobStore
    catalogue: ModelCatalogue
    tokens: TokenCounter
    owner: str
    listener: Listener | None = None
    pages: PageFetcher | None = None
    config: WorkerConfig = field(default_factory=WorkerConfig)


async def run_worker(
    parts: WorkerParts, *, stop: anyio.Event | None = None, exit_when_idle_s: float | None = None
) -> None:
    """Run jobs until `stop` is set, or until there was no work for `exit_when_idle_s`. It runs the listener too.

    When it is stopped, or cancelled, it gives back the jobs it has not finished; they are not counted as tried.
    """
    await _Worker(parts).run(stop or anyio.Event(), exit_when_idle_s)


@dataclass(slots=True)
class _Running:
    job: ClaimedJob
    scope: anyio.CancelScope


class _Worker:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._config = parts.config
        self._handlers = job_handlers(
            JobParts(
                database=parts.database,
                blobs=parts.blobs,
                catalogue=parts.catalogue,
                tokens=parts.tokens,
                retry=parts.config.retry,
                pipeline=parts.config.pipeline,
                pages=parts.pages,
            )
        )
        self._running: dict[str, _Running] = {}
        self._look = anyio.Event()  # there may be work to claim
        self._beat = anyio.Event()  # a job of ours may have been cancelled
        self._idle_since = time.monotonic()

    async def run(self, stop: anyio.Event, exit_when_idle_s: float | None) -> None:
        unsubscribe: Callable[[], None] | None = None
        async with anyio.create_task_group() as tasks:
            if self._parts.listener is not None:
                unsubscribe = self._parts.listener.subscribe(CHANNEL, self._hear)
                self._parts.listener.on_reconnect(self._wake)
                tasks.start_soon(self._parts.listener.run)
            tasks.start_soon(self._heartbeat)
            tasks.start_soon(Sweeper(self._parts.database, self._parts.blobs).run)
            tasks.start_soon(self._end_when_stopped, stop, tasks.cancel_scope)
            async with anyio.create_task_group() as jobs:
                while not self._is_idle_too_long(exit_when_idle_s):
                    await self._take_one(jobs, min(self._config.poll_s, exit_when_idle_s or self._config.poll_s))
            tasks.cancel_scope.cancel()
        if unsubscribe is not None:
            unsubscribe()

    async def _end_when_stopped(self, stop: anyio.Event, everything: anyio.CancelScope) -> None:
        await stop.wait()
        everything.cancel()

    def _is_idle_too_long(self, exit_when_idle_s: float | None) -> bool:
        return (
            exit_when_idle_s is not None
            and not self._running
            and time.monotonic() - self._idle_since > exit_when_idle_s
        )

    async def _take_one(self, jobs: anyio.abc.TaskGroup, poll_s: float) -> None:
        """Start the next job, or wait until there may be one."""
        self._look = anyio.Event()
        job = await self._claim() if len(self._running) < self._config.concurrency else None
        if job is not None:
            running = _Running(job, anyio.CancelScope())
            self._running[job.id] = running
            jobs.start_soon(self._run, running)
            return
        with anyio.move_on_after(poll_s):
            await self._look.wait()

    async def _claim(self) -> ClaimedJob | None:
        job: ClaimedJob | None = None
        try:
            with anyio.CancelScope(shield=True):  # a claim that was cut off would wait for its lease to end
                async with self._parts.database.dispatch() as dispatch:
                    job = await dispatch.jobs.claim(
                        owner=self._parts.owner, kinds=list(self._handlers), lease_s=self._config.lease_s
                    )
        except DATABASE_FAILURES as error:
            log.warning("claim_failed", error=str(error))
        return job

    async def _run(self, running: _Running) -> None:
        job = running.job
        log.info("job_started", job=job.id, kind=job.kind, attempt=job.attempts)
        is_handed_back = False
        try:
            with running.scope:
                await self._handlers[job.kind].run(job)
        except anyio.get_cancelled_exc_class():
            is_handed_back = True
            raise
        except LeaseLost:
            log.info("job_lost", job=job.id)
        except Exception:
            log.exception("job_left_to_its_lease", job=job.id)  # the database is away: the lease ends by itself
        finally:
            if is_handed_back:
                with anyio.move_on_after(self._config.hand_back_s, shield=True):
                    await self._hand_back(job)
            self._running.pop(job.id, None)
            self._idle_since = time.monotonic()
            self._look.set()

    async def _hand_back(self, job: ClaimedJob) -> None:
        try:
            await hand_back(self._parts.database, job)
        except (LeaseLost, *DATABASE_FAILURES) as error:
            log.info("job_not_handed_back", job=job.id, error=type(error).__name__)

    async def _heartbeat(self) -> None:
        """Keep the leases, and end jobs that are ours no more: stopped by their owner, or taken by another worker."""
        while True:
            self._beat = anyio.Event()
            with anyio.move_on_after(self._config.heartbeat_s):
                await self._beat.wait()
            if not self._running:
                continue
            mine = list(self._running.values())
            try:
                async with self._parts.database.dispatch() as dispatch:
                    kept = await dispatch.jobs.renew([each.job for each in mine], lease_s=self._config.lease_s)
            except DATABASE_FAILURES as error:
                log.warning("heartbeat_failed", error=str(error))
                continue
            for each in mine:
                if each.job.id not in kept:
                    each.scope.cancel()

    def _hear(self, payload: str) -> None:
        """Empty: there is work. Otherwise a job was cancelled."""
        if payload:
            self._beat.set()
        self._look.set()

    def _wake(self) -> None:
        self._beat.set()
        self._look.set()


def be_modest() -> None:
    """Let this process, and what it starts from now on, have what others leave of the processor.

    Where the system knows it, that is the idle class: a process that wakes to answer never waits for us, while a
    low priority alone would make it wait for the end of our time slice.
    """
    os.nice(LOW_PRIORITY)
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
