"""Whole sessions, however long, read in stretches that are each short."""

from collections.abc import AsyncGenerator

from app.domain.ids import ChatId, SessionId, TenantId
from app.domain.sessions import Message, Position, Session
from app.services.session_turns import SessionTurnService
from repositories.unit_of_work import Database

AT_ONCE = 500
"""How many messages are read, and held, at once."""


async def find_session(database: Database, tenant_id: TenantId, chat_id: ChatId, session_id: SessionId) -> Session:
    """Return the session.

    Raises:
        SessionMissing: no such session of that chat.
    """
    async with database.unit(tenant_id) as unit:
        return await SessionTurnService(unit).session(chat_id, session_id)


async def stretches(database: Database, tenant_id: TenantId, session_id: SessionId) -> AsyncGenerator[list[Message]]:
    """Yield all messages of a session in order; those that come meanwhile too, those deleted meanwhile not.

    Each stretch is a transaction of its own: a slow reader holds no connection.
    """
    place, is_more = -1, True
    while is_more:
        async with database.unit(tenant_id) as unit:
            found = await unit.session_messages.stretch(session_id, Position(after=place, limit=AT_ONCE))
        if found.messages:
            place = found.messages[-1].position
            yield found.messages
        is_more = found.has_after
