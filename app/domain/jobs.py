"""How far background jobs are."""

from dataclasses import dataclass
from datetime import datetime

from app.domain.ids import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """How far a job is. `progress` is 0 to 1, -1 when it failed."""

    id: JobId
    kind: str
    subject_id: str
    state: str
    attempts: int
    priority: int
    progress: float
    progress_msg: str
    error: str | None
    began_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
