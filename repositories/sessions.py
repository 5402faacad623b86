"""Sessions of any kind; their messages are in `repositories/messages.py`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import messages, sessions
from app.domain.ids import ChatId, SessionId, TenantId
from app.domain.listing import Listing, OrderBy
from app.domain.sessions import Session, SessionFilter

_ORDERS: dict[OrderBy, Any] = {
    "create_time": sessions.c.created_at,
    "update_time": sessions.c.updated_at,
    "name": sessions.c.name,
}


class SessionRepository:
    """Sessions of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, session: Session, *, next_position: int = 0) -> None:
        """Insert `session`; its next message takes `next_position`."""
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
        await self._connection.execute(insert(sessions).values(values))

    async def get(self, session_id: SessionId, *, chat_id: ChatId | None = None) -> Session | None:
        """Return a live session; with `chat_id` only if it is of that chat."""
        statement = select(sessions).where(*self._live(), sessions.c.id == session_id)
        if chat_id is not None:
            statement = statement.where(sessions.c.chat_id == chat_id)
        row = (await self._connection.execute(statement)).one_or_none()
        return _session(row) if row is not None else None

    async def change(
        self, session_id: SessionId, *, name: str | None = None, user_id: str | None = None
    ) -> Session | None:
        """Write what is not None; the session as it is then, None when it is gone."""
        values = {key: value for key, value in {"name": name, "user_id": user_id}.items() if value is not None}
        # A millisecond later at least: every write changes what the wire shows.
        later = sessions.c.updated_at + func.make_interval(0, 0, 0, 0, 0, 0, 0.001)
        statement = (
            update(sessions)
            .where(*self._live(), sessions.c.id == session_id)
            .values(**values, updated_at=func.greatest(func.clock_timestamp(), later))
            .returning(sessions)
        )
        row = (await self._connection.execute(statement)).one_or_none()
        return _session(row) if row is not None else None

    async def page(self, chat_id: ChatId, listing: Listing, meant: SessionFilter) -> tuple[int, list[Session]]:
        """Return how many sessions of the chat are meant, and the stretch of them `listing` names."""
        matching = [*self._of_chat(chat_id), *self._matching(meant)]
        columns = _ORDERS[listing.order_by], sessions.c.id
        ordered = [column.desc() if listing.is_descending else column.asc() for column in columns]
        stretch = select(sessions).where(*matching).order_by(*ordered).limit(listing.limit).offset(listing.offset)
        found = [_session(row) for row in await self._connection.execute(stretch)]
        total = listing.total(len(found))
        if total is None:
            counted = select(func.count()).select_from(sessions).where(*matching)
            total = int((await self._connection.execute(counted)).scalar_one())
        return total, found

    async def delete(self, chat_id: ChatId, session_ids: Sequence[str]) -> list[str]:
        """Delete those of `session_ids` that are sessions of the chat, with their messages; their ids."""
        gone = delete(sessions).where(*self._of_chat(chat_id), sessions.c.id == func.any(list(session_ids)))
        return list((await self._connection.execute(gone.returning(sessions.c.id))).scalars())

    async def delete_all(self, chat_id: ChatId) -> int:
        """Delete every session of the chat, with their messages; how many there were."""
        return (await self._connection.execute(delete(sessions).where(*self._of_chat(chat_id)))).rowcount

    def _live(self) -> tuple[Any, Any]:
        return sessions.c.tenant_id == self._tenant_id, sessions.c.deleted_at.is_(None)

    def _of_chat(self, chat_id: ChatId) -> tuple[Any, Any, Any]:
        return (*self._live(), sessions.c.chat_id == chat_id)

    def _matching(self, meant: SessionFilter) -> list[Any]:
        conditions: list[Any] = []
        if meant.id is not None:
            conditions.append(sessions.c.id == meant.id)
        if meant.name is not None:
            conditions.append(sessions.c.name == meant.name)
        if meant.user_id is not None:
            conditions.append(sessions.c.user_id == meant.user_id)
        if meant.created_from is not None:
            conditions.append(sessions.c.created_at >= meant.created_from)
        if meant.created_to is not None:
            conditions.append(sessions.c.created_at <= meant.created_to)
        if meant.keywords is not None:
            said = exists().where(
                messages.c.tenant_id == sessions.c.tenant_id,
                messages.c.session_id == sessions.c.id,
                messages.c.content.icontains(meant.keywords, autoescape=True),
            )
            named = [column.icontains(meant.keywords, autoescape=True) for column in (sessions.c.id, sessions.c.name)]
            conditions.append(or_(*named, said))
        return conditions


def _session(row: Row[Any]) -> Session:
    return Session(
        id=SessionId(row.id),
        chat_id=ChatId(row.chat_id) if row.chat_id is not None else None,
        kind=row.kind,
        name=row.name,
        user_id=row.user_id,
        source=row.source,
        variables=row.variables,
        round=row.round,
        tokens=row.tokens,
        duration_s=row.duration_s,
        thumb_up=row.thumb_up,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
