"""What the load generator is asked for, and what it tells: one JSON line each way."""

from typing import Literal

import msgspec

Dialect = Literal["openai", "native"]


class Target(msgspec.Struct, kw_only=True, frozen=True):
    """Where requests go and what they say. `expected` is the text that every answer must have."""

    name: str
    port: int
    path: str
    dialect: Dialect
    body: str
    expected: str
    key: str = ""
    is_stream: bool = True


class Spread(msgspec.Struct, kw_only=True, frozen=True, tag="spread"):
    """Open loop: a stream begins every `stream_s / parallel` seconds, jittered, whether or not earlier ones ended.

    The first `parallel` streams fill the place and are checked, but not measured.
    """

    target: Target
    parallel: int
    measured: int
    stream_s: float
    seed: int


class Closed(msgspec.Struct, kw_only=True, frozen=True, tag="closed"):
    """Closed loop: `parallel` callers, each asking again when answered; only what comes after `warm_s` counts."""

    target: Target
    parallel: int
    warm_s: float
    seconds: float


class Hold(msgspec.Struct, kw_only=True, frozen=True, tag="hold"):
    """Open `parallel` streams and keep them, until `Release`; done when each has sent its first piece."""

    target: Target
    parallel: int


class Release(msgspec.Struct, frozen=True, tag="release"):
    """Hang up on all held streams."""


class LookUp(msgspec.Struct, kw_only=True, frozen=True, tag="look_up"):
    """Read turns back and check that each is `done` and counts `completion_tokens`."""

    port: int
    key: str
    turns: list[tuple[str, int]]
    parallel: int = 8


Job = Spread | Closed | Hold | Release | LookUp


class Outcome(msgspec.Struct, kw_only=True):
    """What a job saw. Times in milliseconds; `failures` has the first few different ones of `failed`."""

    ttft_ms: list[float] = []
    took_ms: list[float] = []
    late_ms: float = 0.0  # the latest a request left behind its schedule
    requests: int = 0  # answered within the window
    content_events: int = 0  # events with text, within the window
    seconds: float = 0.0  # the window
    checked: int = 0  # answers compared with what was expected, word by word
    failed: int = 0
    failures: list[str] = []
    turn_ids: list[str] = []

    def fail(self, reason: str) -> None:
        """Note an answer that is not what it should be."""
        self.failed += 1
        if len(self.failures) < 3 and reason[:300] not in self.failures:
            self.failures.append(reason[:300])
