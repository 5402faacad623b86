"""Figures, goals and reports: what a run hands over, as a table and as JSON."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number. `samples`: what it was taken from; `runs`: how many separate blocks or starts those came in."""

    name: str
    value: float
    unit: str
    runs: int
    samples: int
    spread: tuple[float, float] | None = None  # least and most over the runs
    is_ratio: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure is held to."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None
    source: str

    def is_met(self, value: float) -> bool:
        """Whether `value` is good enough; a number that is none never is."""
        if not math.isfinite(value):
            return False
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(slots=True, kw_only=True)
class Report:
    """All that one run found. `problems` make a run worthless: wrong answers, lost turns."""

    name: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    figures: list[Figure] = field(default_factory=list[Figure])
    goals: list[Goal] = field(default_factory=list[Goal])
    places: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    notes: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        per_run: Sequence[float] = (),
        runs: int = 1,
        samples: int | None = None,
        is_ratio: bool = False,
    ) -> None:
        """Add a figure; `per_run` has the same figure of each run by itself, and so says how many there were."""
        finite = [one for one in per_run if math.isfinite(one)]
        spread = (min(finite), max(finite)) if len(finite) > 1 else None
        runs = len(per_run) or runs
        taken = samples if samples is not None else runs
        self.figures.append(
            Figure(name=name, value=value, unit=unit, runs=runs, samples=taken, spread=spread, is_ratio=is_ratio)
        )

    def verdicts(self) -> list[dict[str, Any]]:
        """Return each goal with the figure it is about and whether that meets it."""
        known = {figure.name: figure.value for figure in self.figures}
        return [
            asdict(goal) | {"value": known[goal.figure], "is_met": goal.is_met(known[goal.figure])}
            for goal in self.goals
            if goal.figure in known
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        told = asdict(self)
        told["goals"] = self.verdicts()
        return told

    def write(self, folder: Path = RESULTS) -> Path:
        """Write `<folder>/<name>.json` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_bytes(orjson.dumps(self.as_json(), option=orjson.OPT_INDENT_2))
        return path

    def show(self, console: Console) -> None:
        """Print ratios first, then the figures they come from, then where things ran, then the goals."""
        for title, is_ratio in (("ratios", True), ("figures", False)):
            chosen = [figure for figure in self.figures if figure.is_ratio is is_ratio]
            if chosen:
                console.print(_figure_table(f"{self.name}: {title}", chosen))
        if self.places:
            console.print(_place_table(self.places))
        for note in self.notes:
            console.print(f"note: {note}", markup=False, highlight=False)
        for verdict in self.verdicts():
            console.print(_verdict_line(verdict), markup=False, highlight=False)
        for problem in self.problems:
            console.print(f"PROBLEM: {problem}", style="bold red", markup=False, highlight=False)


def _figure_table(title: str, figures: Sequence[Figure]) -> Table:
    table = Table("figure", title=title, title_justify="left")
    for heading, side in (("value", "right"), ("unit", "left"), ("least to most", "right")):
        table.add_column(heading, justify=_side(side))
    for heading in ("runs", "samples"):
        table.add_column(heading, justify="right")
    for one in figures:
        spread = f"{shown(one.spread[0])} to {shown(one.spread[1])}" if one.spread is not None else ""
        table.add_row(one.name, shown(one.value), one.unit, spread, str(one.runs), str(one.samples))
    return table


def _place_table(places: Sequence[dict[str, Any]]) -> Table:
    table = Table(*places[0], title="where it ran", title_justify="left")
    for place in places:
        table.add_row(*(shown(value) if isinstance(value, float) else str(value) for value in place.values()))
    return table


def _side(side: str) -> Literal["left", "right"]:
    return "right" if side == "right" else "left"


def _verdict_line(verdict: dict[str, Any]) -> str:
    limit = f"≤ {verdict['at_most']:g}" if verdict["at_most"] is not None else f"≥ {verdict['at_least']:g}"
    word = "met   " if verdict["is_met"] else "MISSED"
    return f"goal {word} {verdict['figure']}: {shown(verdict['value'])} (goal {limit}, {verdict['source']})"


def shown(value: float) -> str:
    """Return a number with three digits that matter."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of `values` lie (nearest rank); NaN when there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def median(values: Sequence[float]) -> float:
    """Return the median; NaN when there are no values."""
    return statistics.median(values) if values else math.nan


def ratio(value: float, of: float) -> float:
    """Return `value / of`; NaN where that is none."""
    return value / of if of and math.isfinite(of) else math.nan
