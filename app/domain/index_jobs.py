"""Background jobs that make something over a whole dataset: its graph, or summaries (knowledge.md 4.7)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.domain.ids import JobId

IndexType = Literal["graph", "raptor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexJob:
    """How far such a job is. `progress` is 0 to 1, or -1 when it failed or was cancelled."""

    id: JobId
    type: IndexType
    priority: int
    attempts: int
    progress: float
    progress_msg: str
    began_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    is_done: bool = False
    is_live: bool = False
