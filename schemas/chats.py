"""Bodies of chat assistants, in the words of 0.22 and 0.27 (conversations.md 2.1, 2.2)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from schemas.bodies import LooseBody

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT = {"type": "integer", "minimum": 1}
_OBJECT = {"type": "object", "additionalProperties": True}

_SECRET = {"type": "string", "description": "Stored sealed, shown as `***`; `***` leaves it, an empty text drops it."}

_SETTING = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "max_tokens": {"type": "integer"},
}
_VARIABLES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"key": _TEXT, "optional": {"type": "boolean"}},
        "required": ["key"],
    },
}
_CONFIG = {
    "empty_response": {"type": ["string", "null"], "description": "Empty: the model answers without knowledge."},
    "tts": {"type": "boolean"},
    "refine_multiturn": {"type": "boolean"},
    "keyword": {"type": "boolean"},
    "cross_languages": {"type": "array", "items": _TEXT},
    "reasoning": {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": 4}]},
    "tavily_api_key": _SECRET,
    "querit_api_key": _SECRET,
}
_RETRIEVAL = {"similarity_threshold": _SHARE, "top_n": _COUNT, "top_k": _COUNT}
_PROMPT = {
    "prompt": {"type": "string", "description": "The system text; `{knowledge}` is where the chunks go."},
    "opener": _TEXT,
    "variables": _VARIABLES,
    "show_quote": {"type": "boolean"},
    "keywords_similarity_weight": _SHARE,
    "rerank_model": _TEXT,
    **_CONFIG,
    **_RETRIEVAL,
}
_PROMPT_CONFIG = {"system": _TEXT, "prologue": _TEXT, "parameters": _VARIABLES, "quote": {"type": "boolean"}, **_CONFIG}


def _text(description: str = "") -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"description": description} if description else {})})


class ChatBody(LooseBody):
    """Body of `POST /chats`, and of `PUT` and `PATCH /chats/{chat_id}`, where any subset may be sent.

    `llm` and `prompt` are the words of 0.22; `llm_id`, `llm_setting`, `prompt_config` and `icon` those of 0.27.
    """

    name: Annotated[Any, _text("Unique among the tenant's assistants whatever the case; at most 255 bytes.")] = None
    avatar: Annotated[Any, _text("Base64, a data URI or a URL.")] = None
    icon: Annotated[Any, _text("The same as `avatar`.")] = None
    description: Annotated[Any, _text()] = None
    language: Annotated[Any, _text()] = None
    dataset_ids: Annotated[Any, WithJsonSchema({"type": "array", "items": _TEXT})] = None
    llm: Annotated[Any, WithJsonSchema({**_OBJECT, "properties": {"model_name": _TEXT, **_SETTING}})] = None
    llm_id: Annotated[Any, _text("`name` or `name@provider`; absent: the default chat model.")] = None
    llm_setting: Annotated[Any, WithJsonSchema({**_OBJECT, "properties": _SETTING})] = None
    prompt: Annotated[Any, WithJsonSchema({**_OBJECT, "properties": _PROMPT})] = None
    prompt_config: Annotated[Any, WithJsonSchema({**_OBJECT, "properties": _PROMPT_CONFIG})] = None
    do_refer: Annotated[Any, _text("Stored only.")] = None
    show_quotation: Annotated[Any, _text("The same as `do_refer`.")] = None
    meta_data_filter: Annotated[Any, WithJsonSchema(_OBJECT)] = None
    similarity_threshold: Annotated[Any, WithJsonSchema(_SHARE)] = None
    vector_similarity_weight: Annotated[Any, WithJsonSchema(_SHARE)] = None
    top_n: Annotated[Any, WithJsonSchema(_COUNT)] = None
    top_k: Annotated[Any, WithJsonSchema(_COUNT)] = None
    rerank_id: Annotated[Any, _text()] = None
