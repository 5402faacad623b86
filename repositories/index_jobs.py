"""The jobs that index whole datasets, as a dataset knows them: the latest of each kind (knowledge.md 1.8, 4.7)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.ids import DatasetId, JobId, TenantId
from app.domain.index_jobs import IndexJob, IndexType
from repositories.jobs import GRAPH, RAPTOR

KINDS: dict[IndexType, str] = {"graph": GRAPH, "raptor": RAPTOR}
_TYPES: dict[str, IndexType] = {kind: type_ for type_, kind in KINDS.items()}

_LATEST = text("""
    SELECT DISTINCT ON (subject_id, kind) id, kind, subject_id, state, attempts, priority, progress, progress_msg,
        began_at, created_at, ended_at
    FROM jobs
    WHERE tenant_id = :tenant AND kind = ANY(CAST(:kinds AS text[])) AND subject_id = ANY(CAST(:subjects AS text[]))
    ORDER BY subject_id, kind, created_at DESC, id DESC
""")

_FORGET = text("""
    DELETE FROM jobs WHERE tenant_id = :tenant AND kind = :kind AND subject_id = :subject RETURNING state
""")


class IndexJobRepository:
    """Index jobs of one tenant's datasets. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def latest(self, dataset_ids: Sequence[DatasetId]) -> dict[DatasetId, dict[IndexType, IndexJob]]:
        """Return the youngest job of each type of each dataset that ever had one."""
        values = {"tenant": self._tenant_id, "kinds": list(_TYPES), "subjects": list(dataset_ids)}
        found: dict[DatasetId, dict[IndexType, IndexJob]] = {}
        for row in await self._connection.execute(_LATEST, values):
            job = _job(row)
            found.setdefault(DatasetId(row.subject_id), {})[job.type] = job
        return found

    async def forget(self, dataset_id: DatasetId, type_: IndexType) -> bool:
        """Delete the dataset's jobs of this type, which ends one that is at work; tell whether one was live."""
        values = {"tenant": self._tenant_id, "kind": KINDS[type_], "subject": dataset_id}
        states = [row.state for row in await self._connection.execute(_FORGET, values)]
        return any(state in ("queued", "running") for state in states)


def _job(row: Row[Any]) -> IndexJob:
    is_lost = row.state in ("failed", "cancelled")
    return IndexJob(
        id=JobId(row.id),
        type=_TYPES[row.kind],
        priority=row.priority,
        attempts=row.attempts,
        progress=-1.0 if is_lost else row.progress,
        progress_msg=row.progress_msg,
        began_at=row.began_at,
        created_at=row.created_at,
        ended_at=row.ended_at,
        is_done=row.state == "done",
        is_live=row.state in ("queued", "running"),
    )
