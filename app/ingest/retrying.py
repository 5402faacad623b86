"""How often background jobs are tried, and how those end that fail."""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.datasets import ClaimedJob
from repositories.unit_of_work import Database

ABANDONED = "ERROR: Task is abandoned after {} times attempts."


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """How often a job is tried, and how long it waits in between: `backoff_s`, doubled each time.

    After the last try it fails; with `rest_s` it rests for so long instead and begins again, as often as it takes.
    """

    attempts: int = 3
    backoff_s: float = 5.0
    rest_s: float | None = None

    def delay_s(self, attempts: int) -> float:
        """Return how long a job waits that was tried so often."""
        return self.backoff_s * 2.0 ** (attempts - 1)


class Retrying:
    """Ends jobs that failed, or queues them again; their own log tells why.

    Every method raises `LeaseLost` when the job is not ours any more; nothing was written then.
    """

    def __init__(self, database: Database, config: RetryConfig) -> None:
        self._database = database
        self._config = config

    async def is_worn_out(self, job: ClaimedJob) -> bool:
        """Tell whether the job's workers ended again and again; it has failed, or rests, when they did."""
        if job.attempts <= self._config.attempts:
            return False
        await self._give_up(job, "Its worker ended again and again.")
        return True

    async def fail(self, job: ClaimedJob, reason: str) -> None:
        """End the job as failed."""
        async with self._database.unit(job.tenant_id) as unit:
            await unit.jobs.report(job, progress=-1.0, line=log_line(f"[ERROR]{reason}"))
            await unit.jobs.end(job, state="failed", error=reason)

    async def later(self, job: ClaimedJob, reason: str) -> None:
        """Queue the job again, unless this was its last try."""
        if job.attempts >= self._config.attempts:
            await self._give_up(job, reason)
            return
        delay_s = self._config.delay_s(job.attempts)
        async with self._database.unit(job.tenant_id) as unit:
            await unit.jobs.report(job, progress=0.0, line=log_line(f"{reason} Trying again in {delay_s:g}s."))
            await unit.jobs.give_back(job, delay_s=delay_s, error=reason)

    async def _give_up(self, job: ClaimedJob, reason: str) -> None:
        """Fail, or rest and begin again where nothing may stay undone."""
        rest_s = self._config.rest_s
        if rest_s is None:
            await self.fail(job, f"{reason} {ABANDONED.format(self._config.attempts)}")
            return
        async with self._database.unit(job.tenant_id) as unit:
            await unit.jobs.report(job, progress=0.0, line=log_line(f"{reason} Beginning again in {rest_s:g}s."))
            await unit.jobs.give_back(job, delay_s=rest_s, error=reason, is_fresh=True)


def log_line(text: str) -> str:
    """Return a line of a log: the time of day in UTC, then `text`."""
    return f"{datetime.now(UTC):%H:%M:%S} {text}"
