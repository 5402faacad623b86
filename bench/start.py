"""How long it takes from the command to the first 200 of `/readyz`: on nothing, on what is there, after a kill."""

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench.figures import Goal, Report, median
from bench.machine import Cores, machine
from bench.processes import Parley, data_folder

NAME = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often each is done."""

    runs: int


FULL = Plan(runs=5)
SHORT = Plan(runs=2)
TINY = Plan(runs=1)

GOALS = (
    Goal(figure="warm start", at_most=5, source="operations.md 1: second start under 5 s"),
    Goal(figure="warm start", at_most=2, source="design.md 6: ready in 2 s"),
)


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Measure, and return what was found. Nothing is pinned: a start may use what the machine has."""
    del cores
    report = Report(name=NAME, machine=machine(), settings=asdict(plan), goals=list(GOALS))
    report.notes.append("default settings: own Postgres, embedded models (loaded when first used)")
    seen: dict[str, list[float]] = {"cold start": [], "stop": [], "warm start": [], "start after kill -9": []}
    for _ in range(plan.runs):
        with data_folder(data_parent) as folder:
            _one(Parley(folder=folder), lambda what, seconds: seen[what].append(seconds))
    for what, seconds in seen.items():
        report.add(what, median(seconds), "s", per_run=seconds)
    report.details["seconds"] = seen
    return report


def _one(parley: Parley, note: Callable[[str, float], None]) -> None:
    try:
        note("cold start", parley.start())
        note("stop", parley.stop())
        note("warm start", parley.start())
        parley.stop(signal.SIGKILL)
        note("start after kill -9", parley.start())
    finally:
        with suppress(AssertionError, psutil.NoSuchProcess):
            parley.stop()
