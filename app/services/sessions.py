"""Rules of the sessions of a chat: the checks, in the order of conversations.md 3.2, 3.3 and 3.5."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.domain.chats import ChatMissing
from app.domain.errors import Invalid
from app.domain.ids import ChatId, SessionId, new_id, new_turn_id
from app.domain.listing import Deletion, Listing
from app.domain.sessions import Message, Session, SessionFilter, SessionMissing
from app.services.deletion import delete_several
from app.services.prompts import opener
from repositories.unit_of_work import UnitOfWork

_TIMES = ("create_time", "create_date", "update_time", "update_date")
_CONTENT = ("name", "user_id", "message", "messages", "reference")

RESERVED = frozenset(("id", "chat_id", "session_id", "tenant_id", *_CONTENT, *_TIMES))
"""Keys of a new session's body that are no variables."""

NAME_MOST = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as it is shown; `messages` is None where they were not asked for."""

    session: Session
    messages: list[Message] | None
    avatar: str = ""


class SessionService:
    """Sessions of the chats of the unit's tenant."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit

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
            name=_name(sent.get("name", "New session")),
            user_id=_user_id(sent.get("user_id")) or "",
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
        name = _name(sent["name"]) if "name" in sent else None
        user_id = _user_id(sent.get("user_id"))
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
        self, chat_id: ChatId, listing: Listing, meant: SessionFilter, *, has_messages: bool = True
    ) -> tuple[int, list[SessionView]]:
        """Return how many sessions of the chat are meant, and a stretch of them.

        Without `has_messages` no message text is read, unless `meant` searches it.

        Raises:
            ChatMissing: no such chat.
        """
        if not await self._unit.chats.is_live(chat_id):
            raise ChatMissing(f"You don't own the assistant {chat_id}.")
        total, sessions = await self._unit.sessions.page(chat_id, listing, meant)
        if not has_messages or not sessions:
            return total, [SessionView(session=session, messages=None) for session in sessions]
        messages = await self._unit.messages.of_sessions([session.id for session in sessions])
        return total, [SessionView(session=session, messages=messages[session.id]) for session in sessions]

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
            delete_all=lambda: self._unit.sessions.delete_all(chat_id),
            unknown=lambda session_id: f"The chat doesn't own the session {session_id}",
            duplicate=lambda session_id: f"Duplicate session ids: {session_id}",
        )

    async def _view(self, session: Session, *, avatar: str = "") -> SessionView:
        messages = await self._unit.messages.of_sessions([session.id])
        return SessionView(session=session, messages=messages[session.id], avatar=avatar)


def _name(value: Any) -> str:
    if not value or (isinstance(value, str) and not value.strip()):
        raise Invalid("Name cannot be empty.", param="name")
    if not isinstance(value, str):
        raise Invalid("`name` must be a string.", param="name")
    if len(value) > NAME_MOST:
        raise Invalid(f"Name is longer than {NAME_MOST} characters.", param="name")
    return value


def _user_id(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Invalid("`user_id` must be a string.", param="user_id")
    return value
