"""Background jobs of one tenant: queued, cancelled, ended."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import ClaimedJob, LeaseLost
from app.domain.ids import JobId, TenantId, new_id
from app.domain.jobs import JobState

CHANNEL = "parley_jobs"
"""Where workers are woken: the payload is empty for new work, else the id of a cancelled job's subject."""

PARSE = "parse"
"""The kind of job that parses a document."""

RAPTOR = "raptor"
"""The kind of job that writes summaries over the chunks of a dataset's documents."""

GRAPH = "graph"
"""The kind of job that reads a knowledge graph out of a dataset."""

GRAPH_REFRESH = "graph_refresh"
"""The kind of job that ranks a graph anew after documents were taken out of it; asks no chat model."""

DELETE_DATASET = "delete_dataset"
"""The kind of job that removes what a deleted dataset held."""

DELETE_SESSIONS = "delete_sessions"
"""The kind of job that removes the sessions of a chat which were deleted all at once."""

RENAME = "rename"
"""The kind of job that lets the chunks of a renamed document know its name."""

_ADD = text("""
    INSERT INTO jobs (tenant_id, id, kind, subject_id)
    SELECT :tenant, j.id, :kind, j.subject_id
    FROM unnest(CAST(:ids AS text[]), CAST(:subjects AS text[])) AS j(id, subject_id)
    ON CONFLICT DO NOTHING
""")


def cancelling(which: str) -> TextClause:
    """Return the statement that cancels a tenant's live jobs for which the condition holds; it returns their ids.

    Whoever changes several jobs locks them by their ids: two such transactions never wait for each other.
    """
    return text(f"""
        WITH held AS (
            SELECT id FROM jobs WHERE tenant_id = :tenant AND state IN ('queued', 'running') AND ({which})
            ORDER BY id FOR NO KEY UPDATE
        )
        UPDATE jobs SET state = 'cancelled', ended_at = clock_timestamp()
        FROM held WHERE jobs.tenant_id = :tenant AND jobs.id = held.id RETURNING jobs.id
    """)  # noqa: S608 (constants)


_CANCEL = cancelling("kind = :kind AND subject_id = ANY(CAST(:subjects AS text[]))")

_HOLD = text("""
    SELECT id FROM jobs WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence
    FOR UPDATE
""")

_END = text("""
    UPDATE jobs SET state = :state, error = :error, ended_at = clock_timestamp(), lease_until = NULL
    WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence RETURNING id
""")

_ADD_ONE = text("""
    INSERT INTO jobs (tenant_id, id, kind, subject_id, payload)
    VALUES (:tenant, :id, :kind, :subject, CAST(:payload AS jsonb))
    ON CONFLICT DO NOTHING RETURNING id
""")

_BEGIN = text("""
    UPDATE jobs SET began_at = COALESCE(began_at, clock_timestamp()), progress = GREATEST(progress, 0)
    WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence RETURNING payload
""")

_REPORT = text("""
    UPDATE jobs SET
        progress = CASE WHEN CAST(:progress AS float8) < 0 THEN -1 ELSE GREATEST(progress, :progress) END,
        progress_msg = right(concat_ws(E'\\n', NULLIF(progress_msg, ''), CAST(:line AS text)), 20000)
    WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence RETURNING id
""")

_STATE = """id, kind, subject_id, state, attempts, progress, progress_msg, priority, began_at, created_at, ended_at,
    error"""

_LATEST = text(f"""
    SELECT {_STATE} FROM jobs WHERE tenant_id = :tenant AND kind = :kind AND subject_id = ANY(CAST(:subjects AS text[]))
    ORDER BY created_at DESC, id DESC LIMIT 1
""")  # noqa: S608 (a constant)

# In the order in which a tenant's jobs are claimed (repositories/job_dispatch.py).
_AHEAD = text("""
    SELECT subject_id, ahead FROM (
        SELECT kind, subject_id, row_number() OVER (ORDER BY priority, run_after, created_at) - 1 AS ahead
        FROM jobs WHERE tenant_id = :tenant AND state = 'queued') AS waiting
    WHERE kind = :kind AND subject_id = ANY(CAST(:subjects AS text[]))
""")

