"""Chat assistants and the datasets they use."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import orjson
import structlog
from sqlalchemy import Row, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import chat_datasets, chats
from app.db.knowledge import datasets
from app.domain.chats import Chat, ChatDataset, ChatNameTaken, ChatNotWritten, TenantMissing
from app.domain.ids import ChatId, DatasetId, TenantId
from app.domain.listing import Listing, OrderBy
from repositories.listed import listed
from repositories.moments import later
from repositories.statements import Driver, Statement

log = structlog.get_logger()

# [[id, name], …] in the order they were given; datasets that were deleted are not among them.
_DATASETS = (
    select(
        func.jsonb_agg(
            aggregate_order_by(func.jsonb_build_array(datasets.c.id, datasets.c.name), chat_datasets.c.position),
            type_=JSONB,
        )
    )
    .select_from(
        chat_datasets.join(
            datasets,
            and_(
                datasets.c.tenant_id == chat_datasets.c.tenant_id,
                datasets.c.id == chat_datasets.c.dataset_id,
                datasets.c.deleted_at.is_(None),
            ),
        )
    )
    .where(chat_datasets.c.tenant_id == chats.c.tenant_id, chat_datasets.c.chat_id == chats.c.id)
    .scalar_subquery()
    .label("datasets")
)

_ORDERS: dict[OrderBy, Any] = {
    "create_time": chats.c.created_at,
    "update_time": chats.c.updated_at,
    "name": chats.c.name,
}

_STORED = [each.name for each in fields(Chat) if each.name != "datasets"]

_JSON = ("llm_setting", "prompt_config", "meta_data_filter")

_FOR_TURN = Statement(
    "SELECT "  # noqa: S608 (constants)
    + ", ".join(f"c.{name}::text" if name in _JSON else f"c.{name}" for name in _STORED)
    + """, (
        SELECT jsonb_agg(jsonb_build_array(d.id, d.name) ORDER BY cd.position)::text
        FROM chat_datasets cd
            JOIN datasets d ON d.tenant_id = cd.tenant_id AND d.id = cd.dataset_id AND d.deleted_at IS NULL
        WHERE cd.tenant_id = c.tenant_id AND cd.chat_id = c.id
    ) AS datasets
    FROM chats c WHERE c.tenant_id = :tenant AND c.id = :id AND c.deleted_at IS NULL"""
)


class ChatRepository:
    """Chats of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, driver: Driver, tenant_id: TenantId) -> None:
        self._connection = connection
        self._driver = driver
        self._tenant_id = tenant_id

    async def add(self, chat: Chat) -> None:
        """Insert `chat` with its datasets.

        Raises:
            ChatNameTaken: another live chat has the name.
            TenantMissing: the tenant was deleted.
            ChatNotWritten: the database refused it for another reason.
        """
        values = {name: getattr(chat, name) for name in _STORED}
        try:
            await self._connection.execute(insert(chats).values(values))
        except IntegrityError as error:
            if "uq_chats_name" in str(error.orig):
                raise ChatNameTaken("Duplicated chat name in creating chat.", param="name") from error
            if "fk_chats_tenants" in str(error.orig):
                raise TenantMissing("Tenant not found!") from error
            log.error("chat_not_written", chat=chat.id, exc_info=error)
            raise ChatNotWritten("Fail to new a chat!") from error
        await self._attach(chat)

    async def update(self, chat: Chat) -> Chat | None:
        """Write the chat's columns and datasets; the chat with its new time, None when it is gone.

        Raises:
            ChatNameTaken: another live chat has the name.
        """
        values = {name: getattr(chat, name) for name in _STORED if name not in ("tenant_id", "id", "created_at")}
        values["updated_at"] = later
        statement = update(chats).where(*self._live(), chats.c.id == chat.id).values(values).returning(chats.c.id)
        try:
            found = (await self._connection.execute(statement)).one_or_none()
        except IntegrityError as error:
            if "uq_chats_name" in str(error.orig):
                raise ChatNameTaken("Duplicated chat name in updating chat.", param="name") from error
            raise
        if found is None:
            return None
        own = (chat_datasets.c.tenant_id == self._tenant_id) & (chat_datasets.c.chat_id == chat.id)
        await self._connection.execute(delete(chat_datasets).where(own))
        await self._attach(chat)
        return await self.get(chat.id)

    async def _attach(self, chat: Chat) -> None:
        rows = [
            {"tenant_id": self._tenant_id, "chat_id": chat.id, "dataset_id": dataset_id, "position": position}
            for position, (dataset_id, _) in enumerate(chat.datasets)
        ]
        if rows:
            await self._connection.execute(insert(chat_datasets).values(rows))

    async def get(self, chat_id: ChatId, *, lock: bool = False) -> Chat | None:
        """Return a live chat; `lock` holds other writers back until the unit ends."""
        statement = select(chats, _DATASETS).where(*self._live(), chats.c.id == chat_id)
        if lock:
            statement = statement.with_for_update(of=chats)
        row = (await self._connection.execute(statement)).one_or_none()
        return _chat(row) if row is not None else None

    async def for_turn(self, chat_id: ChatId) -> Chat | None:
        """Return a live chat, as `get` does, at the price a turn should pay."""
        row = await self._driver.first(_FOR_TURN, {"tenant": self._tenant_id, "id": chat_id})
        if row is None:
            return None
        values = dict(row)
        for name in _JSON:
            values[name] = orjson.loads(values[name])
        pairs = orjson.loads(values.pop("datasets") or "[]")
        return Chat(**values, datasets=tuple((DatasetId(dataset_id), name) for dataset_id, name in pairs))

    async def is_live(self, chat_id: ChatId) -> bool:
        """Say whether there is such a chat."""
        statement = select(chats.c.id).where(*self._live(), chats.c.id == chat_id)
        return (await self._connection.execute(statement)).first() is not None

    async def has_name(self, name: str, *, but: ChatId | None = None) -> bool:
        """Say whether a live chat other than `but` has the name, in whatever case."""
        statement = select(chats.c.id).where(*self._live(), func.lower(chats.c.name) == func.lower(name))
        if but is not None:
            statement = statement.where(chats.c.id != but)
        return (await self._connection.execute(statement)).first() is not None

    async def page(
        self, listing: Listing, *, chat_id: str | None = None, name: str | None = None, keywords: str | None = None
    ) -> tuple[int, list[Chat]]:
        """Return how many chats match, and the stretch of them `listing` names. Filters are exact but `keywords`."""
        matching = [*self._live()]
        if chat_id is not None:
            matching.append(chats.c.id == chat_id)
        if name is not None:
            matching += [func.lower(chats.c.name) == func.lower(name), chats.c.name == name]  # the first has an index
        if keywords is not None:
            matching.append(chats.c.name.icontains(keywords, autoescape=True))
        meant = select(chats, _DATASETS).where(*matching)
        total, rows = await listed(self._connection, meant, listing, _ORDERS, chats.c.id)
        return total, [_chat(row) for row in rows]

    async def delete(self, chat_ids: Sequence[str]) -> list[str]:
        """Hide the live chats among `chat_ids`, which frees their names; their ids."""
        return await self._hide(chats.c.id == func.any(list(chat_ids)))

    async def delete_all(self) -> int:
        """Hide every live chat; how many there were."""
        return len(await self._hide())

    async def _hide(self, *meant: Any) -> list[str]:
        """Hide live chats, locked by their ids, so that two deletions at once never wait for each other."""
        locked = select(chats.c.id).where(*self._live(), *meant).order_by(chats.c.id).with_for_update(key_share=True)
        gone = (
            update(chats)
            .where(chats.c.tenant_id == self._tenant_id, chats.c.id.in_(locked))
            .values(deleted_at=func.clock_timestamp())
            .returning(chats.c.id)
        )
        return list((await self._connection.execute(gone)).scalars())

    async def datasets_of(self, dataset_ids: Sequence[str]) -> dict[str, ChatDataset]:
        """Return the datasets that exist, by id; none of them goes away before the unit ends."""
        statement = (
            select(datasets.c.id, datasets.c.name, datasets.c.chunk_count, datasets.c.embedding_model)
            .where(
                datasets.c.tenant_id == self._tenant_id,
                datasets.c.id == func.any(list(dataset_ids)),
                datasets.c.deleted_at.is_(None),
            )
            .order_by(datasets.c.id)
            .with_for_update(read=True, key_share=True)
        )
        return {
            row.id: ChatDataset(
                id=DatasetId(row.id),
                name=row.name,
                chunk_count=row.chunk_count,
                embedding_model=row.embedding_model,
            )
            for row in await self._connection.execute(statement)
        }

    def _live(self) -> tuple[Any, Any]:
        return chats.c.tenant_id == self._tenant_id, chats.c.deleted_at.is_(None)


def _chat(row: Row[Any]) -> Chat:
    values = {name: getattr(row, name) for name in _STORED}
    pairs = tuple((DatasetId(dataset_id), name) for dataset_id, name in row.datasets or ())
    return Chat(**values, datasets=pairs)
