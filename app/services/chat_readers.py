"""Values of a chat's fields, each read as its type, and the tables of which field is which (conversations.md 2.1)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from app.domain.errors import Invalid, WrongType

SECRETS = ("tavily_api_key", "querit_api_key")
"""Keys of a prompt that are stored sealed and never shown."""

LLM_SETTING = {
    "temperature": 0.1,
    "top_p": 0.3,
    "presence_penalty": 0.4,
    "frequency_penalty": 0.7,
    "max_tokens": 512,
}
"""How to generate when a maker says nothing of it."""

WEIGHT_DIGITS = 15
"""1 - (1 - x) gives x again when both are rounded to so many digits."""

_INT_MOST = 2**31 - 1

Reader = Callable[[str, Any], Any]


def read_object(sent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object under `name`; absent and null are an empty one."""
    value = sent.get(name)
    if value is not None and not isinstance(value, dict):
        raise WrongType(f"`{name}` should be an object.", param=name)
    return value or {}


def read_text(name: str, value: Any) -> str:
    """Return a text. Like all readers it raises Invalid for what is something else."""
    if not isinstance(value, str):
        raise Invalid(f"`{name}` must be a string.", param=name)
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"`{name}` must be a boolean.", param=name)
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"`{name}` must be a number.", param=name)
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(f"`{name}` must be an integer.", param=name)
    return value


def _count(name: str, value: Any) -> int:
    if not 1 <= _whole(name, value) <= _INT_MOST:
        raise Invalid(f"`{name}` must be an integer from 1 to {_INT_MOST}.", param=name)
    return int(value)


def read_share(name: str, value: Any) -> float:
    """Return a number from 0 to 1."""
    if not 0 <= _number(name, value) <= 1:
        raise Invalid(f"`{name}` must be a number from 0 to 1.", param=name)
    return float(value)


def _keywords_weight(name: str, value: Any) -> float:
    return round(1 - read_share(name, value), WEIGHT_DIGITS)


def _reasoning(name: str, value: Any) -> bool | int:
    if not isinstance(value, bool | int) or not 0 <= value <= 4:
        raise Invalid(f"`{name}` must be a boolean or an integer from 0 to 4.", param=name)
    return value


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid(f"`{name}` should be a list of strings.", param=name)
    return value


def _parameters(name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(_is_parameter(each) for each in value):
        raise Invalid(f'`{name}` should be a list of objects like {{"key": "lang", "optional": false}}.', param=name)
    return [{"key": each["key"], "optional": each.get("optional", False)} for each in value]


def _is_parameter(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    key: Any = value.get("key")
    return isinstance(key, str) and key != "" and isinstance(value.get("optional", False), bool)


def _filter(name: str, value: Any) -> dict[str, Any]:
    return read_object({name: value}, name)


def _flag(name: str, value: Any) -> str:
    return str(int(value)) if isinstance(value, bool | int) else read_text(name, value)


LLM_READERS: dict[str, Reader] = {**dict.fromkeys(LLM_SETTING, _number), "max_tokens": _whole}

PROMPT_READERS: dict[str, Reader] = {
    **dict.fromkeys(("system", "prologue", "empty_response", "rerank_id", *SECRETS), read_text),
    **dict.fromkeys(("quote", "tts", "refine_multiturn", "keyword", "use_kg", "toc_enhance"), _boolean),
    "parameters": _parameters,
    "cross_languages": _texts,
    "reasoning": _reasoning,
    "similarity_threshold": read_share,
    "vector_similarity_weight": read_share,
    "keywords_similarity_weight": _keywords_weight,
    "top_n": _count,
    "top_k": _count,
}

TOP_READERS: tuple[tuple[str, str, Reader], ...] = (  # of two words for one column the later one wins
    ("icon", "avatar", read_text),
    ("avatar", "avatar", read_text),
    ("description", "description", read_text),
    ("language", "language", read_text),
    ("do_refer", "do_refer", _flag),
    ("show_quotation", "do_refer", _flag),
    ("meta_data_filter", "meta_data_filter", _filter),
    ("similarity_threshold", "similarity_threshold", read_share),
    ("vector_similarity_weight", "vector_similarity_weight", read_share),
    ("top_n", "top_n", _count),
    ("top_k", "top_k", _count),
    ("rerank_id", "rerank_id", read_text),
)

KNOWN = frozenset(
    (
        *("name", "dataset_ids", "llm", "llm_id", "llm_setting", "prompt", "prompt_config", "prompt_type"),
        *(word for word, _, _ in TOP_READERS),
    )
)
"""Top-level keys of an assistant's body that mean something."""
