"""Which days and sessions statistics are asked of (conversations.md 8.3)."""

from datetime import UTC, datetime, timedelta

from app.domain.stats import DayStats, StatsFilter
from app.services.listing import read_moment
from repositories.unit_of_work import UnitOfWork

DAYS = 7
"""How far statistics go back where nobody says."""

AGENT = "agent"


def read_stats(
    *, from_date: str = "", to_date: str = "", canvas_id: str = "", chat_id: str = "", source: str = "", now: datetime
) -> StatsFilter:
    """Return what a query asks for: the last seven days and today, unless it says otherwise.

    A `canvas_id` means the sessions of that agent; so `source` is `agent`, whatever else is said.

    Raises:
        Invalid: something is no date.
    """
    first = (now - timedelta(days=DAYS)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = read_moment("to_date", to_date, is_end=True)
    return StatsFilter(
        begin=read_moment("from_date", from_date) or first,
        end=end if end is not None and end < now else None,
        source=AGENT if canvas_id else source or None,
        chat_id=chat_id or None,
        agent_id=canvas_id or None,
    )


class StatsService:
    """Statistics of the unit's tenant."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit

    async def days(self, meant: StatsFilter) -> list[DayStats]:
        """Return what began on each day, in order; days without sessions are absent."""
        return await self._unit.stats.days(meant)
