"""The job that removes the sessions of a chat which were deleted all at once; nobody sees them any more."""

import structlog

from app.domain.datasets import ClaimedJob, LeaseLost
from app.domain.ids import ChatId
from app.ingest.dataset_jobs import log_line
from app.ingest.retrying import ABANDONED, RetryConfig
from repositories.unit_of_work import Database

log = structlog.get_logger()

AT_ONCE = 500
"""How many sessions one transaction removes."""


class SessionRemoval:
    """Does it in many short transactions: doing it again goes on where it ended."""

    def __init__(self, database: Database, *, retry: RetryConfig | None = None) -> None:
        self._database = database
        self._retry = retry or RetryConfig()

    async def run(self, job: ClaimedJob) -> None:
        """Do the job to its end, or queue it again after a failure that may pass.

        Raises:
            LeaseLost: somebody else has it, or it was cancelled; nothing more was written.
        """
        removed = 0
        try:
            while gone := await self._some(job, removed):
                removed += gone
        except LeaseLost:
            raise
        except Exception as error:
            log.warning("session_removal_failed", job=job.id, attempt=job.attempts, exc_info=error)
            await self._retry_later(job)

    async def _some(self, job: ClaimedJob, removed: int) -> int:
        """Remove some; when there were none, the job has ended with the same transaction."""
        async with self._database.unit(job.tenant_id) as unit:
            await unit.jobs.begin(job)
            gone = await unit.sessions.remove_hidden(ChatId(job.subject_id), most=AT_ONCE)
            if not gone:
                await unit.jobs.report(job, progress=1.0, line=log_line(f"{removed} sessions removed."))
                await unit.jobs.end(job, state="done")
            return gone

    async def _retry_later(self, job: ClaimedJob) -> None:
        reason, rest_s = "Something went wrong.", self._retry.rest_s
        async with self._database.unit(job.tenant_id) as unit:
            if job.attempts >= self._retry.attempts and rest_s is not None:
                await unit.jobs.give_back(job, delay_s=rest_s, error=reason, is_fresh=True)
                return
            if job.attempts >= self._retry.attempts:
                reason = f"{reason} {ABANDONED.format(self._retry.attempts)}"
                await unit.jobs.report(job, progress=-1.0, line=log_line(f"[ERROR]{reason}"))
                await unit.jobs.end(job, state="failed", error=reason)
                return
            delay_s = self._retry.backoff_s * 2 ** (job.attempts - 1)
            await unit.jobs.give_back(job, delay_s=delay_s, error=reason)
