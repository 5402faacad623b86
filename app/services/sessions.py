"""Rules of the sessions of a chat: the checks, in the order of conversations.md 3.2, 3.3 and 3.5."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.domain.chats import ChatMissing
from app.domain.errors import Invalid
from app.domain.ids import ChatId, SessionId, new_id, new_turn_id
from app.domain.listing import Deletion, Listing
from app.domain.sessions import (
    WORD_MOST_BYTES,
    MessageRange,
    Session,
    SessionCursor,
    SessionFilter,
    SessionMissing,
    SessionPage,
    fits_index,
)
from app.services.deletion import delete_several
from app.services.prompts import opener
from repositories.jobs import CHANNEL, DELETE_SESSIONS
from repositories.unit_of_work import UnitOfWork

_TIMES = ("create_time", "create_date", "update_time", "update_date")
_CONTENT = ("name", "user_id", "message", "messages", "reference")

RESERVED = frozenset(("id", "chat_id", "session_id", "tenant_id", *_CONTENT, *_TIMES))
"""Keys of a new session's body that are no variables."""

NAME_MOST = 255

MESSAGES_LISTED = 200
"""How many messages of each session a list shows at most: the last."""

MESSAGES_SHOWN = 1000
"""How many messages a session shows at most by itself: the last; the others are read by stretches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as it is shown; `said` is None where messages were not asked for."""

    session: Session
    said: MessageRange | None
    avatar: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionViews:
    """A stretch of a list as it is shown."""

    page: SessionPage
    views: list[SessionView]


