"""Sessions stored by the hundred, without messages, and how many there are."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from app.db.conversations import session_counts, sessions
from app.domain.ids import new_id
from tests.chats.world import Api, World

START = datetime(2025, 1, 1, tzinfo=UTC)


async def add_rows(world: World, api: Api, chat: str, count: int, **fields: Any) -> list[str]:
    """Add sessions without messages, a second apart, the oldest first; some names and times are equal."""
    ids = [f"{number:06}{new_id()[6:]}" for number in range(count)]
    rows = [
        {
            "tenant_id": api.tenant_id,
            "id": one,
            "kind": "chat",
            "chat_id": chat,
            "name": f"n{number % 3}",
            "created_at": START + timedelta(seconds=number),
            "updated_at": START + timedelta(seconds=number // 2),
            **fields,
        }
        for number, one in enumerate(ids)
    ]
    await world.sql(api, sessions.insert().values(rows))
    return ids


async def total(world: World, api: Api, chat: str) -> tuple[int, int]:
    """How many sessions are counted, and how many there are."""
    counted = select(func.coalesce(func.sum(session_counts.c.sessions), 0)).where(session_counts.c.chat_id == chat)
    there = select(func.count()).select_from(sessions).where(sessions.c.chat_id == chat)
    return int((await world.sql(api, counted)).scalar_one()), int((await world.sql(api, there)).scalar_one())
