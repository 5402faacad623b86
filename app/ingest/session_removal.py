"""The job that removes the sessions of a chat which were deleted all at once; nobody sees them any more."""

import structlog

from app.domain.datasets import ClaimedJob, LeaseLost
from app.domain.ids import ChatId
from app.ingest.retrying import RetryConfig, Retrying, log_line
from repositories.unit_of_work import Database

log = structlog.get_logger()

AT_ONCE = 500
"""How many sessions one transaction removes."""


class SessionRemoval:
    """Does it in many short transactions: doing it again goes on where it ended."""

    def __init__(self, database: Database, *, retry: RetryConfig | None = None) -> None:
        self._database = database
        self._retrying = Retrying(database, retry or RetryConfig())

    async def run(self, job: ClaimedJob) -> None:
        """Do the job to its end, or queue it again after a failure that may pass.

        Raises:
            LeaseLost: somebody else has it, or it was cancelled; nothing more was written.
        """
        if await self._retrying.is_worn_out(job):
            return
        removed = 0
        try:
            while gone := await self._some(job, removed):
                removed += gone
        except LeaseLost:
            raise
        except Exception as error:
            log.warning("session_removal_failed", job=job.id, attempt=job.attempts, exc_info=error)
            await self._retrying.later(job, "Something went wrong.")

    async def _some(self, job: ClaimedJob, removed: int) -> int:
        """Remove some; when there were none, the job has ended with the same transaction."""
        async with self._database.unit(job.tenant_id) as unit:
            gone = await unit.sessions.remove_hidden(ChatId(job.subject_id), most=AT_ONCE)
            await unit.jobs.begin(job)  # after the chat, as `delete_all` and its job
            if not gone:
                await unit.jobs.report(job, progress=1.0, line=log_line(f"{removed} sessions removed."))
                await unit.jobs.end(job, state="done")
            return gone