class SessionService:
    """Sessions of the chats of the unit's tenant; names are refused in the words of 0.22 where it is spoken."""

    def __init__(self, unit: UnitOfWork, *, is_compat22: bool = False) -> None:
        self._unit = unit
        self._is_compat22 = is_compat22

    async def create(self, chat_id: ChatId, sent: Mapping[str, Any]) -> SessionView:
        """Open a session with the assistant's first words in it (conversations.md 3.2).

        Raises:
            ChatMissing: no such chat.
            Invalid: the name or the user id cannot be.
        """
        chat = await self._unit.chats.get(chat_id)
        if chat is None:
            raise ChatMissing("You do not own the assistant.")
        now = datetime.now(UTC)
        variables = {key: value for key, value in sent.items() if key not in RESERVED}
        session = Session(
            id=SessionId(new_id()),
            chat_id=chat_id,
            name=self._name(sent.get("name", "New session")),
            user_id=user_id_of(sent.get("user_id")) or "",
            variables=variables,
            created_at=now,
            updated_at=now,
        )
        await self._unit.sessions.add(session, next_position=1)
        await self._unit.messages.add_opener(session.id, new_turn_id(), opener(chat.prompt_config, variables))
        return await self._view(session)

    async def update(self, chat_id: ChatId, session_id: SessionId, sent: Mapping[str, Any]) -> SessionView:
        """Change name or user id; other keys are ignored, and without either nothing is written.

        Raises:
            SessionMissing: no such session in that chat.
            ChatMissing: the chat is deleted.
            Invalid: what was sent cannot be changed, or not to that.
        """
        session = await self._unit.sessions.get(session_id, chat_id=chat_id)
        if session is None:
            raise SessionMissing("Session does not exist")
        if not await self._unit.chats.is_live(chat_id):
            raise ChatMissing("You do not own the session")
        if "message" in sent or "messages" in sent:
            raise Invalid("`message` can not be change", param="messages")
        if "reference" in sent:
            raise Invalid("`reference` can not be change", param="reference")
        name = self._name(sent["name"]) if "name" in sent else None
        user_id = user_id_of(sent.get("user_id"))
        if name is None and user_id is None:
            return await self._view(session)
        changed = await self._unit.sessions.change(session_id, name=name, user_id=user_id)
        if changed is None:
            raise SessionMissing("Session does not exist")
        return await self._view(changed)

    async def get(self, chat_id: ChatId, session_id: SessionId) -> SessionView:
        """Return a session with its messages and its assistant's avatar.

        Raises:
            SessionMissing: no such session, or none of that chat, or of a deleted one.
        """
        session = await self._unit.sessions.get(session_id)
        chat = await self._unit.chats.get(chat_id) if session is not None else None
        if session is None or chat is None:
            raise SessionMissing("Session not found!")
        if session.chat_id != chat_id:
            raise SessionMissing("Session does not belong to this chat!")
        return await self._view(session, avatar=chat.avatar)

    async def page(
        self,
        chat_id: ChatId,
        listing: Listing,
        meant: SessionFilter,
        *,
        after: SessionCursor | None = None,
        has_messages: bool = True,
    ) -> SessionViews:
        """Return a stretch of the sessions of the chat that are meant, the one after `after` if it is given.

        Without `has_messages` no message text is read, unless `meant` searches it.

        Raises:
            ChatMissing: no such chat.
        """
        lists = self._unit.sessions.lists
        known = await lists.of_chat(chat_id)
        if known is None:
            raise ChatMissing(f"You don't own the assistant {chat_id}.")
        page = await lists.page(chat_id, listing, meant, known, after)
        if not has_messages or not page.sessions:
            views = [SessionView(session=session, said=None) for session in page.sessions]
            return SessionViews(page=page, views=views)
        ids = [session.id for session in page.sessions]
        said = await self._unit.session_messages.last(ids, most=MESSAGES_LISTED)
        views = [SessionView(session=session, said=said[session.id]) for session in page.sessions]
        return SessionViews(page=page, views=views)

    async def delete_several(self, chat_id: ChatId, sent: Mapping[str, Any]) -> Deletion:
        """Delete the sessions of the chat that a body names, or all, with everything said in them.

        Raises:
            ChatMissing: no such chat.
            Missing: none of those named is a session of the chat.
        """
        if not await self._unit.chats.is_live(chat_id):
            raise ChatMissing("You don't own the chat")
        return await delete_several(
            sent,
            delete=lambda ids: self._unit.sessions.delete(chat_id, ids),
            delete_all=lambda: self._delete_all(chat_id),
            unknown=lambda session_id: f"The chat doesn't own the session {session_id}",
            duplicate=lambda session_id: f"Duplicate session ids: {session_id}",
            is_compat22=self._is_compat22,
        )

    async def _delete_all(self, chat_id: ChatId) -> int:
        """Delete all of the chat's sessions; of many the rows are removed by a job, and nobody sees them until then."""
        count, has_left = await self._unit.sessions.delete_all(chat_id)
        if has_left:
            await self._unit.jobs.add_one(DELETE_SESSIONS, chat_id)
            await self._unit.notify(CHANNEL, "")
        return count

    async def _view(self, session: Session, *, avatar: str = "") -> SessionView:
        said = await self._unit.session_messages.last([session.id], most=MESSAGES_SHOWN)
        return SessionView(session=session, said=said[session.id], avatar=avatar)

    def _name(self, value: Any) -> str:
        if not value or (isinstance(value, str) and not value.strip()):
            message = "`name` can not be empty." if self._is_compat22 else "Name cannot be empty."
            raise Invalid(message, param="name")
        if not (self._is_compat22 and isinstance(value, str)):
            return name_of(value)
        if not fits_index(value):  # 0.22 has no limit of its own
            raise Invalid(f"Name is longer than {WORD_MOST_BYTES} bytes.", param="name")
        return value


def name_of(value: Any) -> str:
    """Return a name that is not empty as it is stored.

    Raises:
        Invalid: it is no string, or too long.
    """
    if not isinstance(value, str):
        raise Invalid("`name` must be a string.", param="name")
    if len(value) > NAME_MOST:
        raise Invalid(f"Name is longer than {NAME_MOST} characters.", param="name")
    return value


def user_id_of(value: Any) -> str | None:
    """Return a user id as it is stored; None when none was sent.

    Raises:
        Invalid: it is no string, or too long.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid("`user_id` must be a string.", param="user_id")
    if not fits_index(value):
        raise Invalid(f"`user_id` is longer than {WORD_MOST_BYTES} bytes.", param="user_id")
    return value
