"""The metrics of one process (operations.md 4). Nothing is counted per piece: a turn adds its pieces at its end."""

import asyncio

import anyio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each one, for what Prometheus can tell by itself

_LAG_EVERY_S = 0.5
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Metrics:
    """What a process counts; `METRICS` is the one of this process, tests make their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(namespace="parley", registry=registry)
        self.requests = Counter(
            "parley_http_requests",
            "Requests answered, by route template and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "parley_http_request_seconds",
            "Time from a request to the head of its answer.",
            ("route",),
            buckets=_QUICK,
            registry=registry,
        )
        self.streams_open = Gauge("parley_streams_open", "Event streams that are being written now.", registry=registry)
        self.turns = Counter("parley_turns", "Turns that ended, by state.", ("state",), registry=registry)
        for state in ("done", "stopped", "failed"):
            self.turns.labels(state)
        self.turns_running = Gauge("parley_turns_running", "Turns this process drives now.", registry=registry)
        self.turn_seconds = Histogram("parley_turn_seconds", "How long turns took.", buckets=_SLOW, registry=registry)
        self.first_piece_seconds = Histogram(
            "parley_turn_first_piece_seconds",
            "Time to first token: from the question being stored to the first piece of its answer.",
            buckets=(*_QUICK, 20, 40, 60),
            registry=registry,
        )
        self.pieces = Counter("parley_pieces", "Pieces of text and reasoning in ended turns.", registry=registry)
        self.tokens = Counter(
            "parley_tokens",
            "Tokens of ended turns by model; direction is prompt or completion.",
            ("provider", "model", "kind", "direction"),
            registry=registry,
        )
        self.attempts = Counter(
            "parley_upstream_attempts",
            "Calls to model providers; every outcome but ok and closed is a failure.",
            ("provider", "model", "outcome"),
            registry=registry,
        )
        self.attempt_seconds = Histogram(
            "parley_upstream_seconds",
            "How long calls to model providers took.",
            ("provider", "model"),
            buckets=_SLOW,
            registry=registry,
        )
        self.followers = Gauge("parley_followers", "Calls that follow a turn of this process.", registry=registry)
        self.pool_in_use = Gauge(
            "parley_database_connections_in_use", "Pooled connections in use by this process.", registry=registry
        )
        self.queue_depth = Gauge(
            "parley_queue_jobs", "Background jobs of all tenants, by state.", ("state",), registry=registry
        )
        self.queue_age = Gauge("parley_queue_oldest_seconds", "Age of the job that waits longest.", registry=registry)
        self.loop_lag = Histogram(
            "parley_event_loop_lag_seconds",
            "How late the event loop runs what is due, measured twice a second.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=registry,
        )

    def attempted(self, provider: str, model: str, outcome: str, seconds: float) -> None:
        """Count one call to a model provider; an `AttemptObserver`."""
        self.attempts.labels(provider, model, outcome).inc()
        self.attempt_seconds.labels(provider, model).observe(seconds)

    async def measure_lag(self) -> None:
        """Measure the event loop until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_EVERY_S
            await anyio.sleep(_LAG_EVERY_S)
            self.loop_lag.observe(max(0.0, loop.time() - due))

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)


METRICS = Metrics()
