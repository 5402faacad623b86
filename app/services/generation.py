"""How an assistant's model is to generate, and the version of all that shapes its answers."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.domain.chats import Chat
from app.domain.models import GenerationOptions
from app.llm.base import ChatModel

_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")


def options_of(setting: Mapping[str, Any]) -> GenerationOptions:
    """Return the generation options among an assistant's settings; others, and those of no use, are notes."""
    numbers = {name: setting[name] for name in _NUMBERS if is_number(setting.get(name))}
    most = setting.get("max_tokens")
    return GenerationOptions(
        **numbers,
        max_tokens=most if isinstance(most, int) and is_number(most) and most > 0 else None,
        stop=_stops(setting.get("stop")),
    )


def is_number(value: Any) -> bool:
    """Say whether a JSON value is a finite number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _stops(stop: Any) -> tuple[str, ...]:
    """Return the texts at which an answer ends: one, or a list of them. Nobody checks what is stored here."""
    given: Sequence[Any] = stop if isinstance(stop, list | tuple) else [stop]
    return tuple(one for one in given if isinstance(one, str) and one)


def prompt_version(chat: Chat, model: ChatModel) -> str:
    """Return twelve hex digits that change when the assistant's prompt, settings or model do."""
    told = [chat.prompt_config, chat.llm_setting, model.name, model.provider, chat.top_n, chat.similarity_threshold]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
