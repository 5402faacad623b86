"""Lists of the sessions of a chat: filtered, ordered, by pages or from a cursor on (conversations.md 3.3, 8.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.conversations import sessions
from app.domain.ids import ChatId, SessionId, TenantId
from app.domain.listing import Listing, OrderBy
from app.domain.sessions import Session, SessionCursor, SessionFilter, SessionPage
from repositories.session_hours import SessionHours
from repositories.session_search import SessionSearch, Walk, among, has_trigrams, pattern

COUNTED = 10_000
"""Sessions that a filter leaves are counted up to here; of all sessions of a chat the number is always known."""

_FAR = 1000
"""Lists longer than this are read from their end, where that is nearer."""

_ORDERS: dict[OrderBy, tuple[Any, ...]] = {
    "create_time": (sessions.c.created_at, sessions.c.id),
    "update_time": (sessions.c.updated_at, sessions.c.id),
    "name": (sessions.c.name, sessions.c.created_at, sessions.c.id),
}

# What is asked for decides the plan: it is made anew for each list, in this transaction.
_CHAT = text("""
    SELECT c.sessions_since, set_config('plan_cache_mode', 'force_custom_plan', true), (
        SELECT COALESCE(sum(n.sessions), 0)::bigint FROM session_counts n
        WHERE n.tenant_id = c.tenant_id AND n.chat_id = c.id
    ) AS sessions
    FROM chats c WHERE c.tenant_id = :tenant AND c.id = :chat_id AND c.deleted_at IS NULL
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSessions:
    """What a chat knows of its sessions: how many they are, and after when they were made."""

    count: int
    since: datetime | None


class SessionLists:
    """Lists of one tenant's sessions. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._search = SessionSearch(connection, tenant_id)

    async def of_chat(self, chat_id: ChatId) -> ChatSessions | None:
        """Return what a live chat knows of its sessions, None when there is no such chat."""
        row = (await self._connection.execute(_CHAT, {"tenant": self._tenant_id, "chat_id": chat_id})).one_or_none()
        return ChatSessions(count=row.sessions, since=row.sessions_since) if row is not None else None

    async def page(
        self,
        chat_id: ChatId,
        listing: Listing,
        meant: SessionFilter,
        known: ChatSessions,
        after: SessionCursor | None = None,
    ) -> SessionPage:
        """Return the stretch `listing` names of those sessions of the chat that are meant; see `COUNTED`.

        With `after` it begins after that session, and the listing's offset does not count.
        """
        of_chat = sessions_of(self._tenant_id, chat_id, known.since)
        exact = [*of_chat, *_exactly(meant)]
        place = [] if after is None else [_after(after)]
        offset = listing.offset if after is None else 0
        stretch = _Stretch(listing=listing, offset=offset, following=[*exact, *place])
        if meant.keywords is not None:
            return await self._with_keywords(chat_id, exact, stretch, meant.keywords, known.count)
        if len(exact) == len(of_chat):
            is_far = after is None and known.count > _FAR and offset > known.count // 2
            found = await (self._from_the_end(stretch, known.count) if is_far else self._fetch(stretch))
            return _page(found, stretch, known.count)
        found = await self._fetch(stretch)
        is_end = after is None and len(found) <= listing.limit and (found or not offset)
        if is_end:
            return _page(found, stretch, offset + len(found))
        return _page(found, stretch, *await self._count(exact, "name" if meant.name is not None else "create_time"))

    async def _fetch(self, stretch: "_Stretch", *more: Any) -> list[Session]:
        """Return the sessions of a stretch and, if there is one, the next after it."""
        statement = (
            select(sessions)
            .where(*stretch.following, *more)
            .order_by(*_ordered(stretch.listing))
            .limit(stretch.listing.limit + 1)
            .offset(stretch.offset)
        )
        return [session_of(row) for row in await self._connection.execute(statement)]

    async def _from_the_end(self, stretch: "_Stretch", total: int) -> list[Session]:
        """As `_fetch`, over the shorter way: the last pages of long lists."""
        last = min(total, stretch.offset + stretch.listing.limit + 1)
        if last <= stretch.offset:
            return []
        backwards = _ordered(stretch.listing, backwards=True)
        statement = select(sessions).where(*stretch.following).order_by(*backwards)
        rows = await self._connection.execute(statement.limit(last - stretch.offset).offset(total - last))
        return [session_of(row) for row in rows][::-1]

    async def _count(self, conditions: Sequence[Any], along: OrderBy = "create_time") -> tuple[int, bool]:
        """Return how many there are, and whether that is all; see `COUNTED`."""
        in_order = select(sessions.c.id).where(*conditions).order_by(*_ORDERS[along])  # so that an index serves
        some = in_order.limit(COUNTED + 1).subquery()
        found = int((await self._connection.execute(select(func.count()).select_from(some))).scalar_one())
        return min(found, COUNTED), found <= COUNTED

    async def _with_keywords(
        self, chat_id: ChatId, exact: list[Any], stretch: "_Stretch", keywords: str, count: int
    ) -> SessionPage:
        """Return a stretch of the sessions with these words; frequent ones are found among the first of the list."""
        ordered = _ordered(stretch.listing)
        walk = await self._search.walk(stretch.following, ordered, keywords, stretch.wanted)
        if walk.is_whole or len(walk.ids) >= stretch.wanted:
            return await self._among(walk, exact, stretch)
        is_by_creation = stretch.listing.order_by == "create_time"
        is_descending = is_by_creation and stretch.listing.is_descending
        hours = SessionHours(self._connection, self._tenant_id, chat_id, pattern(keywords))
        span = await hours.span(exact, count, is_descending=is_descending)
        if span is None:
            return _page([], stretch, 0)
        candidates = await hours.candidates(span) if has_trigrams(keywords) or not is_by_creation else None
        if candidates is not None and candidates.is_whole:
            return await self._named(candidates.ids, exact, stretch)
        if not is_by_creation:
            found = await self._fetch(stretch, self._search.holding(chat_id, keywords))
            return _page(found, stretch, stretch.offset + len(found), is_exact=False)
        if len(stretch.following) > len(exact):
            rest = await hours.span(stretch.following, count, is_descending=is_descending)
        else:
            rest = span if candidates is None else replace(span, first=candidates.first)
        ids = await hours.first(rest, stretch.following, ordered, stretch.wanted) if rest is not None else []
        return await self._among(Walk(ids=ids, is_whole=len(ids) < stretch.wanted), exact, stretch)

    async def _named(self, candidates: list[str], exact: list[Any], stretch: "_Stretch") -> SessionPage:
        """Return the stretch of what is meant among all that the indexes name."""
        if not candidates:
            return _page([], stretch, 0)
        found = await self._fetch(stretch, among(candidates))
        return _page(found, stretch, *await self._count([*exact, among(candidates)]))

    async def _among(self, walk: Walk, exact: list[Any], stretch: "_Stretch") -> SessionPage:
        """Return the stretch of what the first of its sessions held."""
        shown = among(walk.ids[stretch.offset : stretch.wanted])
        found = await self._fetch(_Stretch(listing=stretch.listing, offset=0, following=[*exact, shown]))
        is_from_the_first = len(stretch.following) == len(exact)
        return _page(found, stretch, len(walk.ids), walk.is_whole and is_from_the_first)


def sessions_of(tenant_id: TenantId, chat_id: ChatId, since: datetime | None) -> list[Any]:
    """Return the conditions of a chat's sessions; those made until `since` are gone."""
    own = [sessions.c.tenant_id == tenant_id, sessions.c.deleted_at.is_(None), sessions.c.chat_id == chat_id]
    return own if since is None else [*own, sessions.c.created_at > since]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    listing: Listing
    offset: int
    following: list[Any]  # the conditions of what the stretch is taken from

    @property
    def wanted(self) -> int:
        """How many there must be, from the first on, to know the stretch and whether something follows."""
        return self.offset + self.listing.limit + 1


