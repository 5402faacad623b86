"""A provider's chat answer in one piece, brought to the form of openai.md 3.3."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import orjson

from app.domain.errors import UpstreamFailed
from app.llm.passthrough import Tally
from app.llm.stopping import StopGuard
from app.llm.think import ThinkSplitter
from app.wire.openai_calls import whole_calls
from app.wire.openai_finish import finish_reason
from app.wire.openai_head import Head
from app.wire.openai_read import OURS, parsed, take_usage, text_of

_READ = frozenset({"role", "content", "reasoning_content", "reasoning", "tool_calls", "refusal", "annotations"})


class WholeAnswer(ABC):
    """Rewrites an answer that does not stream: `whole` returns it without id and usage, for `joined`."""

    is_done = has_started = has_finished = True
    heard = 0
    failure: UpstreamFailed | None = None
    kind: str
    """What it is, for refusals of what is none."""

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
            raise self._is_none()
        if len(choices) < self._choices:
            raise UpstreamFailed(f"The model provider sent {len(choices)} of {self._choices} choices.")
        more = {key: value for key, value in answer.items() if key not in OURS and value is not None}
        fingerprint = answer.get("system_fingerprint")
        return orjson.dumps({**more, "system_fingerprint": fingerprint, "choices": choices})

    @abstractmethod
    def _choice(self, at: int, choice: Any) -> dict[str, Any]:
        """Return the choice that stands at `at`, in our form.

        Raises:
            UpstreamFailed: it is none.
        """

    def _is_none(self) -> UpstreamFailed:
        return UpstreamFailed(f"The model provider sent JSON that is not a {self.kind} completion.")


class WholeChat(WholeAnswer):
    """Rewrites a chat completion that does not stream."""

    kind = "chat"

    def _choice(self, at: int, choice: Any) -> dict[str, Any]:
        found = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(found, dict):
            raise self._is_none()
        message, logprobs = self._message(found), choice.get("logprobs")
        word = choice.get("finish_reason")
        guard = StopGuard(self._stops)
        if message["content"] and not guard.is_idle:
            told = logprobs.get("content") if isinstance(logprobs, dict) else None
            text, tokens = guard.feed(message["content"], told if isinstance(told, list) else ())
            if guard.is_stopped:
                message["content"], word = text, "stop"
                message.pop("tool_calls", None)
                logprobs = {"content": list(tokens), "refusal": None} if told else logprobs
        index = choice.get("index")
        return {
            "index": (index if isinstance(index, int) else at) + self._offset,
            "message": message,
            "finish_reason": finish_reason(word, has_calls="tool_calls" in message),
            "logprobs": logprobs,
        }

    def _message(self, found: dict[str, Any]) -> dict[str, Any]:
        reasoning, content = split(text_of(found.get("content")))
        reasoning = text_of(found.get("reasoning_content")) or text_of(found.get("reasoning")) or reasoning
        calls = whole_calls(found.get("tool_calls"))
        refusal = found.get("refusal")
        self._tally.texts += [content, text_of(refusal), *(str(call.get("function", "")) for call in calls)]
        self._tally.reasoning.append(reasoning)
        annotations = found.get("annotations")
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content or (None if calls or refusal else ""),
            "refusal": refusal if isinstance(refusal, str) and refusal else None,
            "annotations": annotations if isinstance(annotations, list) else [],
        }
        if calls:
            message["tool_calls"] = calls
        if reasoning:
            message["reasoning_content"] = reasoning
        return message | {key: value for key, value in found.items() if key not in _READ and value is not None}


def joined(head: Head, kind: str, parts: list[bytes], tally: Tally) -> bytes:
    """Return the body of an answer from those of its calls, choices in order; `tally` is their sum."""
    answers = [orjson.loads(part) for part in parts]
    head.mark(answers[0])
    more = {key: value for key, value in answers[0].items() if key not in OURS}
    return head.body(kind, [choice for answer in answers for choice in answer["choices"]], more, tally)


def split(text: str) -> tuple[str, str]:
    """Return the thinking and the answer of a text with inline think tags (openai.md 3.5)."""
    splitter = ThinkSplitter()
    parts = [*splitter.feed(text), *splitter.flush()] if "<" in text else [(False, text)]
    return "".join(one for is_thinking, one in parts if is_thinking), "".join(
        one for is_thinking, one in parts if not is_thinking
    )
