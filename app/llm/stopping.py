"""Stop sequences kept here, for providers that do not keep them (openai.md 3.1, CC-07)."""

from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 256
"""Longer sequences are the provider's business: to look for them in every piece would cost too much."""

Tokens = Sequence[dict[str, Any]]


class StopGuard:
    """Ends a text, which comes in pieces cut anywhere, before the first stop sequence in it.

    The sequence that is whole first counts, as where it is generated. What may be the beginning of one is held back.
    A piece's tokens (`logprobs`) are given out with their text.
    """

    __slots__ = ("_bytes", "_held", "_stops", "_tokens", "is_stopped")

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if 0 < len(stop) <= _LONGEST)
        self._held = ""
        self._tokens: list[dict[str, Any]] = []
        self._bytes = 0  # of text given out whose tokens were not
        self.is_stopped = False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to watch for."""
        return not self._stops

    def feed(self, text: str, tokens: Tokens = ()) -> tuple[str, Tokens]:
        """Return what can be shown now, with its tokens; nothing once the text has ended."""
        if not self._stops:
            return text, tokens
        if self.is_stopped:
            return "", ()
        text = self._held + text
        self._tokens += tokens
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.is_stopped = True
            self._held = ""
            return self._shown(text[: min(ends)[1]])
        held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return self._shown(text[: len(text) - held])

    def flush(self) -> tuple[str, Tokens]:
        """Return what was held back; call once, at the end."""
        text, tokens = self._held, tuple(self._tokens)
        self._held, self._tokens = "", []
        return ("", ()) if self.is_stopped else (text, tokens)

    def _shown(self, text: str) -> tuple[str, Tokens]:
        if not (text and self._tokens):
            return text, ()
        self._bytes += len(text.encode("utf-8", "replace"))
        count = 0
        for token in self._tokens:
            size = _size(token)
            if size > self._bytes:
                break
            self._bytes -= size
            count += 1
        shown, self._tokens = tuple(self._tokens[:count]), self._tokens[count:]
        return text, shown


def stops_of(stop: Any) -> tuple[str, ...]:
    """Return the stop sequences of a checked parameter: a text, a list of texts, or nothing."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop` without being it."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-n:])), 0)


def _size(token: dict[str, Any]) -> int:
    """Return the bytes of a token: those it tells, else those of its text."""
    told = token.get("bytes")
    return len(told) if isinstance(told, list) else len(str(token.get("token") or "").encode("utf-8", "replace"))
