"""The chunks of an OpenAI-compatible chat stream, read into model items."""

from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from app.domain.errors import UpstreamFailed
from app.domain.models import FinishReason, ModelFinish, ModelItem, ModelReasoning, ModelText, ModelToolCall, Usage
from app.llm.replies import stream_error
from app.llm.stopping import StopGuard
from app.llm.think import ThinkSplitter

log = structlog.get_logger()

_FINISH = {
    **dict.fromkeys(("length", "max_tokens", "max_length", "model_length", "max_output_tokens"), FinishReason.LENGTH),
    **dict.fromkeys(
        ("content_filter", "safety", "blocked", "recitation", "prohibited_content", "sensitive", "refusal"),
        FinishReason.CONTENT_FILTER,
    ),
    **dict.fromkeys(
        ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "finished", "no_content"),
        FinishReason.STOP,
    ),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), FinishReason.TOOL_CALLS),
}
_BROKEN = frozenset({"error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource"})


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None  # in an answer that is not a stream
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChunkReader:
    """Gathers one answer: items as they come, finish reason, usage, and the texts in case they must be counted.

    `texts` holds the arguments of tool calls too: they were written by the model, as was what stands behind a stop
    sequence, which is not shown.
    """

    __slots__ = (
        "_api_key",
        "_guard",
        "_has_calls",
        "_is_free",
        "_logprobs",
        "_splitter",
        "finish",
        "has_started",
        "is_done",
        "reasoning",
        "texts",
        "usage",
    )

    def __init__(self, *, api_key: str | None, starts_thinking: bool = False, stops: Sequence[str] = ()) -> None:
        self._api_key = api_key
        self._guard = StopGuard(stops)
        self._is_free = self._guard.is_idle
        self._splitter = ThinkSplitter(starts_thinking=starts_thinking)
        self._has_calls = False
        self._logprobs: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.reasoning: list[str] = []
        self.finish: FinishReason | None = None
        self.usage: Usage | None = None
        self.is_done = False
        self.has_started = False

    def take(self, payload: bytes, items: list[ModelItem]) -> None:
        """Append to `items` what the data of one event says.

        Raises:
            UpstreamFailed: it is not JSON, or an error.
        """
        if payload[:6] == b"[DONE]":
            self.is_done = True
            return
        if not payload.strip():
            return
        try:
            chunk = _decode(payload)
        except msgspec.ValidationError:
            chunk = _lenient(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("The model provider sent something that is not JSON.") from error
        if chunk.error:
            raise stream_error(chunk.error, api_key=self._api_key)
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage) or self.usage
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._take_choice(choice, items)

    def close(self, items: list[ModelItem]) -> None:
        """Append what was held back and the finish; call once, after the last payload."""
        self._put_parts(self._splitter.flush(), items)
        text, logprobs = self._guard.flush()
        if text:
            items.append(ModelText(text, tuple(logprobs)))
        finish = self.finish or FinishReason.STOP
        if finish in (FinishReason.STOP, FinishReason.TOOL_CALLS):  # some say `stop` after calls
            finish = FinishReason.TOOL_CALLS if self._has_calls else FinishReason.STOP
        items.append(ModelFinish(finish))

    def _take_choice(self, choice: _Choice, items: list[ModelItem]) -> None:
        if self._guard.is_stopped:
            return
        delta = choice.delta or choice.message
        if choice.logprobs is not None and choice.logprobs.content:
            self._logprobs += choice.logprobs.content
        if delta is not None:
            if reasoning := delta.reasoning_content or delta.reasoning:
                self.has_started = True
                self.reasoning.append(reasoning)
                items.append(ModelReasoning(reasoning))
            if text := delta.content:
                self.has_started = True
                if self._splitter.is_plain(text):
                    self._put_text(text, items)
                else:
                    self._put_parts(self._splitter.feed(text), items)
            if delta.refusal:
                self.has_started = True
                self.texts.append(delta.refusal)
                items.append(ModelText(delta.refusal, (), True))
            if delta.tool_calls:
                self.has_started = self._has_calls = True
                self._put_calls(delta.tool_calls, items)
        if choice.finish_reason and not self._guard.is_stopped:
            self._finish(choice.finish_reason)

    def _put_parts(self, parts: list[tuple[bool, str]], items: list[ModelItem]) -> None:
        for is_thinking, text in parts:
            if is_thinking:
                self.reasoning.append(text)
                items.append(ModelReasoning(text))
            else:
                self._put_text(text, items)

    def _put_text(self, text: str, items: list[ModelItem]) -> None:
        self.texts.append(text)
        if self._is_free and not self._logprobs:  # nearly every piece there is
            items.append(ModelText(text))
            return
        logprobs: tuple[dict[str, Any], ...] = ()
        if self._logprobs:
            logprobs, self._logprobs = tuple(self._logprobs), []
        shown, told = self._guard.feed(text, logprobs)
        if shown:
            items.append(ModelText(shown, tuple(told)))
        if self._guard.is_stopped:
            self.finish, self.is_done = FinishReason.STOP, True

    def _put_calls(self, calls: list[_Call], items: list[ModelItem]) -> None:
        for at, call in enumerate(calls):
            function = call.function or _Function()
            name, arguments = function.name or "", function.arguments or ""
            number = call.index if call.index is not None else at
            self.texts.append(name + arguments)
            items.append(ModelToolCall(number=number, id=call.id or "", name=name, arguments=arguments))

    def _finish(self, word: str) -> None:
        word = word.lower()
        if word in _BROKEN:
            raise UpstreamFailed("The model provider broke off its answer.")
        if word not in _FINISH:
            log.debug("finish_reason_unknown", word=word[:40])
        self.finish = _FINISH.get(word, FinishReason.STOP)
        self.has_started = True


