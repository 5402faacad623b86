"""One assistant as an OpenAI endpoint, as RAGFlow 0.22 answers where the default dialect does otherwise (5.1)."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import orjson

from app.domain.events import Done, Failed, Numbered, Stopped, TextPiece
from app.domain.models import FinishReason
from app.wire.compat22 import without_aliases

_ERROR = "**ERROR**: "
_DATA, _END = b"data: ", b"\n\n"


class _Writer(Protocol):
    def write(self, events: list[Numbered]) -> bytes: ...


class OpenAIChatStream22:
    """The bytes of the default dialect; but a failure is a piece of the answer, and the answer ends as any other."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer

    def write(self, events: Iterable[Numbered]) -> bytes:
        """Return the bytes of `events`."""
        return b"".join(self._one(each) for each in events)

    def _one(self, each: Numbered) -> bytes:
        number, event = each
        if isinstance(event, Failed):
            return self._writer.write([(number, TextPiece(_ERROR + event.message)), (number, spoken(event))])
        written = self._writer.write([each])
        return _rewritten(written) if isinstance(event, Done | Stopped) else written


def spoken(event: Failed) -> Done:
    """Return the ending of an answer whose model failed: to 0.22 it says so, and is whole."""
    return Done(
        content=_ERROR + event.message,
        cited=event.cited,
        usage=event.usage,
        ended_s=event.ended_s,
        finish_reason=FinishReason.STOP,
    )


def thinking_inline(content: str, reasoning: str) -> str:
    """Return an answer with its thinking in tags, where 0.22 leaves it."""
    return f"<think>{reasoning}</think>{content}" if reasoning else content


def _rewritten(written: bytes) -> bytes:
    """Return events whose chunks lack the names that only the seeds have for them."""
    shape: Callable[[bytes], bytes] = lambda one: _DATA + orjson.dumps(without_aliases(orjson.loads(one))) + _END  # noqa: E731
    events: list[Any] = [one.removeprefix(_DATA) for one in written.split(_END) if one]
    return b"".join(shape(one) if one.startswith(b"{") else _DATA + one + _END for one in events)
