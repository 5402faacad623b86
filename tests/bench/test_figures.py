import math
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from bench.figures import Goal, Report, median, quantile, ratio, shown


def a_report() -> Report:
    report = Report(name="sample", machine={}, settings={})
    report.add("speed", 5.0, "ms", per_run=[4.0, 6.0, math.nan], samples=30)
    report.add("share", 0.5, "×", is_ratio=True)
    report.goals = [Goal(figure="speed", at_most=3, source="a page"), Goal(figure="share", at_least=0.5, source="b")]
    return report


def test_a_goal_is_met_or_missed_and_never_by_a_number_that_is_none() -> None:
    assert [(verdict["figure"], verdict["is_met"]) for verdict in a_report().verdicts()] == [
        ("speed", False),
        ("share", True),
    ]
    assert not Goal(figure="speed", at_most=3, source="").is_met(math.nan)


def test_a_goal_without_its_figure_is_left_out() -> None:
    report = a_report()
    report.goals.append(Goal(figure="another", at_most=1, source=""))

    assert len(report.verdicts()) == 2


def test_a_report_is_written_and_shown(tmp_path: Path) -> None:
    said = StringIO()
    report = a_report()
    report.problems.append("it broke")

    told = orjson.loads(report.write(tmp_path / "results").read_bytes())
    report.show(Console(file=said, width=100))

    assert told["figures"][0] == {
        "name": "speed", "value": 5.0, "unit": "ms", "runs": 3, "samples": 30, "spread": [4.0, 6.0], "is_ratio": False
    }  # fmt: skip
    assert "goal MISSED speed: 5 (goal ≤ 3, a page)" in said.getvalue()
    assert "PROBLEM: it broke" in said.getvalue()


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: float) -> None:
    assert quantile(list(range(100, 0, -1)), share) == value


def test_nothing_measured_gives_no_number() -> None:
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(median([]))
    assert math.isnan(ratio(1, 0))
    assert shown(math.nan) == "–"


@pytest.mark.parametrize(("value", "text"), [(12345.6, "12,346"), (12.345, "12.3"), (1.5, "1.5"), (0.04567, "0.046")])
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert shown(value) == text
