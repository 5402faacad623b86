"""Assistants as the list of models shows them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import chats
from app.domain.ids import ChatId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAssistant:
    """What the list tells of an assistant."""

    id: ChatId
    name: str
    description: str
    created_at: datetime


class ModelListing:
    """The assistants of one tenant, in brief."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def assistants(self, only: ChatId | None = None) -> list[ListedAssistant]:
        """Return all live assistants by name and id, or the one with the id `only`."""
        statement = (
            select(chats.c.id, chats.c.name, chats.c.description, chats.c.created_at)
            .where(chats.c.tenant_id == self._tenant_id, chats.c.deleted_at.is_(None))
            .order_by(chats.c.name, chats.c.id)
        )
        if only is not None:
            statement = statement.where(chats.c.id == only)
        rows = (await self._connection.execute(statement)).all()
        return [
            ListedAssistant(
                id=ChatId(row.id), name=row.name, description=row.description or "", created_at=row.created_at
            )
            for row in rows
        ]
