"""Sessions of any kind; their messages are in `repositories/messages.py`."""

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import chats, sessions
from app.domain.ids import ChatId, SessionId, TenantId
from app.domain.sessions import Session, SessionNotWritten
from repositories.moments import later
from repositories.session_lists import SessionLists, session_of, sessions_of

log = structlog.get_logger()

DELETED_AT_ONCE = 500
"""Up to so many sessions are deleted in one statement; more are hidden, and a job removes them."""

PLACES_AT_ONCE = 200_000
"""Up to about so many messages go with the sessions that one statement deletes; always one session's."""

_PLACES = text("""
    SELECT COALESCE(sum(next_position), 0) FROM sessions
    WHERE tenant_id = :tenant AND chat_id = :chat_id AND deleted_at IS NULL
      AND created_at > COALESCE(CAST(:since AS timestamptz), '-infinity')
""")

# Sessions are locked after their chat, as those do who begin one, and turns after their sessions; each in one order.
_CHAT = "SELECT id FROM chats WHERE tenant_id = :tenant AND id = :chat_id"
_LOCK_CHAT = text(f"{_CHAT} FOR UPDATE")  # no session begins
_HOLD_CHAT = text(f"{_CHAT} FOR SHARE")  # nobody deletes all, or changes the chat
_KEEP_CHAT = text(f"{_CHAT} FOR KEY SHARE")  # nobody deletes all
_LOCK_TURNS = text("""
    SELECT id FROM turns WHERE tenant_id = :tenant AND session_id = ANY(CAST(:ids AS text[])) AND state = 'running'
    ORDER BY session_id FOR UPDATE
""")
_DELETE = text("DELETE FROM sessions WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))")

_EMPTY_COUNTS = text("""
    WITH counted AS (
        SELECT slot, sessions FROM session_counts WHERE tenant_id = :tenant AND chat_id = :chat_id
        ORDER BY slot FOR UPDATE
    ), emptied AS (
        UPDATE session_counts SET sessions = 0 WHERE tenant_id = :tenant AND chat_id = :chat_id
    )
    SELECT COALESCE(sum(sessions), 0)::bigint FROM counted
""")
_HIDE_ALL = text("""
    UPDATE chats SET sessions_since = GREATEST(sessions_since, (
        SELECT max(s.created_at) FROM sessions s
        WHERE s.tenant_id = :tenant AND s.chat_id = :chat_id AND s.deleted_at IS NULL))
    WHERE tenant_id = :tenant AND id = :chat_id
""")
_SOME_HIDDEN = text("""
    SELECT h.id FROM (
        SELECT o.id, sum(o.next_position) OVER (ORDER BY o.created_at, o.id) - o.next_position AS before FROM (
            SELECT s.id, s.created_at, s.next_position FROM sessions s
            WHERE s.tenant_id = :tenant AND s.chat_id = :chat_id AND s.deleted_at IS NULL
              AND s.created_at <= (SELECT sessions_since FROM chats WHERE tenant_id = :tenant AND id = :chat_id)
            ORDER BY s.created_at, s.id LIMIT :most
        ) o
    ) h WHERE h.before < :places
""")


def _not_written(session_id: SessionId, message: str, error: IntegrityError) -> SessionNotWritten:
    """Log why the database refused a session, without what is in it."""
    log.error("session_not_written", session=session_id, error=str(error.orig).partition("\nDETAIL")[0])
    return SessionNotWritten(message)


