"""Sessions that end because nobody writes to them any more: their rows go, and for a while their ids are known."""

from collections.abc import Sequence

from app.domain.ids import ChatId, SessionId, TenantId
from repositories.sessions import PLACES_AT_ONCE
from repositories.statements import Driver, Statement

# Chats before their sessions, as everybody locks them: the sessions' triggers count in the chats.
_KEEP_CHATS = Statement("""
    SELECT c.id FROM chats c WHERE c.tenant_id = :tenant AND c.id IN (
        SELECT s.chat_id FROM sessions s WHERE s.tenant_id = :tenant AND s.id = ANY(CAST(:ids AS text[])))
    ORDER BY c.id FOR KEY SHARE
""")

# A session somebody is writing to at this moment is left alone: it is not idle.
_END = Statement("""
    WITH fitting AS (
        SELECT o.id FROM (
            SELECT s.id, sum(s.next_position) OVER (ORDER BY s.updated_at, s.id) - s.next_position AS before
            FROM sessions s
            WHERE s.tenant_id = :tenant AND s.id = ANY(CAST(:ids AS text[])) AND s.deleted_at IS NULL
        ) o WHERE o.before < :places
    ), idle AS (
        SELECT s.id FROM sessions s
        WHERE s.tenant_id = :tenant AND s.id IN (SELECT id FROM fitting) AND s.deleted_at IS NULL
          AND s.updated_at < clock_timestamp() - make_interval(days => :days)
          AND NOT EXISTS (
              SELECT FROM turns t WHERE t.tenant_id = :tenant AND t.session_id = s.id AND t.state = 'running')
        ORDER BY s.id FOR UPDATE SKIP LOCKED
    )
    UPDATE sessions s SET deleted_at = clock_timestamp(), name = '', user_id = '', variables = '{}'
    FROM idle WHERE s.tenant_id = :tenant AND s.id = idle.id
    RETURNING s.id
""")

_DELETE_MESSAGES = Statement(
    "DELETE FROM messages WHERE tenant_id = :tenant AND session_id = ANY(CAST(:ids AS text[]))"
)

_DELETE_TURNS = Statement("DELETE FROM turns WHERE tenant_id = :tenant AND session_id = ANY(CAST(:ids AS text[]))")

_FORGET = Statement("""
    DELETE FROM sessions
    WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))
      AND deleted_at < clock_timestamp() - make_interval(days => :days)
""")

_HAS_ENDED = Statement("""
    SELECT EXISTS (SELECT FROM sessions
        WHERE tenant_id = :tenant AND id = :id AND chat_id = :chat_id AND deleted_at IS NOT NULL)
""")


class SessionRetention:
    """The end of idle sessions of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def end(self, session_ids: Sequence[SessionId], *, days: int) -> int:
        """End those of the sessions that are still idle: messages, turns and references go; how many it were.

        Those that hold more messages than go at once (`PLACES_AT_ONCE`) are left for the next time, but for one.
        """
        values = {"tenant": self._tenant_id, "ids": list(session_ids), "days": days, "places": PLACES_AT_ONCE}
        await self._driver.run(_KEEP_CHATS, values)
        ended = {"tenant": self._tenant_id, "ids": [row["id"] for row in await self._driver.all(_END, values)]}
        if ended["ids"]:
            await self._driver.run(_DELETE_MESSAGES, ended)
            await self._driver.run(_DELETE_TURNS, ended)
        return len(ended["ids"])

    async def forget(self, session_ids: Sequence[SessionId], *, days: int) -> int:
        """Delete what is left of sessions that ended `days` ago or earlier; how many it were."""
        return await self._driver.run(_FORGET, {"tenant": self._tenant_id, "ids": list(session_ids), "days": days})

    async def has_ended(self, session_id: SessionId, chat_id: ChatId) -> bool:
        """Whether there was such a session of the chat, which ended because nobody wrote to it."""
        values = {"tenant": self._tenant_id, "id": session_id, "chat_id": chat_id}
        return bool(await self._driver.scalar(_HAS_ENDED, values))
