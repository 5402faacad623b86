"""An assistant as its page sees it (conversations.md 7.4)."""

from typing import Any

from app.domain.chats import Chat
from app.services.prompts import PROLOGUE


def bot_info(chat: Chat) -> dict[str, Any]:
    """Return what a page shows before the first question; of the web search only whether there is one."""
    prologue = chat.prompt_config.get("prologue")
    has_key = bool(chat.prompt_config.get("tavily_api_key"))
    return {
        "title": chat.name,
        "avatar": chat.avatar,
        "prologue": prologue if isinstance(prologue, str) else PROLOGUE,
        "has_tavily_key": has_key,
        "has_web_search_provider": has_key,
        "llm_id": chat.llm_id,
    }