class SessionRepository:
    """Sessions of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self.lists = SessionLists(connection, tenant_id)

    async def add(self, session: Session, *, next_position: int = 0) -> None:
        """Insert `session`; its next message takes `next_position`.

        Raises:
            SessionNotWritten: the database refused it.
        """
        values = {
            "tenant_id": self._tenant_id,
            "id": session.id,
            "kind": session.kind,
            "chat_id": session.chat_id,
            "name": session.name,
            "user_id": session.user_id,
            "source": session.source,
            "variables": session.variables,
            "next_position": next_position,
            "created_at": session.created_at,
            "updated_at": session.updated_at,
        }
        try:
            await self._connection.execute(insert(sessions).values(values))
        except IntegrityError as error:
            raise _not_written(session.id, "Fail to create a session!", error) from error

    async def get(self, session_id: SessionId, *, chat_id: ChatId | None = None, lock: bool = False) -> Session | None:
        """Return a live session; with `chat_id` only if it is of that chat; `lock` holds turns and writers back."""
        statement = select(sessions).where(*self._live(), self._is_kept(), sessions.c.id == session_id)
        if chat_id is not None:
            statement = statement.where(sessions.c.chat_id == chat_id)
        if lock:
            statement = statement.with_for_update()
        row = (await self._connection.execute(statement)).one_or_none()
        return session_of(row) if row is not None else None

    async def change(
        self, session_id: SessionId, *, name: str | None = None, user_id: str | None = None
    ) -> Session | None:
        """Write what is not None; the session as it is then, None when it is gone.

        Raises:
            SessionNotWritten: the database refused it.
        """
        values = {key: value for key, value in {"name": name, "user_id": user_id}.items() if value is not None}
        statement = (
            update(sessions)
            .where(*self._live(), sessions.c.id == session_id)
            .values(**values, updated_at=later)
            .returning(sessions)
        )
        try:
            row = (await self._connection.execute(statement)).one_or_none()
        except IntegrityError as error:
            raise _not_written(session_id, "Session updates error", error) from error
        return session_of(row) if row is not None else None

    async def delete(self, chat_id: ChatId, session_ids: Sequence[str]) -> list[str]:
        """Delete those of `session_ids` that are sessions of the chat, with their messages; their ids."""
        await self._connection.execute(_KEEP_CHAT, self._chat(chat_id))
        of_chat = (*self._live(), self._is_kept(), sessions.c.chat_id == chat_id)
        return await self._delete(*of_chat, sessions.c.id == func.any(list(session_ids)))

    async def delete_all(self, chat_id: ChatId) -> tuple[int, bool]:
        """Delete every session of the chat, with their messages; how many there were, and whether rows are left.

        What is left nobody sees any more; `remove_hidden` removes it. New sessions wait until the unit ends.
        """
        own = self._chat(chat_id)
        await self._connection.execute(_LOCK_CHAT, own)
        known = await self.lists.of_chat(chat_id)
        if known is None:
            return 0, False
        if known.count <= DELETED_AT_ONCE and await self._places(own | {"since": known.since}) <= PLACES_AT_ONCE:
            return len(await self._delete(*sessions_of(self._tenant_id, chat_id, known.since))), False
        count = int((await self._connection.execute(_EMPTY_COUNTS, own)).scalar_one())
        await self._connection.execute(_HIDE_ALL, own)
        return count, True

    async def remove_hidden(self, chat_id: ChatId, *, most: int) -> int:
        """Remove up to `most` sessions that `delete_all` left; how many. Zero is final until this unit ends."""
        await self._connection.execute(_HOLD_CHAT, self._chat(chat_id))
        values = self._chat(chat_id) | {"most": most, "places": PLACES_AT_ONCE}
        hidden = list((await self._connection.execute(_SOME_HIDDEN, values)).scalars())
        return len(await self._delete(sessions.c.tenant_id == self._tenant_id, sessions.c.id == func.any(hidden)))

    async def _delete(self, *meant: Any) -> list[str]:
        """Delete sessions of a chat that is held, with their messages; their ids."""
        locked = select(sessions.c.id).where(*meant).order_by(sessions.c.id).with_for_update()
        ids = list((await self._connection.execute(locked)).scalars())
        for statement in (_LOCK_TURNS, _DELETE):
            await self._connection.execute(statement, {"tenant": self._tenant_id, "ids": ids})
        return ids

    async def _places(self, values: dict[str, Any]) -> int:
        """Return about how many messages the chat's sessions hold."""
        return int((await self._connection.execute(_PLACES, values)).scalar_one())

    def _chat(self, chat_id: ChatId) -> dict[str, Any]:
        return {"tenant": self._tenant_id, "chat_id": chat_id}

    def _live(self) -> tuple[Any, Any]:
        return sessions.c.tenant_id == self._tenant_id, sessions.c.deleted_at.is_(None)

    def _is_kept(self) -> Any:
        """Return the condition that the session was not deleted with all others of its chat."""
        since = select(chats.c.sessions_since).where(
            chats.c.tenant_id == sessions.c.tenant_id, chats.c.id == sessions.c.chat_id
        )
        return or_(sessions.c.chat_id.is_(None), func.coalesce(sessions.c.created_at > since.scalar_subquery(), True))
