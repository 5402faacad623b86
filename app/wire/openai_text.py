"""Answers of `/v1/completions`, relayed: `text_completion` objects (openai.md 10)."""

from collections.abc import Sequence
from typing import Any

from app.llm.stopping import StopGuard
from app.wire.openai_finish import finish_reason
from app.wire.openai_read import text_of
from app.wire.openai_relay import Relay, Voice
from app.wire.openai_template import learnt
from app.wire.openai_whole import WholeAnswer

KIND = "text_completion"


class TextRelay(Relay[Voice]):
    """Chunks of text completions."""

    kind = KIND
    noun = "text"

    def _voice(self, stops: Sequence[str]) -> Voice:
        return Voice(stops)

    def _end_rest(self, told: list[bytes]) -> None:
        for index, voice in enumerate(self._voices):
            if not voice.has_finished:
                self._choice({"index": index, "text": "", "finish_reason": "stop"}, {}, told)

    def _choice(self, choice: dict[str, Any], more: dict[str, Any], told: list[bytes]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        word = choice.get("finish_reason")
        text = text_of(choice.get("text"))
        if not 0 <= index < len(self._voices) or self._voices[index].has_finished or not (text or word):
            return
        self.has_started = True
        if text:
            self._tally.texts.append(text)
        reason = finish_reason(word) if word else None
        guard = self._voices[index].guard
        if not guard.is_idle:
            text, _ = guard.feed(text)
            if reason is not None:
                text += guard.flush()[0]
            if guard.is_stopped:
                reason = "stop"
            if not (text or reason):
                return
        self._voices[index].has_finished = reason is not None
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
        if len(self._voices) > 1 or choice.get("finish_reason") or choice.get("logprobs"):
            return
        if not self._voices[0].guard.is_idle:
            return
        if isinstance(text, str) and text and "<" not in text:
            self._template = learnt(payload, "text", text, ours, "text")


class WholeText(WholeAnswer):
    """Rewrites a text completion that does not stream."""

    kind = "text"

    def _choice(self, at: int, choice: Any) -> dict[str, Any]:
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            raise self._is_none()
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
