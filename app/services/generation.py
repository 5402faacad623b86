"""How an assistant's model is to generate, and the version of all that shapes its answers."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from app.domain.chats import Chat
from app.domain.models import GenerationOptions
from app.llm.base import ChatModel

_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")


def options_of(setting: Mapping[str, Any]) -> GenerationOptions:
    """Return the generation options among an assistant's settings; others are the caller's own notes."""
    numbers = {name: setting[name] for name in _NUMBERS if isinstance(setting.get(name), int | float)}
    most = setting.get("max_tokens")
    stop = setting.get("stop")
    return GenerationOptions(
        **numbers,
        max_tokens=most if isinstance(most, int) and most > 0 else None,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
    )


def prompt_version(chat: Chat, model: ChatModel) -> str:
    """Return twelve hex digits that change when the assistant's prompt, settings or model do."""
    told = [chat.prompt_config, chat.llm_setting, model.name, model.provider, chat.top_n, chat.similarity_threshold]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
