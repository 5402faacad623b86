"""Statistics as lists of pairs of a day and a number (conversations.md 8.3)."""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any

from app.domain.stats import DayStats
from app.wire.envelope import http_date


def stats(days: Sequence[DayStats], *, is_compat22: bool) -> dict[str, list[list[Any]]]:
    """Return the six lists; days are `YYYY-MM-DD`, for RAGFlow 0.22 HTTP-dates of their midnight."""
    named = [(_http_day(one) if is_compat22 else one.day.isoformat(), one) for one in days]
    return {
        "pv": [[dt, one.sessions] for dt, one in named],
        "uv": [[dt, one.users] for dt, one in named],
        "tokens": [[dt, one.tokens / 1000] for dt, one in named],
        "speed": [[dt, one.tokens / (one.duration_s + 0.1)] for dt, one in named],
        "round": [[dt, one.rounds] for dt, one in named],
        "thumb_up": [[dt, one.thumb_up] for dt, one in named],
    }


def _http_day(one: DayStats) -> str:
    return http_date(datetime.combine(one.day, time(), tzinfo=UTC))
