"""Answers of `/v1/completions`, relayed: `text_completion` objects (openai.md 10)."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.domain.errors import UpstreamFailed
from app.llm.passthrough import Tally
from app.llm.stopping import StopGuard
from app.wire.openai_finish import finish_reason
from app.wire.openai_head import Head
from app.wire.openai_read import OURS, parsed, take_usage, text_of
from app.wire.openai_relay import Relay
from app.wire.openai_template import learnt

KIND = "text_completion"


class TextRelay(Relay):
    """Chunks of text completions; the provider's choices are those from `offset` on."""

    kind = KIND

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
        super().__init__(head, tally, api_key=api_key, offset=offset)
        self._finished = [False] * choices
        self._guards = [StopGuard(stops) for _ in range(choices)]

    @property
    def has_finished(self) -> bool:
        """Whether every choice has its finish reason."""
        return all(self._finished)

    def whole(self, body: bytes) -> bytes:
        """Return an answer in one piece as chunks."""
        chunk = parsed(body, self._api_key)
        take_usage(chunk, self._tally)
        told: list[bytes] = []
        self.head.mark(chunk)
        for choice in chunk.get("choices") or ():
            self._choice(choice, {}, told)
        if not told:
            raise UpstreamFailed("The model provider sent JSON that is not a text completion.")
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
        for index, has_finished in enumerate(self._finished):
            if not has_finished:
                self._choice({"index": index, "text": "", "finish_reason": "stop"}, {}, told)
        return b"".join(told)

    def _choice(self, choice: dict[str, Any], more: dict[str, Any], told: list[bytes]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        word = choice.get("finish_reason")
        text = text_of(choice.get("text"))
        if not 0 <= index < len(self._finished) or self._finished[index] or not (text or word):
            return
        self.has_started = True
        if text:
            self._tally.texts.append(text)
        reason = finish_reason(word) if word else None
        guard = self._guards[index]
        if not guard.is_idle:
            text, _ = guard.feed(text)
            if reason is not None:
                text += guard.flush()[0]
            if guard.is_stopped:
                reason = "stop"
            if not (text or reason):
                return
        self._finished[index] = reason is not None
        ours = {
            "index": index + self._offset,
            "text": text,
            "logprobs": choice.get("logprobs"),
            "finish_reason": reason,
        }
        told.append(self.head.chunk(self.kind, [ours], more))
        self.is_done = self.is_done or (guard.is_stopped and self.has_finished)

    def _learn(self, payload: bytes, choice: dict[str, Any], ours: bytes) -> None:
        text = choice.get("text")
        if len(self._finished) > 1 or choice.get("finish_reason") or choice.get("logprobs"):
            return
        if not self._guards[0].is_idle:
            return
        if isinstance(text, str) and text and "<" not in text:
            self._template = learnt(payload, "text", text, ours, "text")


class WholeText:
    """Rewrites an answer that does not stream; see `WholeChat`."""

    is_done = has_started = has_finished = True
    heard = 0
    failure: UpstreamFailed | None = None

    def __init__(
        self, tally: Tally, *, api_key: str | None, offset: int = 0, choices: int = 1, stops: Sequence[str] = ()
    ) -> None:
        self._tally = tally
        self._api_key = api_key
        self._offset = offset
        self._choices = choices
        self._stops = stops

    def feed(self, data: bytes) -> bytes:
        """Answer nothing: no stream was asked for."""
        raise UpstreamFailed(f"The model provider streamed {len(data)} bytes that were not asked for as a stream.")

    def close(self) -> bytes:
        """Return nothing: nothing is held back."""
        return b""

    def whole(self, body: bytes) -> bytes:
        """Return choices and extras; see `Rewriter.whole`."""
        answer = parsed(body, self._api_key)
        take_usage(answer, self._tally)
        told = answer.get("choices")
        choices = [self._choice(at, one) for at, one in enumerate(told if isinstance(told, list) else ())]
        if not choices:
            raise UpstreamFailed("The model provider sent JSON that is not a text completion.")
        if len(choices) < self._choices:
            raise UpstreamFailed(f"The model provider sent {len(choices)} of {self._choices} choices.")
        more = {key: value for key, value in answer.items() if key not in OURS and value is not None}
        return orjson.dumps({**more, "system_fingerprint": answer.get("system_fingerprint"), "choices": choices})

    def _choice(self, at: int, choice: Any) -> dict[str, Any]:
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            raise UpstreamFailed("The model provider sent JSON that is not a text completion.")
        self._tally.texts.append(choice["text"])
        index = choice.get("index")
        guard = StopGuard(self._stops)
        text = "".join((guard.feed(choice["text"])[0], guard.flush()[0]))
        return {
            "index": (index if isinstance(index, int) else at) + self._offset,
            "text": text,
            "logprobs": choice.get("logprobs"),
            "finish_reason": finish_reason("stop" if guard.is_stopped else choice.get("finish_reason")),
        }
