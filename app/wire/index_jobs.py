"""Jobs that index whole datasets as JSON values (knowledge.md 1.8, 4.7)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.domain.index_jobs import IndexJob, IndexType
from app.wire.envelope import http_date, times

_NAMES: dict[IndexType, str] = {"graph": "graphrag", "raptor": "raptor"}
_LAST_PAGE = 100_000_000


def task_key(type_: IndexType) -> str:
    """Return under which key a task's id is told."""
    return f"{_NAMES[type_]}_task_id"


def task_row(job: IndexJob | None, now: datetime) -> dict[str, Any]:
    """Return a task as clients trace it; `{}` for none."""
    if job is None:
        return {}
    duration_s = ((job.ended_at or now) - job.began_at).total_seconds() if job.began_at is not None else 0.0
    return {
        "id": job.id,
        "doc_id": "",
        "from_page": 0,
        "to_page": _LAST_PAGE,
        "task_type": _NAMES[job.type],
        "priority": job.priority,
        "begin_at": http_date(job.began_at) if job.began_at is not None else None,
        "process_duration": max(0.0, duration_s),
        "progress": job.progress,
        "progress_msg": job.progress_msg,
        "retry_count": job.attempts,
        "digest": "",
        "chunk_ids": "",
        **times(job.created_at, job.ended_at or job.began_at or job.created_at),
    }


def dataset_tasks(jobs: Mapping[IndexType, IndexJob]) -> dict[str, Any]:
    """Return the fields by which a dataset names its jobs; the end is told of those that were done."""
    told: dict[str, Any] = {"mindmap_task_id": None, "mindmap_task_finish_at": None}
    for type_, name in _NAMES.items():
        job = jobs.get(type_)
        is_done = job is not None and job.is_done and job.ended_at is not None
        told[f"{name}_task_id"] = job.id if job is not None else None
        told[f"{name}_task_finish_at"] = http_date(job.ended_at) if is_done and job and job.ended_at else None
    return told
