"""Sessions found by words: in what was said in them, in their names and ids (conversations.md 8.1).

Frequent words are found by looking at the first sessions of a list, all others by the trigram indexes, in the units of
time of repositories/session_hours.py. Slow, about a second for a million sessions, are words that are frequent, but not
among the first of a list by name or by update.
"""

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, and_, bindparam, cast, exists, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import messages, session_labels, sessions
from app.domain.ids import ChatId, TenantId

WALKED = 2000
"""How many sessions of a list are looked at before the indexes are asked."""

WALKED_MOST = 8000
"""How many, where the first of them held so many matches that these will do."""

_TRIGRAM = re.compile(r"[^\W_]{3}")
_MARGIN = 1.5
"""How much further than where the last match is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What the first sessions of a list held: those that match, in order, and whether the list ended there."""

    ids: list[str]
    is_whole: bool


class SessionSearch:
    """Looks for sessions of one tenant by words. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def walk(self, conditions: list[Any], ordered: list[Any], keywords: str, wanted: int) -> Walk:
        """Look at the first sessions that meet `conditions`, in order; at more where `wanted` are to be expected."""
        walk = await self._walk(conditions, ordered, keywords, WALKED)
        if walk.is_whole or not 0 < len(walk.ids) < wanted:
            return walk
        enough = int(_MARGIN * WALKED * wanted / len(walk.ids))
        return walk if enough > WALKED_MOST else await self._walk(conditions, ordered, keywords, enough)

    async def _walk(self, conditions: list[Any], ordered: list[Any], keywords: str, most: int) -> Walk:
        seen = select(sessions).where(*conditions).order_by(*ordered).limit(most).subquery("seen")
        found = func.array_agg(seen.c.id).filter(_matches(seen.c, keywords))
        row = (await self._connection.execute(select(found.label("ids"), func.count().label("seen")))).one()
        return Walk(ids=row.ids or [], is_whole=row.seen < most)

    def holding(self, chat_id: ChatId, keywords: str) -> Any:
        """Return the condition on a session that the indexes name it, however many they name."""
        wanted = pattern(keywords)
        said = select(messages.c.session_id).where(
            messages.c.tenant_id == self._tenant_id,
            messages.c.session_id.is_not(None),
            messages.c.content.ilike(wanted),
        )
        labelled = select(session_labels.c.session_id).where(
            session_labels.c.tenant_id == self._tenant_id,
            session_labels.c.chat_id == chat_id,
            session_labels.c.label.ilike(wanted),
        )
        return sessions.c.id.in_(said.union(labelled))


def among(ids: list[str]) -> Any:
    """Return the condition on a session that it is one of these."""
    return sessions.c.id == func.any(cast(bindparam("ids", ids, unique=True), ARRAY(String)))


def has_trigrams(keywords: str) -> bool:
    """Tell whether the indexes know texts with these words from others; else each text is read."""
    return _TRIGRAM.search(keywords) is not None


def pattern(keywords: str) -> str:
    """Return the pattern of texts that hold `keywords` somewhere; nothing in them means more than itself."""
    for character in "\\%_":
        keywords = keywords.replace(character, "\\" + character)
    return f"%{keywords}%"


def _matches(columns: Any, keywords: str) -> Any:
    wanted = pattern(keywords)
    said = exists().where(
        and_(
            messages.c.tenant_id == columns.tenant_id,
            messages.c.session_id == columns.id,
            messages.c.content.ilike(wanted),
        )
    )
    return or_(columns.name.ilike(wanted), columns.id.ilike(wanted), said)
