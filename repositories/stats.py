"""Sums over sessions by the day on which they began (conversations.md 8.3).

Whole days are added up from `session_days`, which triggers keep; what is left of the first and the last day, and the
day on which all sessions of a chat were deleted at once, from the sessions themselves.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from app.domain.ids import TenantId
from app.domain.stats import DayStats, StatsFilter
from repositories.statements import Driver, Statement

# Sessions of assistants that were deleted count as long as they are stored; agents will join here with theirs.
_DAYS = Statement("""
    WITH emptied AS MATERIALIZED (
        SELECT id, sessions_since AS since, (sessions_since AT TIME ZONE 'UTC')::date AS day FROM chats
        WHERE tenant_id = :tenant AND sessions_since IS NOT NULL
    ), parts AS (
        SELECT p.begins_at, p.ends_at, CAST(NULL AS text) AS chat_id
        FROM unnest(CAST(:begins AS timestamptz[]), CAST(:ends AS timestamptz[])) AS p(begins_at, ends_at)
        UNION ALL
        SELECT since, (day + 1)::timestamp AT TIME ZONE 'UTC' - interval '1 microsecond', id FROM emptied
        WHERE day BETWEEN CAST(:first AS date) AND CAST(:last AS date)
    ), found AS NOT MATERIALIZED (
        SELECT d.day, d.user_id, d.sessions, d.tokens, d.duration_s, d.rounds, d.thumb_up
        FROM session_days d
        WHERE d.tenant_id = :tenant AND d.day BETWEEN CAST(:first AS date) AND CAST(:last AS date)
          AND d.source = COALESCE(CAST(:source AS text), '')
          AND (CAST(:chat_id AS text) IS NULL OR d.chat_id = :chat_id)
          AND (CAST(:agent_id AS text) IS NULL OR d.chat_id = :agent_id)
          AND NOT EXISTS (SELECT FROM emptied e WHERE e.id = d.chat_id AND d.day <= e.day)
        UNION ALL
        SELECT (s.created_at AT TIME ZONE 'UTC')::date, s.user_id, 1, s.tokens, s.duration_s, s.round, s.thumb_up
        FROM parts p JOIN sessions s ON s.tenant_id = :tenant AND s.deleted_at IS NULL
          AND s.created_at BETWEEN p.begins_at AND p.ends_at AND (p.chat_id IS NULL OR s.chat_id = p.chat_id)
        WHERE COALESCE(s.source, '') = COALESCE(CAST(:source AS text), '')
          AND (CAST(:chat_id AS text) IS NULL OR s.chat_id = :chat_id)
          AND (CAST(:agent_id AS text) IS NULL OR s.chat_id = :agent_id)
          AND NOT EXISTS (SELECT FROM emptied e WHERE e.id = s.chat_id AND s.created_at <= e.since)
    ), sums AS (
        SELECT day, sum(sessions)::bigint AS sessions, sum(tokens)::bigint AS tokens, sum(duration_s) AS duration_s,
            sum(rounds)::float8 AS rounds, sum(thumb_up)::bigint AS thumb_up,
            (COALESCE(sum(sessions) FILTER (WHERE user_id = ''), 0) > 0)::int AS nobody
        FROM found GROUP BY day HAVING sum(sessions) > 0
    ), users AS (
        SELECT day, count(*) AS named FROM (SELECT DISTINCT day, user_id FROM found WHERE user_id <> '') u GROUP BY day
    )
    SELECT day, s.sessions, COALESCE(u.named, 0) + s.nobody AS users, s.tokens, s.duration_s,
        s.rounds / s.sessions AS rounds, s.thumb_up
    FROM sums s LEFT JOIN users u USING (day) ORDER BY day
""")


class StatsRepository:
    """Statistics of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def days(self, meant: StatsFilter) -> list[DayStats]:
        """Return the days on which sessions began, in order; the others are absent."""
        span = _span(meant.begin, meant.end)
        values = {
            "tenant": self._tenant_id,
            "first": span.first,
            "last": span.last,
            "begins": [begin for begin, _ in span.parts],
            "ends": [end for _, end in span.parts],
            "source": meant.source,
            "chat_id": meant.chat_id,
            "agent_id": meant.agent_id,
        }
        return [DayStats(**row) for row in await self._driver.all(_DAYS, values)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The whole days from `first` to `last`, both included, and parts of days; without a whole day `last` is first."""

    first: date = date.max
    last: date = date.min
    parts: list[tuple[datetime, datetime]] = field(default_factory=list[tuple[datetime, datetime]])


def _span(begin: datetime, end: datetime | None) -> _Span:
    first, last = begin.date(), end.date() if end is not None else date.max
    if end is not None and end <= begin:
        return _Span(parts=[(begin, end)])
    parts: list[tuple[datetime, datetime]] = []
    is_cut = end is not None and end.timetz() != _LAST
    if begin.timetz() != _FIRST:
        parts.append((begin, datetime.combine(first, _LAST)))
        first = first + _DAY if first < date.max else first
    if end is not None and is_cut:
        parts.append((datetime.combine(last, _FIRST), end))
        last = last - _DAY if last > date.min else last
    if end is not None and begin.date() == end.date() and parts:
        return _Span(parts=[(begin, end)])
    return _Span(first=first, last=last, parts=parts)


_DAY = timedelta(days=1)
_FIRST, _LAST = time(tzinfo=UTC), time.max.replace(tzinfo=UTC)
