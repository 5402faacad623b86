"""Sessions looked up by words stretch by stretch of time, by the indexes: as far as it takes, and no further.

Messages and labels carry the hour in which their session began, and the indexes of words have it, in units of 1, 8, 64
and 512 hours, beside the words. So a unit without the words costs about half a millisecond, however many sessions
before or after it have them, and a unit with them only what is in it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import sessions
from app.domain.ids import ChatId, TenantId

CANDIDATES = 5000
"""Up to so many messages, and names, are handed over by the indexes, and counted."""

UNIT = 30_000
"""Units are as long as they can be without holding more sessions than this, as far as a mean tells."""

_STORED = {0: "session_hour", 3: "session_8h", 6: "session_64h", 9: "session_512h"}
_FINER = 3  # powers of two between one unit and the next
_LONGEST, _SHORTEST = 9, 3

_ENDS = (
    func.hour_of(func.min(sessions.c.created_at)).label("earliest"),
    func.hour_of(func.max(sessions.c.created_at)).label("latest"),
)

# Planned as if all were wanted, so that the indexes of words are asked however few are; read no further than it takes.
_HELD = """
    WITH said AS MATERIALIZED (
        SELECT session_id FROM messages
        WHERE tenant_id = :tenant AND session_id IS NOT NULL AND {stored} = {unit} AND content ILIKE :pattern
    ), labelled AS MATERIALIZED (
        SELECT session_id FROM session_labels
        WHERE tenant_id = :tenant AND chat_id = :chat_id AND {stored} = {unit} AND label ILIKE :pattern
    )
    SELECT session_id FROM said UNION ALL SELECT session_id FROM labelled {most}
"""
_UNITS = "generate_series(CAST(:first AS int), CAST(:last AS int), CAST(:step AS int)) AS units(unit)"

# At most one more than may be: then there are too many.
_CANDIDATES = """
    SELECT array_agg(DISTINCT session_id) AS ids, count(*) AS found, min(unit) AS earliest, max(unit) AS latest FROM (
        SELECT units.unit, held.session_id FROM {units}, LATERAL ({held}) held LIMIT :most
    ) found
"""

# The inner query is one by itself (OFFSET 0): units without the words are left before they are divided.
_DIVIDED = """
    (SELECT units.unit FROM {units}, LATERAL ({held}) held OFFSET 0) AS coarse
    CROSS JOIN LATERAL generate_series(
        (coarse.unit << 3) + CAST(:begin AS int), (coarse.unit << 3) + 7 - CAST(:begin AS int), CAST(:step AS int)
    ) AS fine(unit)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The units, of 2 ** `shift` hours, in which sessions of a list began, in the list's order."""

    first: int
    last: int
    step: int
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What the indexes name: ids, some of other chats among them; too many are not whole, and begin at `first`."""

    ids: list[str]
    is_whole: bool
    first: int


class SessionHours:
    """Looks for sessions of one chat by words. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId, chat_id: ChatId, pattern: str) -> None:
        self._connection = connection
        self._values: dict[str, Any] = {"tenant": tenant_id, "chat_id": chat_id, "pattern": pattern}

    async def span(self, conditions: list[Any], count: int, *, is_descending: bool) -> Span | None:
        """Return when the sessions that meet `conditions` began, None without any; the chat has `count`."""
        row = (await self._connection.execute(select(*_ENDS).where(*conditions))).one()
        if row.earliest is None:
            return None
        an_hour = count / (row.latest - row.earliest + 1)
        shift = _LONGEST
        while shift > _SHORTEST and an_hour * 2**shift > UNIT:
            shift -= _FINER
        ends = (row.earliest >> shift, row.latest >> shift)
        first, last = ends[::-1] if is_descending else ends
        return Span(first=first, last=last, step=-1 if is_descending else 1, shift=shift)

    async def candidates(self, span: Span) -> Candidates:
        """Return what the indexes name in the units of `span`; they stop where it is too much."""
        statement = _CANDIDATES.format(units=_UNITS, held=_held(span.shift, "units.unit", "LIMIT :most"))
        values = self._values | _values(span) | {"most": CANDIDATES + 1}
        row = (await self._connection.execute(text(statement), values)).one()
        first = row.latest if span.step < 0 else row.earliest
        return Candidates(
            ids=row.ids or [], is_whole=row.found <= CANDIDATES, first=span.first if first is None else first
        )

    async def first(self, span: Span, conditions: list[Any], ordered: list[Any], wanted: int) -> list[str]:
        """Return the first `wanted` sessions with the words that meet `conditions`; ordered by when they began."""
        units = _DIVIDED.format(units=_UNITS, held=_held(span.shift, "units.unit", "LIMIT 1"))
        named = text(f"sessions.id = ANY(ARRAY({_held(span.shift - _FINER, 'fine.unit')}))")
        meant = select(sessions.c.id).where(*conditions, named).order_by(*ordered).limit(wanted).lateral("meant")
        statement = select(meant.c.id).select_from(text(units), meant).limit(wanted)
        values = self._values | _values(span) | {"begin": 7 if span.step < 0 else 0}
        return list((await self._connection.execute(statement, values)).scalars())


def _held(shift: int, unit: str, most: str = "") -> str:
    return _HELD.format(stored=_STORED[shift], unit=unit, most=most)


def _values(span: Span) -> dict[str, int]:
    return {"first": span.first, "last": span.last, "step": span.step}
