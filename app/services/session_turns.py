"""Single turns of a session: deleted, voted on, the place where another session begins (conversations.md 8.4)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.domain.errors import BadArgument, Invalid
from app.domain.ids import ChatId, KeyId, SessionId, new_id
from app.domain.sessions import MessageMissing, MessageRange, Position, Session, SessionMissing
from app.domain.turns import SessionBusy, TurnState
from app.services.sessions import MESSAGES_SHOWN, SessionView, name_of, user_id_of
from repositories.unit_of_work import UnitOfWork

STRETCH_MOST = 1000
"""How many messages one stretch holds at most."""

_BUSY = "Another answer is being generated for this session."
_UNKNOWN = "Message not found!"


class SessionTurnService:
    """Turns of the sessions of the unit's tenant."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit

    async def stretch(self, chat_id: ChatId, session_id: SessionId, where: Position) -> MessageRange:
        """Return a stretch of a session's messages.

        Raises:
            SessionMissing: no such session of that chat.
        """
        await self.session(chat_id, session_id)
        return await self._unit.session_messages.stretch(session_id, where)

    async def find(self, session_id: SessionId) -> ChatId:
        """Return whose session it is.

        Raises:
            SessionMissing: no such session.
        """
        session = await self._unit.sessions.get(session_id)
        if session is None or session.chat_id is None:
            raise SessionMissing("Session not found!")
        return session.chat_id

    async def delete(self, chat_id: ChatId, session_id: SessionId, message_id: str) -> SessionView:
        """Delete question, answer and references of a turn; what it cost stays counted. The session as it is then.

        Raises:
            SessionMissing: no such session of that chat.
            MessageMissing: no such message in it.
            Invalid: it is the opener.
            SessionBusy: its answer is being generated.
        """
        await self.session(chat_id, session_id, lock=True)
        await self._ended(session_id, message_id, opener="The opener cannot be deleted.")
        await self._unit.session_messages.delete(session_id, message_id)
        return await self._view(chat_id, session_id)

    async def vote(
        self, chat_id: ChatId, session_id: SessionId, message_id: str, sent: Mapping[str, Any]
    ) -> SessionView:
        """Store a vote on an answer, `{"thumbup", "feedback"}`; the session as it is then.

        Raises:
            SessionMissing: no such session of that chat.
            Invalid: the vote is no boolean, or the feedback no text.
            MessageMissing: the session has no such answer.
        """
        await self.session(chat_id, session_id, lock=True)
        thumbup, feedback = sent.get("thumbup"), sent.get("feedback")
        if not isinstance(thumbup, bool):
            raise Invalid("thumbup must be a boolean", param="thumbup")
        if feedback is not None and not isinstance(feedback, str):
            raise Invalid("`feedback` must be a string.", param="feedback")
        is_stored = await self._unit.session_messages.vote(
            session_id, message_id, thumbup=thumbup, feedback=feedback or ""
        )
        if not is_stored:
            raise MessageMissing(_UNKNOWN)
        return await self._view(chat_id, session_id)

    async def fork(self, chat_id: ChatId, session_id: SessionId, sent: Mapping[str, Any], key_id: KeyId) -> SessionView:
        """Begin a session with all that was said up to the turn `message_id`, that turn too.

        References and reasoning come along; votes, tokens and rounds do not. `name` and `user_id` may be given.

        Raises:
            SessionMissing: no such session of that chat.
            BadArgument: `message_id` is not there.
            MessageMissing: no such message in the session.
            Invalid: name or user id cannot be.
            SessionBusy: the turn's answer is being generated.
        """
        session = await self.session(chat_id, session_id)
        message_id = required(sent, "message_id")["message_id"]
        place = await self._ended(session_id, message_id)
        user_id = user_id_of(sent.get("user_id"))
        now = datetime.now(UTC)
        copy = Session(
            id=SessionId(new_id()),
            chat_id=chat_id,
            name=name_of(sent.get("name") or session.name),
            user_id=session.user_id if user_id is None else user_id,
            created_at=now,
            updated_at=now,
        )
        forks = self._unit.session_forks
        await forks.begin(session_id, copy, place=place)
        await forks.copy(session_id, copy.id, place=place, api_key_id=key_id)
        await self.session(chat_id, session_id)
        await self._ended(session_id, message_id)  # still there, and so is all that came before it
        await forks.show(copy.id, chat_id)
        return await self._view(chat_id, copy.id)

    async def session(self, chat_id: ChatId, session_id: SessionId, *, lock: bool = False) -> Session:
        """Return a session of that chat; `lock` holds turns and writers back until the unit ends.

        Raises:
            SessionMissing: no such session, or none of that chat.
        """
        is_live = await self._unit.chats.is_live(chat_id)
        session = await self._unit.sessions.get(session_id, lock=lock) if is_live else None
        if session is None:
            raise SessionMissing("Session not found!")
        if session.chat_id != chat_id:
            raise SessionMissing("Session does not belong to this chat!")
        return session

    async def _ended(self, session_id: SessionId, message_id: str, *, opener: str | None = None) -> int:
        """Return the last position of a turn that is over; with `opener`, refuse the opener with that message."""
        places = await self._unit.session_messages.places(session_id, message_id)
        if not places:
            raise MessageMissing(_UNKNOWN)
        if opener is not None and places[0] == ("assistant", 0, None):
            raise Invalid(opener, param="message_id")
        if any(state == TurnState.RUNNING for _, _, state in places):
            raise SessionBusy(_BUSY, retry_after_s=1)
        return max(position for _, position, _ in places)

    async def _view(self, chat_id: ChatId, session_id: SessionId) -> SessionView:
        session = await self._unit.sessions.get(session_id)
        chat = await self._unit.chats.get(chat_id)
        if session is None or chat is None:
            raise SessionMissing("Session not found!")
        said = await self._unit.session_messages.last([session_id], most=MESSAGES_SHOWN)
        return SessionView(session=session, said=said[session_id], avatar=chat.avatar)


def required(sent: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Return the texts under `names`.

    Raises:
        BadArgument: some are not there.
        Invalid: one is no text.
    """
    if absent := [name for name in names if sent.get(name) is None]:
        raise BadArgument(f"required argument are missing: {','.join(absent)}; ", param=absent[0])
    return {name: _text(sent, name, "") for name in names}


def _text(sent: Mapping[str, Any], name: str, default: str) -> str:
    value = sent.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"`{name}` must be a string.", param=name)
    return (value if value is not None else default).replace("\x00", "\ufffd")
