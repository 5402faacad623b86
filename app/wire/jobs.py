"""Background jobs as JSON values."""

from typing import Any

from app.domain.jobs import JobState
from app.wire.envelope import epoch_ms, http_date


def job(state: JobState) -> dict[str, Any]:
    """Return how far a job is.

    `state` is queued, running, done, failed or cancelled; `progress` is 0 to 1, -1 when it failed.
    """
    return {
        "id": state.id,
        "kind": state.kind,
        "subject_id": state.subject_id,
        "state": state.state,
        "attempts": state.attempts,
        "progress": 1.0 if state.state == "done" else state.progress,
        "progress_msg": state.progress_msg,
        "error": state.error,
        "begin_at": http_date(state.began_at) if state.began_at is not None else None,
        "end_at": http_date(state.ended_at) if state.ended_at is not None else None,
        "create_time": epoch_ms(state.created_at),
        "create_date": http_date(state.created_at),
    }
