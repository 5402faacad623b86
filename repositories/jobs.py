"""Background jobs of one tenant: queued, cancelled, ended."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import ClaimedJob, LeaseLost
from app.domain.ids import JobId, TenantId, new_id

CHANNEL = "parley_jobs"
"""Where workers are woken: the payload is empty for new work, else the id of a cancelled job's subject."""

PARSE = "parse"
"""The kind of job that parses a document."""

_ADD = text("""
    INSERT INTO jobs (tenant_id, id, kind, subject_id)
    SELECT :tenant, j.id, :kind, j.subject_id
    FROM unnest(CAST(:ids AS text[]), CAST(:subjects AS text[])) AS j(id, subject_id)
    ON CONFLICT DO NOTHING
""")

_CANCEL = text("""
    UPDATE jobs SET state = 'cancelled', ended_at = clock_timestamp()
    WHERE tenant_id = :tenant AND kind = :kind AND subject_id = ANY(CAST(:subjects AS text[]))
      AND state IN ('queued', 'running')
    RETURNING id
""")

_HOLD = text("""
    SELECT id FROM jobs WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence
    FOR UPDATE
""")

_END = text("""
    UPDATE jobs SET state = :state, error = :error, ended_at = clock_timestamp(), lease_until = NULL
    WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence RETURNING id
""")

_GIVE_BACK = text("""
    UPDATE jobs SET state = 'queued', owner = NULL, lease_until = NULL, error = :error, fence = fence + 1,
        attempts = attempts - :attempts, run_after = clock_timestamp() + make_interval(secs => :delay_s)
    WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence RETURNING id
""")


class JobRepository:
    """Jobs of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, kind: str, subjects: Sequence[str]) -> None:
        """Queue one job per subject; one that is queued or running already stays the only one."""
        values = {
            "tenant": self._tenant_id,
            "kind": kind,
            "ids": [new_id() for _ in subjects],
            "subjects": list(subjects),
        }
        await self._connection.execute(_ADD, values)

    async def cancel(self, kind: str, subjects: Sequence[str]) -> list[JobId]:
        """End the jobs of these subjects wherever they are; the ids of those that were live."""
        values = {"tenant": self._tenant_id, "kind": kind, "subjects": list(subjects)}
        return [JobId(row.id) for row in await self._connection.execute(_CANCEL, values)]

    async def hold(self, job: ClaimedJob) -> None:
        """Keep the job ours until this unit ends: nobody can cancel or take it meanwhile.

        Raises:
            LeaseLost: it is not ours any more.
        """
        values = {"tenant": self._tenant_id, "id": job.id, "fence": job.fence}
        if (await self._connection.execute(_HOLD, values)).first() is None:
            raise LeaseLost(job.id)

    async def end(self, job: ClaimedJob, *, state: str, error: str | None = None) -> None:
        """End the job as `done` or `failed`.

        Raises:
            LeaseLost: it is not ours any more; nothing was written.
        """
        values = {"tenant": self._tenant_id, "id": job.id, "fence": job.fence, "state": state, "error": error}
        if (await self._connection.execute(_END, values)).first() is None:
            raise LeaseLost(job.id)

    async def give_back(
        self, job: ClaimedJob, *, delay_s: float = 0.0, error: str | None = None, counts: bool = True
    ) -> None:
        """Queue the job again, to be run after `delay_s`. Without `counts` this attempt is as if it never was.

        Raises:
            LeaseLost: it is not ours any more; nothing was written.
        """
        values = {
            "tenant": self._tenant_id,
            "id": job.id,
            "fence": job.fence,
            "error": error,
            "attempts": 0 if counts else 1,
            "delay_s": delay_s,
        }
        if (await self._connection.execute(_GIVE_BACK, values)).first() is None:
            raise LeaseLost(job.id)
