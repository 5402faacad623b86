"""What is told of turns: metrics, and one log line when a turn has ended."""

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import structlog

from app.domain.ids import TenantId, TurnId
from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from app.domain.turns import TurnState
from app.telemetry.metrics import METRICS, Metrics

log = structlog.get_logger()

_begun_s: ContextVar[float] = ContextVar("turn_begun_s")  # both calls come from the turn's own task


class AskedModel(Protocol):
    """The model of a turn."""

    @property
    def name(self) -> str:
        """Its name without its provider."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it."""
        ...


class Asked(Protocol):
    """What is told of a question: the engine's `Ask`."""

    @property
    def tenant_id(self) -> TenantId:
        """Whose it is."""
        ...

    @property
    def model(self) -> AskedModel:
        """Who was to answer."""
        ...

    @property
    def recognition(self) -> Any:
        """Of which `request_id` is told."""
        ...


class Written(Protocol):
    """What is told of an answer: the engine's `Draft`."""

    calls: list[ModelCall]
    timings_ms: dict[str, float]
    piece_count: int

    @property
    def usage(self) -> Usage:
        """The sum over its calls."""
        ...


class TurnMetrics:
    """Observes turns (`app.engine.observer.TurnObserver`)."""

    def __init__(self, metrics: Metrics = METRICS) -> None:
        self._metrics = metrics

    def turn_began(self) -> None:
        """A turn is stored and its answer begins."""
        _begun_s.set(time.perf_counter())
        self._metrics.turns_running.inc()

    def turn_ended(self, turn_id: TurnId, ask: Asked, state: TurnState, draft: Written) -> None:
        """A turn has ended and is stored."""
        metrics = self._metrics
        metrics.turns_running.dec()
        metrics.turns.labels(state.value).inc()
        pieces = draft.piece_count
        metrics.pieces.inc(pieces)
        first_ms = draft.timings_ms.get("first_piece")
        if first_ms is not None:
            metrics.first_piece_seconds.observe(first_ms / 1000)
        seconds = time.perf_counter() - _begun_s.get(time.perf_counter())
        metrics.turn_seconds.observe(seconds)
        self._count_tokens(draft.calls)
        usage = draft.usage
        log.info(
            "turn_ended",
            turn=turn_id,
            tenant=ask.tenant_id,
            request_id=ask.recognition.request_id or None,
            state=state.value,
            model=f"{ask.model.name}@{ask.model.provider}",
            ms=round(seconds * 1000, 1),
            timings_ms=_rounded(draft.timings_ms),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            pieces=pieces,
        )

    def _count_tokens(self, calls: Sequence[ModelCall]) -> None:
        for call in calls:
            labels = (call.provider, call.model, call.kind)
            self._metrics.tokens.labels(*labels, "prompt").inc(call.usage.prompt_tokens)
            self._metrics.tokens.labels(*labels, "completion").inc(call.usage.completion_tokens)


def _rounded(timings_ms: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 1) for name, value in timings_ms.items()}
