"""Background jobs about a whole dataset: begun, reported, ended, tried again; what they do is handed in.

A job that starts over finds what it heard from models kept (`app/ingest/asking.py`) and what it stored in place:
work is written so that doing it again changes nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from app.domain.datasets import ClaimedJob, Dataset, LeaseLost
from app.domain.errors import Invalid, Missing, ParleyError
from app.domain.ids import DatasetId
from app.ingest.retrying import RetryConfig, Retrying, log_line
from repositories.unit_of_work import Database

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRun:
    """A job that runs: what it is about, and where it tells how far it is."""

    job: ClaimedJob
    dataset: Dataset
    payload: Mapping[str, Any]
    database: Database

    async def report(self, progress: float, text: str) -> None:
        """Tell how far it is (0 to 1), with a line for the log. Call it outside of any unit.

        Raises:
            LeaseLost: the job was cancelled or taken over; stop, and write nothing more.
        """
        async with self.database.unit(self.job.tenant_id) as unit:
            await unit.jobs.report(self.job, progress=min(0.99, max(0.0, progress)), line=log_line(text))


class DatasetWork(Protocol):
    """What a job does. Every unit that writes for it holds the job (`unit.jobs.hold(run.job)`) before it commits."""

    async def __call__(self, run: DatasetRun) -> str:
        """Do it, and return the log's last line.

        Raises:
            LeaseLost: as `report`.
            Invalid: it cannot be done, and trying again would not help.
        """
        ...


class DatasetJobs:
    """Runs the jobs of one kind."""

    def __init__(
        self, database: Database, work: DatasetWork, *, retry: RetryConfig | None = None, may_be_deleted: bool = False
    ) -> None:
        self._database = database
        self._work = work
        self._retrying = Retrying(database, retry or RetryConfig())
        self._may_be_deleted = may_be_deleted

    async def run(self, job: ClaimedJob) -> None:
        """Do the job to its end, or queue it again after a failure that may pass.

        Raises:
            LeaseLost: somebody else has it, or it was cancelled; nothing more was written.
        """
        started = time.monotonic()
        if await self._retrying.is_worn_out(job):
            return
        run = await self._begin(job)
        if run is None:
            return
        try:
            last = await self._work(run)
            await self._finish(job, f"{last} Task done ({time.monotonic() - started:.2f}s)")
        except (Invalid, Missing) as error:
            log.info("dataset_job_failed", job=job.id, kind=job.kind)
            await self._retrying.fail(job, error.message)
        except LeaseLost:
            raise
        except Exception as error:
            log.warning("dataset_job_failed", job=job.id, kind=job.kind, attempt=job.attempts, exc_info=error)
            reason = error.message if isinstance(error, ParleyError) else "Something went wrong."
            await self._retrying.later(job, reason)
        else:
            log.info("dataset_job_done", job=job.id, kind=job.kind)

    async def _begin(self, job: ClaimedJob) -> DatasetRun | None:
        dataset_id = DatasetId(job.subject_id)
        async with self._database.unit(job.tenant_id) as unit:
            payload = await unit.jobs.begin(job)
            find = unit.datasets.get_deleted if self._may_be_deleted else unit.datasets.get
            dataset = await find(dataset_id)
            if dataset is None:
                await unit.jobs.end(job, state="done")
                return None
        return DatasetRun(job=job, dataset=dataset, payload=payload, database=self._database)

    async def _finish(self, job: ClaimedJob, line: str) -> None:
        async with self._database.unit(job.tenant_id) as unit:
            await unit.jobs.report(job, progress=1.0, line=log_line(line))
            await unit.jobs.end(job, state="done")
