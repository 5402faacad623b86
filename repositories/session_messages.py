"""What was said in sessions: read in stretches, deleted by turns, voted on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.domain.ids import SessionId, TenantId
from app.domain.sessions import MessageRange, Position
from repositories.messages import COLUMNS, with_references
from repositories.moments import LATER
from repositories.statements import Driver, Statement

if TYPE_CHECKING:
    from asyncpg import Record

_END = 2**31 - 1  # a place after all messages

_FROM = "FROM messages m LEFT JOIN turns t ON t.tenant_id = :tenant AND t.id = m.turn_id"
_OF_SESSION = f"SELECT {COLUMNS} {_FROM} WHERE m.tenant_id = :tenant AND m.session_id = :session_id"

_BEFORE = Statement(f"""
    {_OF_SESSION} AND m.position < :place ORDER BY m.position DESC LIMIT :most
""")
_AFTER = Statement(f"{_OF_SESSION} AND m.position > :place ORDER BY m.position LIMIT :most")

_ARE_BEFORE = Statement("""
    SELECT EXISTS (SELECT FROM messages
        WHERE tenant_id = :tenant AND session_id = :session_id AND position < :place)
""")
_ARE_AFTER = Statement("""
    SELECT EXISTS (SELECT FROM messages
        WHERE tenant_id = :tenant AND session_id = :session_id AND position > :place)
""")

# The last of each session, and one more to know whether there are others before.
_LAST = Statement(f"""
    SELECT {COLUMNS} FROM unnest(CAST(:session_ids AS text[])) WITH ORDINALITY AS s(id, number)
    CROSS JOIN LATERAL (
        SELECT * FROM messages WHERE tenant_id = :tenant AND session_id = s.id ORDER BY position DESC LIMIT :most
    ) m LEFT JOIN turns t ON t.tenant_id = :tenant AND t.id = m.turn_id
    ORDER BY s.number, m.position
""")  # noqa: S608 (constants)

_PLACES = Statement("""
    SELECT m.role, m.position, t.state FROM messages m
    LEFT JOIN turns t ON t.tenant_id = :tenant AND t.id = m.turn_id
    WHERE m.tenant_id = :tenant AND m.session_id = :session_id AND m.turn_id = :turn_id ORDER BY m.position
""")

# The ledger keeps what the turn cost, and the session how many tokens and rounds it had; a vote goes with its answer.
_DELETE = Statement(f"""
    WITH gone AS (
        DELETE FROM messages WHERE tenant_id = :tenant AND session_id = :session_id AND turn_id = :turn_id
        RETURNING thumbup
    ), of_turn AS (
        DELETE FROM turns WHERE tenant_id = :tenant AND id = :turn_id AND session_id = :session_id
    )
    UPDATE sessions SET thumb_up = thumb_up - (SELECT count(*) FROM gone WHERE thumbup),
        updated_at = {LATER}
    WHERE tenant_id = :tenant AND id = :session_id
""")  # noqa: S608 (a constant)

_VOTE = Statement(f"""
    WITH old AS (
        SELECT thumbup FROM messages
        WHERE tenant_id = :tenant AND session_id = :session_id AND turn_id = :turn_id AND role = 'assistant'
    ), voted AS (
        UPDATE messages SET thumbup = :thumbup,
            feedback = CASE WHEN :thumbup THEN NULL ELSE COALESCE(NULLIF(:feedback, ''), feedback) END
        WHERE tenant_id = :tenant AND session_id = :session_id AND turn_id = :turn_id AND role = 'assistant'
        RETURNING 1
    )
    UPDATE sessions SET
        thumb_up = thumb_up + CAST(:thumbup AS boolean)::int - COALESCE((SELECT thumbup FROM old), false)::int,
        updated_at = {LATER}
    WHERE tenant_id = :tenant AND id = :session_id AND EXISTS (SELECT FROM voted)
""")  # noqa: S608 (a constant)


class SessionMessages:
    """Messages of the sessions of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def last(self, session_ids: Sequence[SessionId], *, most: int) -> dict[SessionId, MessageRange]:
        """Return the last `most` messages of each session, with references."""
        values = {"tenant": self._tenant_id, "session_ids": list(session_ids), "most": most + 1}
        grouped: dict[SessionId, list[Record]] = {session_id: [] for session_id in session_ids}
        for row in await self._driver.all(_LAST, values):
            grouped[SessionId(row["session_id"])].append(row)
        shown = [row for rows in grouped.values() for row in rows[-most:]]
        messages = iter(await with_references(self._driver, self._tenant_id, shown))
        return {
            session_id: MessageRange(
                messages=[next(messages) for _ in rows[-most:]], has_before=len(rows) > most, has_after=False
            )
            for session_id, rows in grouped.items()
        }

    async def stretch(self, session_id: SessionId, where: Position) -> MessageRange:
        """Return a stretch of a session's messages, oldest first, with references."""
        own = {"tenant": self._tenant_id, "session_id": session_id}
        is_after = where.after is not None
        place = where.after if is_after else where.before
        values = {**own, "place": _END if place is None else place, "most": where.limit + 1}
        rows = await self._driver.all(_AFTER if is_after else _BEFORE, values)
        has_more, rows = len(rows) > where.limit, rows[: where.limit]
        has_other = place is not None and await self._are(is_after=not is_after, own=own, place=place, rows=rows)
        messages = await with_references(self._driver, self._tenant_id, rows if is_after else rows[::-1])
        return MessageRange(
            messages=messages,
            has_before=has_other if is_after else has_more,
            has_after=has_more if is_after else has_other,
        )

    async def _are(self, *, is_after: bool, own: Mapping[str, str], place: int, rows: "Sequence[Record]") -> bool:
        """Say whether there are messages on the side that was not read."""
        end = rows[0]["position"] if rows else place
        values = {**own, "place": end if rows else end + (-1 if is_after else 1)}
        return bool(await self._driver.scalar(_ARE_AFTER if is_after else _ARE_BEFORE, values))

    async def places(self, session_id: SessionId, turn_id: str) -> list[tuple[str, int, str | None]]:
        """Return role, position and state of the messages that share an id; the opener has no state."""
        values = {"tenant": self._tenant_id, "session_id": session_id, "turn_id": turn_id}
        rows = await self._driver.all(_PLACES, values)
        return [(row["role"], row["position"], row["state"]) for row in rows]

    async def delete(self, session_id: SessionId, turn_id: str) -> None:
        """Delete question and answer of a turn with what they rest on; the session is locked by the caller."""
        await self._driver.run(_DELETE, {"tenant": self._tenant_id, "session_id": session_id, "turn_id": turn_id})

    async def vote(self, session_id: SessionId, turn_id: str, *, thumbup: bool, feedback: str) -> bool:
        """Store a vote on an answer; false when there is none. The session is locked by the caller."""
        values = {
            "tenant": self._tenant_id,
            "session_id": session_id,
            "turn_id": turn_id,
            "thumbup": thumbup,
            "feedback": feedback,
        }
        return await self._driver.run(_VOTE, values) > 0
