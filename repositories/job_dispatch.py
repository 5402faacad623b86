"""Taking jobs off the queue across tenants. Sees who waits for what, never a document (app/db/walls.py)."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import ClaimedJob
from app.domain.ids import JobId, TenantId

# Fair: the tenant with the fewest running jobs is next, by lot among equals, so that a flood of one tenant's files
# holds nobody else up. Tenants are found by hopping along an index, not by reading the queue.
_CLAIM = text("""
    WITH RECURSIVE live(tenant_id) AS (
        (SELECT tenant_id FROM jobs WHERE state IN ('queued', 'running') ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT j.tenant_id FROM jobs j WHERE j.state IN ('queued', 'running') AND j.tenant_id > live.tenant_id
                ORDER BY j.tenant_id LIMIT 1)
        FROM live WHERE live.tenant_id IS NOT NULL
    ), busy AS (
        SELECT tenant_id, count(*) AS running FROM jobs
        WHERE state = 'running' AND lease_until >= clock_timestamp() GROUP BY tenant_id
    ), ranked AS MATERIALIZED (
        SELECT live.tenant_id FROM live LEFT JOIN busy ON busy.tenant_id = live.tenant_id
        WHERE live.tenant_id IS NOT NULL ORDER BY COALESCE(busy.running, 0), random()
    ), picked AS MATERIALIZED (
        SELECT due.tenant_id, due.id FROM ranked CROSS JOIN LATERAL (
            SELECT j.tenant_id, j.id FROM jobs j
            WHERE j.tenant_id = ranked.tenant_id AND j.kind = ANY(CAST(:kinds AS text[]))
              AND (j.state = 'queued' AND j.run_after <= clock_timestamp()
                   OR j.state = 'running' AND j.lease_until < clock_timestamp())
            ORDER BY j.priority, j.run_after, j.created_at LIMIT 1 FOR UPDATE SKIP LOCKED
        ) due
        LIMIT 1
    )
    UPDATE jobs SET state = 'running', attempts = jobs.attempts + 1, owner = :owner, fence = jobs.fence + 1,
        lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    FROM picked WHERE jobs.tenant_id = picked.tenant_id AND jobs.id = picked.id
    RETURNING jobs.tenant_id, jobs.id, jobs.kind, jobs.subject_id, jobs.attempts, jobs.fence
""")

# Locked in the order in which those lock them who cancel (`jobs.cancelling`).
_RENEW = text("""
    WITH held AS (
        SELECT j.tenant_id, j.id
        FROM unnest(CAST(:tenants AS text[]), CAST(:ids AS text[]), CAST(:fences AS bigint[])) AS m(tenant, id, fence)
        JOIN jobs j ON j.tenant_id = m.tenant AND j.id = m.id AND j.fence = m.fence AND j.state = 'running'
        ORDER BY j.tenant_id, j.id FOR NO KEY UPDATE OF j
    )
    UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    FROM held WHERE jobs.tenant_id = held.tenant_id AND jobs.id = held.id RETURNING jobs.id
""")

_RELEASE = text("""
    UPDATE jobs SET lease_until = clock_timestamp() WHERE owner = :owner AND state = 'running' RETURNING id
""")

_QUEUE = text("""
    SELECT count(*) FILTER (WHERE state = 'queued') AS queued,
           count(*) FILTER (WHERE state = 'running') AS running,
           COALESCE(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE state = 'queued')), 0)::float8
               AS oldest_s
    FROM jobs WHERE state IN ('queued', 'running')
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How much work waits; `oldest_s` is the age of what waits longest."""

    queued: int
    running: int
    oldest_s: float


class JobDispatch:
    """The queue of all tenants. Runs as the dispatch role; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def claim(self, *, owner: str, kinds: Sequence[str], lease_s: float) -> ClaimedJob | None:
        """Take the job that is next, one whose worker died included; None when nothing is due."""
        values = {"owner": owner, "kinds": list(kinds), "lease_s": lease_s}
        row = (await self._connection.execute(_CLAIM, values)).one_or_none()
        if row is None:
            return None
        return ClaimedJob(
            tenant_id=TenantId(row.tenant_id),
            id=JobId(row.id),
            kind=row.kind,
            subject_id=row.subject_id,
            attempts=row.attempts,
            fence=row.fence,
        )

    async def renew(self, jobs: Sequence[ClaimedJob], *, lease_s: float) -> set[JobId]:
        """Keep jobs for another `lease_s`; those that are still ours. The others were cancelled or taken."""
        values = {
            "tenants": [job.tenant_id for job in jobs],
            "ids": [job.id for job in jobs],
            "fences": [job.fence for job in jobs],
            "lease_s": lease_s,
        }
        return {JobId(row.id) for row in await self._connection.execute(_RENEW, values)}

    async def release(self, owner: str) -> list[JobId]:
        """End the leases of a worker that is known to be dead, so that its jobs need not wait for them."""
        return [JobId(row.id) for row in await self._connection.execute(_RELEASE, {"owner": owner})]

    async def queue(self) -> QueueState:
        """Say how much work waits."""
        row = (await self._connection.execute(_QUEUE)).one()
        return QueueState(queued=row.queued, running=row.running, oldest_s=row.oldest_s)
