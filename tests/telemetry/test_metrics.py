"""Metrics measure what they say, and those of several processes are told as one."""

import time
from pathlib import Path

import anyio
import anyio.lowlevel

from app.telemetry.gathering import Gathering, merged
from app.telemetry.metrics import Metrics


async def test_a_blocked_event_loop_shows() -> None:
    metrics = Metrics()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(metrics.measure_lag)
        await anyio.lowlevel.checkpoint()
        time.sleep(0.7)  # noqa: ASYNC251  what is to be measured
        with anyio.fail_after(5):
            while not metrics.registry.get_sample_value("parley_event_loop_lag_seconds_count"):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    lag = metrics.registry.get_sample_value("parley_event_loop_lag_seconds_sum")
    assert lag is not None
    assert 0.1 < lag < 2


def test_a_call_to_a_provider_is_counted_with_its_outcome() -> None:
    metrics = Metrics()
    metrics.attempted("p", "m", "timeout", 2.0)
    labels = {"provider": "p", "model": "m"}
    assert metrics.registry.get_sample_value("parley_upstream_attempts_total", {**labels, "outcome": "timeout"}) == 1
    assert metrics.registry.get_sample_value("parley_upstream_seconds_sum", labels) == 2


def test_texts_are_joined_family_by_family() -> None:
    one = '# HELP a_total A.\n# TYPE a_total counter\na_total{x="1"} 1.0\n# HELP b B.\n# TYPE b gauge\nb 2.0\n'
    two = '# HELP a_total A.\n# TYPE a_total counter\na_total{x="1"} 3.0\n# HELP b B.\n# TYPE b gauge\nb 4.0\n'
    assert merged({"1": two, "0": one}) == (
        "# HELP a_total A.\n# TYPE a_total counter\n"
        'a_total{process="0",x="1"} 1.0\na_total{process="1",x="1"} 3.0\n'
        '# HELP b B.\n# TYPE b gauge\nb{process="0"} 2.0\nb{process="1"} 4.0\n'
    )


async def test_whoever_is_asked_gathers_what_the_others_count(tmp_path: Path) -> None:
    refreshed: list[int] = []
    told = ""
    async with anyio.create_task_group() as tasks:
        for number in (0, 1):
            metrics = Metrics()
            metrics.pieces.inc(number + 1)

            async def refresh(number: int = number) -> None:
                refreshed.append(number)

            tasks.start_soon(Gathering(tmp_path, number, metrics).run, refresh)
        with anyio.fail_after(5):
            while 'process="1"' not in told or 'process="0"' not in told:
                told = (await Gathering(tmp_path, 0).text()).decode()
        tasks.cancel_scope.cancel()
    assert 'parley_pieces_total{process="0"} 1.0' in told
    assert 'parley_pieces_total{process="1"} 2.0' in told
    assert {0, 1} == set(refreshed)


async def test_a_process_that_is_gone_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "7").touch()
    assert await Gathering(tmp_path, 0).text() == b""
