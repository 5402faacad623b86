"""Parameters of `/v1/chat/completions` as an assistant takes them (openai.md 3.1, 3.9)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import BadArgument, WrongType
from app.domain.sessions import WORD_MOST_BYTES, fits_index
from app.services.v1_params import check_generation

_OWN = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "stop")
_FORWARDED = (
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "prediction",
    "service_tier",
    "user",
    "safety_identifier",
)
_REFUSED = ("functions", "function_call", "audio", "web_search_options")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantParams:
    """What a call says beside its messages. `options` override the assistant's settings; `extra` goes to the provider.

    `needs` are words of `app.llm.entries.Capability`, each with the parameter that needs it. `reference` is None where
    the caller said nothing.
    """

    options: dict[str, Any]
    extra: dict[str, Any]
    needs: Mapping[str, str]
    is_structured: bool
    has_tools: bool
    calls_one: bool
    has_logprobs: bool
    user_id: str = ""
    session_id: str | None = None
    reference: bool | None = None
    variables: dict[str, Any] = field(default_factory=dict[str, Any])
    dataset_ids: tuple[str, ...] | None = None
    metadata_condition: dict[str, Any] | None = None


def read_params(body: Mapping[str, Any]) -> AssistantParams:
    """Return the parameters of a body whose nulls are gone; unknown keys mean nothing to an assistant.

    Raises:
        Invalid: one breaks its rules, or is not for assistants.
    """
    check_generation(body)
    _refuse(body)
    options = {name: body[name] for name in _OWN if name in body}
    if "max_completion_tokens" in body:
        options["max_tokens"] = body["max_completion_tokens"]
    extra = {name: value for name, value in body.items() if name in _FORWARDED or name.startswith("prompt_cache_")}
    has_tools = bool(body.get("tools"))
    if not has_tools:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            extra.pop(name, None)
    form = body.get("response_format", {}).get("type", "text")
    needs = {"tools": "tools"} if has_tools else {}
    needs |= {"json_schema": "response_format"} if form != "text" else {}
    needs |= {"logprobs": "logprobs"} if body.get("logprobs") else {}
    return AssistantParams(
        options=options,
        extra=extra,
        needs=needs,
        is_structured=form != "text",
        has_tools=has_tools and body.get("tool_choice") != "none",
        calls_one=body.get("parallel_tool_calls") is False,
        has_logprobs=body.get("logprobs") is True,
        user_id=_user_id(body, "safety_identifier") or _user_id(body, "user"),
        session_id=_session_id(body),
        reference=_flag(body, "reference"),
        variables=_object(body, "variables") or {},
        dataset_ids=_texts(body, "dataset_ids"),
        metadata_condition=_object(body, "metadata_condition"),
    )


def _refuse(body: Mapping[str, Any]) -> None:
    for name in _REFUSED:
        if name in body:
            raise BadArgument(f"`{name}` is not for assistants.", param=name, code="unsupported_parameter")
    if body.get("n", 1) > 1:
        raise BadArgument("`n` must be 1: an assistant gives one answer.", param="n", code="unsupported_value")
    if body.get("modalities", ["text"]) != ["text"]:
        message = '`modalities` must be ["text"] for an assistant.'
        raise BadArgument(message, param="modalities", code="unsupported_value")
    for index, tool in enumerate(body.get("tools", ())):
        if tool["type"] != "function":
            where = f"tools.{index}.type"
            raise BadArgument(f"`{where}` must be function for an assistant.", param=where, code="unsupported_value")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") != "function":
        message = "`tool_choice.type` must be function for an assistant."
        raise BadArgument(message, param="tool_choice", code="unsupported_value")


def _session_id(body: Mapping[str, Any]) -> str | None:
    """Return the session a call is bound to, by any of its three names."""
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
        if not isinstance(conversation, str):
            raise WrongType("`conversation.id` must be a text.", param="conversation")
    if conversation is not None:
        if not isinstance(conversation, str):
            raise WrongType("`conversation` must be a text or an object.", param="conversation")
        if not conversation.startswith("conv_"):
            raise BadArgument("The id of a `conversation` begins with conv_.", param="conversation")
    named = _text(body, "session_id") or conversation or (body.get("metadata") or {}).get("session_id")
    return named.removeprefix("conv_") if named else None


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise WrongType(f"`{name}` must be a text.", param=name)
    return value


def _user_id(body: Mapping[str, Any], name: str) -> str:
    value = _text(body, name)
    if not fits_index(value):
        raise BadArgument(f"`{name}` is longer than {WORD_MOST_BYTES} bytes.", param=name)
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise WrongType(f"`{name}` must be true or false.", param=name)
    return value


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise WrongType(f"`{name}` must be an object.", param=name)
    return value


def _texts(body: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise WrongType(f"`{name}` must be a list of texts.", param=name)
    return tuple(value)
