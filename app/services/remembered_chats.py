"""Chats and sessions asked lately, so that a turn needs not read them first."""

from collections import OrderedDict
from typing import Generic, TypeVar

import orjson

from app.domain.chats import Chat
from app.domain.ids import ChatId, SessionId, TenantId
from app.domain.sessions import Session

_VARIABLES_BYTES = 4096
"""Sessions with longer variables are read again each time: what is kept in memory stays small."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class RememberedChats:
    """The chats asked lately, as they were when last read, and their sessions; whoever uses one checks that it is so.

    Of a session nothing a turn needs ever changes: its chat and its variables. It may only have gone.
    """

    def __init__(self, most: int = 1000, most_sessions: int = 10_000) -> None:
        self._chats: _Latest[tuple[TenantId, ChatId], Chat] = _Latest(most)
        self._sessions: _Latest[tuple[TenantId, ChatId, SessionId], Session] = _Latest(most_sessions)

    def keep(self, chat: Chat, session: Session | None = None) -> None:
        """Remember a chat that was just read, and the session of it that was, or that was just begun."""
        self._chats.keep((chat.tenant_id, chat.id), chat)
        if session is not None and len(orjson.dumps(session.variables)) <= _VARIABLES_BYTES:
            self._sessions.keep((chat.tenant_id, chat.id, session.id), session)

    def chat(self, tenant_id: TenantId, chat_id: ChatId) -> Chat | None:
        """Return a tenant's chat as it was last seen."""
        return self._chats.get((tenant_id, chat_id))

    def session(self, chat: Chat, session_id: SessionId) -> Session | None:
        """Return a session of the chat as it was last seen."""
        return self._sessions.get((chat.tenant_id, chat.id, session_id))


class _Latest(Generic[_Key, _Value]):
    """The last `most` values that were kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def keep(self, key: _Key, value: _Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def get(self, key: _Key) -> _Value | None:
        return self._values.get(key)
