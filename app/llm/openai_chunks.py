"""The chunks of an OpenAI-compatible chat stream, read into model items."""

from collections.abc import Sequence
from typing import Any

import structlog

from app.domain.errors import UpstreamFailed
from app.domain.models import FinishReason, ModelFinish, ModelItem, ModelReasoning, ModelText, ModelToolCall, Usage
from app.llm.openai_payloads import Call, Choice, Function, decoded
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


class ChunkReader:
    """Gathers one answer: items as they come, finish reason, usage, and the texts in case they must be counted.

    `texts` holds the arguments of tool calls too: they were written by the model, as was what stands behind a stop
    sequence, which is not shown.
    """

    __slots__ = (
        "_api_key",
        "_guard",
        "_has_calls",
        "_is_plain",
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
        self._splitter = ThinkSplitter(starts_thinking=starts_thinking)
        self._is_plain = self._guard.is_idle and self._splitter.is_idle  # text that opens no tag is shown as it comes
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
        if payload[:1] != b"{":
            if payload.startswith(b"[DONE]"):
                self.is_done = True
                return
            if not payload.strip():
                return
        chunk = decoded(payload)
        if chunk.error:
            raise stream_error(chunk.error, api_key=self._api_key)
        if chunk.usage is not None:
            self.usage = chunk.usage.known() or self.usage
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

    def _take_choice(self, choice: Choice, items: list[ModelItem]) -> None:
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
                if self._is_plain and "<" not in text and not self._logprobs:  # nearly every piece there is
                    self.texts.append(text)
                    items.append(ModelText(text))
                else:
                    self._put_parts(self._splitter.feed(text), items)
                    self._is_plain = self._guard.is_idle and self._splitter.is_idle
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
        logprobs: tuple[dict[str, Any], ...] = ()
        if self._logprobs:
            logprobs, self._logprobs = tuple(self._logprobs), []
        shown, told = self._guard.feed(text, logprobs)
        if shown:
            items.append(ModelText(shown, tuple(told)))
        if self._guard.is_stopped:
            self.finish, self.is_done = FinishReason.STOP, True

    def _put_calls(self, calls: list[Call], items: list[ModelItem]) -> None:
        for at, call in enumerate(calls):
            function = call.function or Function()
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