def _usage(usage: _Usage) -> Usage | None:
    if usage.prompt_tokens is None and usage.completion_tokens is None:
        return None
    prompt_details, completion_details = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (prompt_details and prompt_details.cached_tokens) or usage.prompt_cache_hit_tokens or 0
    reasoning = (completion_details and completion_details.reasoning_tokens) or 0
    return Usage(
        prompt_tokens=max(usage.prompt_tokens or 0, 0),
        completion_tokens=max(usage.completion_tokens or 0, 0),
        reasoning_tokens=max(reasoning, 0),
        cached_tokens=max(cached, 0),
    )


def _lenient(payload: bytes) -> _Chunk:
    """Read a chunk with fields of unusual types, keeping those that can be understood."""
    try:
        raw: Any = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise UpstreamFailed("The model provider sent something that is not JSON.") from error
    if not isinstance(raw, dict):
        raise UpstreamFailed("The model provider sent a chunk that is not an object.")
    choices = [_lenient_choice(choice) for choice in _list(raw.get("choices")) if isinstance(choice, dict)]
    return _Chunk(choices=choices, usage=_lenient_usage(raw.get("usage")), error=raw.get("error"))


def _lenient_choice(choice: dict[str, Any]) -> _Choice:
    delta = choice.get("delta") or choice.get("message")
    known: dict[str, Any] = delta if isinstance(delta, dict) else {}
    finish, index = choice.get("finish_reason"), choice.get("index")
    return _Choice(
        index=index if isinstance(index, int) else 0,
        delta=_Delta(
            content=_text(known.get("content")),
            reasoning_content=_text(known.get("reasoning_content")),
            reasoning=_text(known.get("reasoning")),
            refusal=_text(known.get("refusal")),
            tool_calls=[_lenient_call(call) for call in _list(known.get("tool_calls")) if isinstance(call, dict)],
        ),
        finish_reason=finish if isinstance(finish, str) else None,
    )


def _lenient_call(call: dict[str, Any]) -> _Call:
    told = call.get("function")
    function: dict[str, Any] = told if isinstance(told, dict) else {}
    index, arguments = call.get("index"), function.get("arguments")
    if isinstance(arguments, dict | list):  # some send the arguments as an object
        arguments = msgspec.json.encode(arguments).decode()
    return _Call(
        index=index if isinstance(index, int) else None,
        id=_text(call.get("id")),
        function=_Function(name=_text(function.get("name")), arguments=_text(arguments)),
    )


def _lenient_usage(usage: object) -> _Usage | None:
    try:
        return msgspec.convert(usage, _Usage | None, strict=False)
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
