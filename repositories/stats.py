"""Sums over sessions by the day on which they began (conversations.md 8.3)."""

from app.domain.ids import TenantId
from app.domain.stats import DayStats, StatsFilter
from repositories.statements import Driver, Statement

# First by user, so that nothing has to be sorted to count different users. Sessions of assistants that were deleted
# count as long as they are stored; agents will join here with their sessions.
_DAYS = Statement("""
    SELECT day, sum(sessions)::bigint AS sessions, count(*) AS users, sum(tokens)::bigint AS tokens,
        sum(duration_s) AS duration_s, (sum(rounds) / sum(sessions))::float8 AS rounds,
        sum(thumb_up)::bigint AS thumb_up
    FROM (
        SELECT (s.created_at AT TIME ZONE 'UTC')::date AS day, s.user_id, count(*) AS sessions,
            sum(s.tokens) AS tokens, sum(s.duration_s) AS duration_s, sum(s.round) AS rounds,
            sum(s.thumb_up) AS thumb_up
        FROM sessions s LEFT JOIN chats c ON c.tenant_id = s.tenant_id AND c.id = s.chat_id
        WHERE s.tenant_id = :tenant AND s.deleted_at IS NULL
          AND s.created_at >= :begin AND s.created_at <= :end
          AND s.source IS NOT DISTINCT FROM :source
          AND (CAST(:chat_id AS text) IS NULL OR s.chat_id = :chat_id)
          AND (CAST(:agent_id AS text) IS NULL OR s.kind = 'agent' AND s.chat_id = :agent_id)
          AND (c.sessions_since IS NULL OR s.created_at > c.sessions_since)
        GROUP BY 1, 2
    ) by_user
    GROUP BY day ORDER BY day
""")


class StatsRepository:
    """Statistics of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def days(self, meant: StatsFilter) -> list[DayStats]:
        """Return the days on which sessions began, in order; the others are absent."""
        values = {
            "tenant": self._tenant_id,
            "begin": meant.begin,
            "end": meant.end,
            "source": meant.source,
            "chat_id": meant.chat_id,
            "agent_id": meant.agent_id,
        }
        return [DayStats(**row) for row in await self._driver.all(_DAYS, values)]
