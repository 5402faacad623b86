"""Chats asked lately, so that a turn needs not read its chat first."""

from collections import OrderedDict

from app.domain.chats import Chat
from app.domain.ids import ChatId, TenantId


class RememberedChats:
    """The chats asked lately, as they were when last read; whoever uses one checks that it is still so."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._chats: OrderedDict[tuple[TenantId, ChatId], Chat] = OrderedDict()

    def keep(self, chat: Chat) -> None:
        """Remember a chat that was just read."""
        self._chats[chat.tenant_id, chat.id] = chat
        self._chats.move_to_end((chat.tenant_id, chat.id))
        if len(self._chats) > self._most:
            self._chats.popitem(last=False)

    def chat(self, tenant_id: TenantId, chat_id: ChatId) -> Chat | None:
        """Return a tenant's chat as it was last seen."""
        return self._chats.get((tenant_id, chat_id))
