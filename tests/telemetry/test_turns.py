"""A turn is counted and told of once, when it has ended."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from app.domain.ids import TenantId, TurnId
from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from app.domain.turns import TurnState
from app.telemetry.metrics import Metrics
from app.telemetry.turns import TurnMetrics
from tests.logs import plain_logs

ACME = TenantId("acme")


@dataclass(frozen=True)
class Model:
    name: str = "m"
    provider: str = "p"


@dataclass(frozen=True)
class Question:
    tenant_id: TenantId = ACME
    model: Model = Model()
    recognition: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(request_id="req_1"))


@dataclass
class Answer:
    calls: list[ModelCall]
    timings_ms: dict[str, float]
    piece_count: int = 7

    @property
    def usage(self) -> Usage:
        return sum((call.usage for call in self.calls), Usage())


def test_an_ended_turn_is_counted_and_told_of_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_logs()  # a command tested in this process may have set its own level,
    monkeypatch.setattr("app.telemetry.turns.log", structlog.get_logger())  # and have had its logger made for good
    metrics = Metrics()
    call = ModelCall(
        kind="chat",
        purpose="answer",
        model="m",
        provider="p",
        usage=Usage(prompt_tokens=5, completion_tokens=3),
        duration_ms=9,
    )
    observer = TurnMetrics(metrics)
    observer.turn_began()
    assert _value(metrics, "parley_turns_running") == 1
    with capture_logs() as lines:
        observer.turn_ended(TurnId("t"), Question(), TurnState.STOPPED, Answer([call], {"first_piece": 250.04}))
    assert _value(metrics, "parley_turns_running") == 0
    assert _value(metrics, "parley_turns_total", state="stopped") == 1
    assert _value(metrics, "parley_pieces_total") == 7
    assert _value(metrics, "parley_turn_first_piece_seconds_sum") == 0.25004
    tokens = {"provider": "p", "model": "m", "kind": "chat"}
    assert _value(metrics, "parley_tokens_total", **tokens, direction="prompt") == 5
    assert _value(metrics, "parley_tokens_total", **tokens, direction="completion") == 3
    (line,) = lines
    assert line.pop("ms") >= 0
    assert line == {
        "event": "turn_ended",
        "log_level": "info",
        "turn": "t",
        "tenant": "acme",
        "request_id": "req_1",
        "state": "stopped",
        "model": "m@p",
        "timings_ms": {"first_piece": 250.0},
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "pieces": 7,
    }


def test_a_turn_without_a_piece_says_nothing_of_its_first() -> None:
    metrics = Metrics()
    observer = TurnMetrics(metrics)
    observer.turn_began()
    observer.turn_ended(TurnId("t"), Question(), TurnState.FAILED, Answer([], {}, 0))
    assert _value(metrics, "parley_turns_total", state="failed") == 1
    assert _value(metrics, "parley_turn_first_piece_seconds_count") == 0


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)
