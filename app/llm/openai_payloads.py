"""What one payload of an OpenAI-compatible chat answer holds, also where it is not quite as it should be."""

from typing import Any

import msgspec

from app.domain.errors import UpstreamFailed
from app.domain.models import Usage

_NOT_JSON = "The model provider sent something that is not JSON."


class Details(msgspec.Struct, gc=False):
    """What tokens of a usage were."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class ChunkUsage(msgspec.Struct, gc=False):
    """What an answer cost, as providers tell it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek

    def known(self) -> Usage | None:
        """Return what is told; None when nothing is."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        prompt_details, completion_details = self.prompt_tokens_details, self.completion_tokens_details
        cached = (prompt_details and prompt_details.cached_tokens) or self.prompt_cache_hit_tokens or 0
        reasoning = (completion_details and completion_details.reasoning_tokens) or 0
        return Usage(
            prompt_tokens=max(self.prompt_tokens or 0, 0),
            completion_tokens=max(self.completion_tokens or 0, 0),
            reasoning_tokens=max(reasoning, 0),
            cached_tokens=max(cached, 0),
        )


class Function(msgspec.Struct, gc=False):
    """What is called, or a fragment of it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct, gc=False):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """What a choice adds, or its whole message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """How likely the tokens of a piece were."""

    content: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers asked for."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None  # in an answer that is not a stream
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Chunk(msgspec.Struct, gc=False):
    """A chunk of a stream, or a whole answer. What no one reads of it is left out."""

    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode  # no garbage collection of its structs: none holds what holds it


def decoded(payload: bytes) -> Chunk:
    """Return what `payload` holds; fields of unusual types as far as they can be understood.

    Raises:
        UpstreamFailed: it is not JSON, or not an object.
    """
    try:
        return _decode(payload)
    except msgspec.ValidationError:
        return _lenient(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed(_NOT_JSON) from error


def _lenient(payload: bytes) -> Chunk:
    """Read a chunk with fields of unusual types, keeping those that can be understood."""
    try:
        raw: Any = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed(_NOT_JSON) from error
    if not isinstance(raw, dict):
        raise UpstreamFailed("The model provider sent a chunk that is not an object.")
    choices = [_lenient_choice(choice) for choice in _list(raw.get("choices")) if isinstance(choice, dict)]
    return Chunk(choices=choices, usage=_lenient_usage(raw.get("usage")), error=raw.get("error"))


def _lenient_choice(choice: dict[str, Any]) -> Choice:
    delta = choice.get("delta") or choice.get("message")
    known: dict[str, Any] = delta if isinstance(delta, dict) else {}
    finish, index = choice.get("finish_reason"), choice.get("index")
    return Choice(
        index=index if isinstance(index, int) else 0,
        delta=Delta(
            content=_text(known.get("content")),
            reasoning_content=_text(known.get("reasoning_content")),
            reasoning=_text(known.get("reasoning")),
            refusal=_text(known.get("refusal")),
            tool_calls=[_lenient_call(call) for call in _list(known.get("tool_calls")) if isinstance(call, dict)],
        ),
        finish_reason=finish if isinstance(finish, str) else None,
    )


def _lenient_call(call: dict[str, Any]) -> Call:
    told = call.get("function")
    function: dict[str, Any] = told if isinstance(told, dict) else {}
    index, arguments = call.get("index"), function.get("arguments")
    if isinstance(arguments, dict | list):  # some send the arguments as an object
        arguments = msgspec.json.encode(arguments).decode()
    return Call(
        index=index if isinstance(index, int) else None,
        id=_text(call.get("id")),
        function=Function(name=_text(function.get("name")), arguments=_text(arguments)),
    )


def _lenient_usage(usage: object) -> ChunkUsage | None:
    try:
        return msgspec.convert(usage, ChunkUsage | None, strict=False)
    except msgspec.ValidationError:
        return None


def _text(value: object) -> str | None:
    """Return a text, or the texts of a list of content parts, joined."""
    if isinstance(value, str):
        return value
    parts = [part.get("text") for part in _list(value) if isinstance(part, dict)]
    return "".join(part for part in parts if isinstance(part, str)) or None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