def _exactly(meant: SessionFilter) -> list[Any]:
    wanted = [
        sessions.c.id == meant.id if meant.id is not None else None,
        sessions.c.name == meant.name if meant.name is not None else None,
        sessions.c.user_id == meant.user_id if meant.user_id is not None else None,
        sessions.c.created_at >= meant.created_from if meant.created_from is not None else None,
        sessions.c.created_at <= meant.created_to if meant.created_to is not None else None,
    ]
    return [condition for condition in wanted if condition is not None]


def _ordered(listing: Listing, *, backwards: bool = False) -> list[Any]:
    is_descending = listing.is_descending is not backwards
    return [column.desc() if is_descending else column.asc() for column in _ORDERS[listing.order_by]]


def _after(cursor: SessionCursor) -> Any:
    values = (cursor.value, cursor.created_at, cursor.id) if cursor.order_by == "name" else (cursor.value, cursor.id)
    here, there = tuple_(*_ORDERS[cursor.order_by]), tuple_(*values)
    return here < there if cursor.is_descending else here > there


def _page(found: list[Session], stretch: _Stretch, total: int, is_exact: bool = True) -> SessionPage:
    """Return the page of what was fetched: one more than is shown, where something follows."""
    listing, shown = stretch.listing, found[: stretch.listing.limit]
    has_more = bool(shown) and len(found) > listing.limit
    following = _cursor(listing, shown[-1]) if has_more else None
    return SessionPage(total=total, is_total_exact=is_exact, sessions=shown, following=following)


def _cursor(listing: Listing, last: Session) -> SessionCursor:
    values: dict[OrderBy, datetime | str] = {
        "create_time": last.created_at,
        "update_time": last.updated_at,
        "name": last.name,
    }
    return SessionCursor(
        order_by=listing.order_by,
        is_descending=listing.is_descending,
        value=values[listing.order_by],
        created_at=last.created_at,
        id=last.id,
    )


def session_of(row: Row[Any]) -> Session:
    """Return the session of a whole row."""
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
