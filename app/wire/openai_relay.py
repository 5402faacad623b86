"""A provider's chat answer, relayed: its chunks as `/v1` promises them (openai.md 3.3 to 3.6)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from app.domain.errors import UpstreamFailed
from app.llm.passthrough import Tally
from app.llm.stopping import StopGuard
from app.llm.think import ThinkSplitter
from app.net.sse import SseDecoder
from app.wire.openai_calls import CallFragments
from app.wire.openai_finish import finish_reason
from app.wire.openai_head import Head
from app.wire.openai_read import OURS, list_of, parsed, take_usage, text_of
from app.wire.openai_template import Template, learnt

_READ = frozenset({"role", "content", "reasoning_content", "reasoning", "tool_calls", "refusal"})
_NO_CONTENT = frozenset({"tool_calls", "function_call", "refusal"})  # stands in place of content


class Voice:
    """One choice as it goes."""

    __slots__ = ("guard", "has_finished")

    def __init__(self, stops: Sequence[str]) -> None:
        self.guard = StopGuard(stops)
        self.has_finished = False


V = TypeVar("V", bound=Voice)


class Relay(ABC, Generic[V]):
    """Rewrites event streams of one form; what a chunk means is the subclass's.

    With an `offset`, the provider's choices are those from there on. A choice in which one of `stops` comes ends there;
    when all have, nothing more is read of the provider.
    """

    kind: str
    """The `object` of its chunks."""
    noun: str
    """What it is, for refusals of what is none."""

    def __init__(
        self,
        head: Head,
        tally: Tally,
        *,
        api_key: str | None,
        offset: int = 0,
        choices: int = 1,
        stops: Sequence[str] = (),
    ) -> None:
        self.head = head
        self.failure: UpstreamFailed | None = None
        self.is_done = False
        self.has_started = False
        self.heard = 0
        self._tally = tally
        self._api_key = api_key
        self._offset = offset
        self._decoder = SseDecoder()
        self._template: Template | None = None
        self._is_reasoning = False  # what the template's text is
        self._voices = [self._voice(stops) for _ in range(choices)]

    def feed(self, data: bytes) -> bytes:
        """Return what `data` means; see `Rewriter.feed`."""
        template = self._template
        if template is not None and self._decoder.is_idle and (found := template.buffer(data)) is not None:
            self._keep(found[0])
            return found[1]
        try:
            payloads = self._decoder.feed(data)
        except UpstreamFailed as error:
            self.failure = error
            return b""
        return b"".join(self._events(payloads))

    def whole(self, body: bytes) -> bytes:
        """Return an answer in one piece as the chunks it would have been."""
        chunk = parsed(body, self._api_key)
        told: list[bytes] = []
        take_usage(chunk, self._tally)
        self.head.mark(chunk)
        for choice in list_of(chunk.get("choices")):
            self._choice(choice, {}, told)
        if not told:
            raise UpstreamFailed(f"The model provider sent JSON that is not a {self.noun} completion.")
        self.is_done = True
        return b"".join([*told, self.close()])

    def close(self) -> bytes:
        """Return what was held back; see `Rewriter.close`."""
        told: list[bytes] = []
        if not self.is_done:
            told = self._events(self._decoder.flush())
            if self.failure is not None and not self.has_finished:
                raise self.failure
        if not (self.is_done or self.has_finished):
            raise UpstreamFailed("The model provider's answer was cut off.")
        self._end_rest(told)
        return b"".join(told)

    @property
    def has_finished(self) -> bool:
        """Whether every choice has its finish reason."""
        return all(voice.has_finished for voice in self._voices)

    @abstractmethod
    def _voice(self, stops: Sequence[str]) -> V:
        """Return a choice that has not begun."""

    @abstractmethod
    def _end_rest(self, told: list[bytes]) -> None:
        """End the choices that the provider left open."""

    def _events(self, payloads: list[bytes]) -> list[bytes]:
        told: list[bytes] = []
        self.heard += len(payloads)
        try:
            for payload in payloads:
                template = self._template
                if template is not None and (found := template.event(payload)) is not None:
                    self._keep(found[0])
                    told.append(found[1])
                elif payload[:6] == b"[DONE]":
                    self.is_done = True
                elif payload.strip():
                    self._take(payload, told)
        except UpstreamFailed as error:
            self.failure = error
        return told

    def _keep(self, text: str) -> None:
        (self._tally.reasoning if self._is_reasoning else self._tally.texts).append(text)

    def _take(self, payload: bytes, told: list[bytes]) -> None:
        chunk = parsed(payload, self._api_key)
        has_usage = take_usage(chunk, self._tally)
        more = {key: value for key, value in chunk.items() if key not in OURS and value is not None}
        choices = [one for one in list_of(chunk.get("choices")) if isinstance(one, dict)]
        if choices:
            self.head.mark(chunk)
        begun = len(told)
        for choice in choices:
            self._choice(choice, more, told)
        if len(choices) == 1 and len(told) == begun + 1 and not has_usage:
            self._learn(payload, choices[0], told[-1])

    @abstractmethod
    def _learn(self, payload: bytes, choice: dict[str, Any], ours: bytes) -> None:
        """Remember the form of a chunk that held nothing but text."""

    @abstractmethod
    def _choice(self, choice: dict[str, Any], more: dict[str, Any], told: list[bytes]) -> None:
        """Say what a choice of a chunk adds; `more` is what the chunk holds beside what everybody knows."""


class _ChatVoice(Voice):
    __slots__ = ("calls", "has_begun", "splitter")

    def __init__(self, stops: Sequence[str]) -> None:
        super().__init__(stops)
        self.splitter = ThinkSplitter()
        self.calls = CallFragments()
        self.has_begun = False


class ChatRelay(Relay[_ChatVoice]):
    """Chunks of chat completions."""

    kind = "chat.completion.chunk"
    noun = "chat"

    def _voice(self, stops: Sequence[str]) -> _ChatVoice:
        return _ChatVoice(stops)

    def _end_rest(self, told: list[bytes]) -> None:
        for index in range(len(self._voices)):
            if not self._voices[index].has_finished:
                self._finish(index, None, {}, told)

    def _choice(self, choice: dict[str, Any], more: dict[str, Any], told: list[bytes]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        if not 0 <= index < len(self._voices) or self._voices[index].has_finished:
            return
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._told(index, self._deltas(self._voices[index], delta), more, choice.get("logprobs"), told)
        if self._voices[index].guard.is_stopped:
            self._finish(index, "stop", more, told)
            self.is_done = self.has_finished
        elif choice.get("finish_reason"):
            self._finish(index, choice["finish_reason"], more, told)

    def _told(
        self, index: int, deltas: list[dict[str, Any]], more: dict[str, Any], logprobs: Any, told: list[bytes]
    ) -> None:
        """Say what a chunk adds, with its `logprobs` where its text is said."""
        guard = self._voices[index].guard
        for one in deltas:
            if "content" in one and not guard.is_idle:
                content = logprobs.get("content") if isinstance(logprobs, dict) else None
                text, tokens = guard.feed(one["content"], list_of(content))
                logprobs = None  # once
                if text:
                    self._say(index, {"content": text}, more, _tokens(tokens), told)
                continue
            self._say(index, one, more, logprobs if "reasoning_content" not in one else None, told)
            if "content" in one or "refusal" in one:
                logprobs = None  # once

    def _deltas(self, voice: _ChatVoice, delta: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if reasoning := text_of(delta.get("reasoning_content")) or text_of(delta.get("reasoning")):
            self._tally.reasoning.append(reasoning)
            found.append({"reasoning_content": reasoning})
        if text := text_of(delta.get("content")):
            if voice.splitter.is_plain(text):
                self._tally.texts.append(text)
                found.append({"content": text})
            else:
                self._template = None  # what looks like text may be thinking from here on
                found += self._parts(voice.splitter.feed(text))
        if refusal := text_of(delta.get("refusal")):
            self._tally.texts.append(refusal)
            found.append({"refusal": refusal})
        if calls := delta.get("tool_calls"):
            fragments = voice.calls.deltas(calls)
            self._tally.texts += [_words(one) for one in fragments]
            found += fragments
        rest = {key: value for key, value in delta.items() if key not in _READ and value not in (None, [], "")}
        if rest:
            found.append(rest)
        return found

    def _parts(self, parts: list[tuple[bool, str]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for is_thinking, text in parts:
            (self._tally.reasoning if is_thinking else self._tally.texts).append(text)
            found.append({"reasoning_content" if is_thinking else "content": text})
        return found

    def _say(self, index: int, delta: dict[str, Any], more: dict[str, Any], logprobs: Any, told: list[bytes]) -> None:
        self._begin(index, has_content=delta.keys().isdisjoint(_NO_CONTENT), told=told)
        choice = {"index": index + self._offset, "delta": delta, "logprobs": logprobs or None, "finish_reason": None}
        told.append(self.head.chunk(self.kind, [choice], more))

    def _begin(self, index: int, *, has_content: bool, told: list[bytes]) -> None:
        """Say the role of a choice, once, after those of the choices before it."""
        self.has_started = True
        for at in range(index + 1):
            voice = self._voices[at]
            if not voice.has_begun:
                voice.has_begun = True
                delta = {"role": "assistant", "content": "" if has_content or at != index else None}
                choice = {"index": at + self._offset, "delta": delta, "logprobs": None, "finish_reason": None}
                told.append(self.head.chunk(self.kind, [choice]))

    def _finish(self, index: int, word: Any, more: dict[str, Any], told: list[bytes]) -> None:
        voice = self._voices[index]
        reason = finish_reason(word, has_calls=voice.calls.has_calls and not voice.guard.is_stopped)
        self._told(index, self._parts(voice.splitter.flush()), {}, None, told)
        text, tokens = voice.guard.flush()
        if text:
            self._say(index, {"content": text}, {}, _tokens(tokens), told)
        if voice.guard.is_stopped:
            reason = "stop"
        else:
            for delta in voice.calls.flush():
                self._say(index, delta, {}, None, told)
        self._begin(index, has_content=True, told=told)
        voice.has_finished = True
        choice: dict[str, Any] = {"index": index + self._offset, "delta": {}, "logprobs": None, "finish_reason": reason}
        told.append(self.head.chunk(self.kind, [choice], more))

    def _learn(self, payload: bytes, choice: dict[str, Any], ours: bytes) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict) or choice.get("finish_reason") or choice.get("logprobs"):
            return
        if len(self._voices) > 1 or not (self._voices[0].splitter.is_plain("") and self._voices[0].guard.is_idle):
            return
        said = [key for key in ("content", "reasoning_content", "reasoning") if delta.get(key)]
        if len(said) != 1 or not isinstance(delta[said[0]], str) or set(delta) - _READ - {"annotations"}:
            return
        if "<" in delta[said[0]] or delta.get("tool_calls") or delta.get("refusal"):
            return
        self._is_reasoning = said[0] != "content"
        our_key = "reasoning_content" if self._is_reasoning else "content"
        self._template = learnt(payload, said[0], delta[said[0]], ours, our_key)


def _words(delta: dict[str, Any]) -> str:
    """Return what the model wrote of a fragment of a tool call."""
    fragment = delta["tool_calls"][0]
    inner = fragment.get("function") or fragment.get("custom") or {}
    return "".join(str(value) for value in inner.values())


def _tokens(tokens: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return {"content": list(tokens), "refusal": None} if tokens else None
