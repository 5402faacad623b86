"""What was said in a span of days, in numbers."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsFilter:
    """Sessions that began from `begin` to `end`, both included, None being now. `source` None is those without one.

    `chat_id` and `agent_id` narrow it down where they are given.
    """

    begin: datetime
    end: datetime | None = None
    source: str | None = None
    chat_id: str | None = None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStats:
    """The sessions that began on one day (UTC).

    `sessions` and `users` (different user ids) are numbers; `tokens`, `duration_s` and `thumb_up` sums over the
    sessions, whenever that was; `rounds` is the mean.
    """

    day: date
    sessions: int
    users: int
    tokens: int
    duration_s: float
    rounds: float
    thumb_up: int