_FIND = text(f"SELECT {_STATE} FROM jobs WHERE tenant_id = :tenant AND id = :id")  # noqa: S608 (a constant)

_GIVE_BACK = text("""
    UPDATE jobs SET state = 'queued', owner = NULL, lease_until = NULL, error = :error, fence = fence + 1,
        attempts = CASE WHEN CAST(:is_fresh AS boolean) THEN 0 ELSE attempts - :attempts END,
        run_after = clock_timestamp() + make_interval(secs => :delay_s)
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

    async def add_one(self, kind: str, subject: str, payload: Mapping[str, Any] | None = None) -> JobId | None:
        """Queue a job, and return its id; None when one of the kind and subject is queued or running already."""
        values = {
            "tenant": self._tenant_id,
            "id": new_id(),
            "kind": kind,
            "subject": subject,
            "payload": orjson.dumps(dict(payload or {})).decode(),
        }
        row = (await self._connection.execute(_ADD_ONE, values)).one_or_none()
        return JobId(row.id) if row is not None else None

    async def begin(self, job: ClaimedJob) -> dict[str, Any]:
        """Note that the job began, if it had not before, and return its payload.

        Raises:
            LeaseLost: it is not ours any more.
        """
        values = {"tenant": self._tenant_id, "id": job.id, "fence": job.fence}
        row = (await self._connection.execute(_BEGIN, values)).one_or_none()
        if row is None:
            raise LeaseLost(job.id)
        payload: dict[str, Any] = row.payload
        return payload

    async def report(self, job: ClaimedJob, *, progress: float, line: str) -> None:
        """Add a line to the job's log; progress never goes back, and -1 stays.

        Raises:
            LeaseLost: it is not ours any more.
        """
        values = {"tenant": self._tenant_id, "id": job.id, "fence": job.fence, "progress": progress, "line": line}
        if (await self._connection.execute(_REPORT, values)).first() is None:
            raise LeaseLost(job.id)

    async def latest(self, kind: str, subjects: Sequence[str]) -> JobState | None:
        """Return the youngest job of this kind about any of the subjects."""
        values = {"tenant": self._tenant_id, "kind": kind, "subjects": list(subjects)}
        row = (await self._connection.execute(_LATEST, values)).mappings().one_or_none()
        return JobState(**row) if row is not None else None

    async def ahead(self, kind: str, subjects: Sequence[str]) -> dict[str, int]:
        """Return how many of the tenant's jobs are to be taken up before that of each subject that waits."""
        values = {"tenant": self._tenant_id, "kind": kind, "subjects": list(subjects)}
        return {row.subject_id: row.ahead for row in await self._connection.execute(_AHEAD, values)}

    async def find(self, job_id: JobId) -> JobState | None:
        """Return how far a job is."""
        row = (
            (await self._connection.execute(_FIND, {"tenant": self._tenant_id, "id": job_id})).mappings().one_or_none()
        )
        return JobState(**row) if row is not None else None

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
        self,
        job: ClaimedJob,
        *,
        delay_s: float = 0.0,
        error: str | None = None,
        counts: bool = True,
        is_fresh: bool = False,
    ) -> None:
        """Queue the job again, to be run after `delay_s`. Without `counts` this attempt is as if it never was;
        with `is_fresh` all attempts are.

        Raises:
            LeaseLost: it is not ours any more; nothing was written.
        """
        values = {
            "tenant": self._tenant_id,
            "id": job.id,
            "fence": job.fence,
            "error": error,
            "attempts": 0 if counts else 1,
            "is_fresh": is_fresh,
            "delay_s": delay_s,
        }
        if (await self._connection.execute(_GIVE_BACK, values)).first() is None:
            raise LeaseLost(job.id)
