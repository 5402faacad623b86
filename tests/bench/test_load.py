import json
from collections.abc import Iterator

import pytest

from bench.generator import LoadGenerator, load_generator
from bench.jobs import Closed, Hold, LookUp, Release, Spread, Target
from bench.processes import free_port, upstream
from bench.targets import direct, expected_text


@pytest.fixture(scope="module")
def upstream_port() -> Iterator[int]:
    with upstream(None) as (port, _):
        yield port


@pytest.fixture(scope="module")
def generator() -> Iterator[LoadGenerator]:
    with load_generator(None) as running:
        yield running


def scripted(port: int, **directive: object) -> Target:
    """Ask for an answer that the generator takes to be five plain words."""
    message = {"role": "user", "content": f"@@{json.dumps({'pieces': 5, **directive})}"}
    body = json.dumps({"model": "scripted", "stream": True, "messages": [message]})
    return Target(
        name="t", port=port, path="/v1/chat/completions", dialect="openai", body=body, expected=expected_text(5)
    )


def test_spread_streams_are_all_measured_after_the_first_few(generator: LoadGenerator, upstream_port: int) -> None:
    target = direct("upstream", upstream_port, pieces=4, gap_ms=5)

    outcome = generator.run(Spread(target=target, parallel=4, measured=6, stream_s=0.05, seed=1))

    assert (outcome.checked, outcome.failed) == (10, 0), outcome.failures
    assert (outcome.requests, len(outcome.ttft_ms), outcome.content_events) == (6, 6, 24)
    assert all(took >= ttft + 10 for ttft, took in zip(outcome.ttft_ms, outcome.took_ms, strict=True))


def test_the_first_token_is_the_first_piece_and_not_the_head(generator: LoadGenerator, upstream_port: int) -> None:
    outcome = generator.run(
        Spread(target=scripted(upstream_port, first_ms=80), parallel=1, measured=3, stream_s=0.15, seed=1)
    )

    assert min(outcome.ttft_ms) >= 79


def test_a_closed_loop_counts_what_came_within_the_window(generator: LoadGenerator, upstream_port: int) -> None:
    target = direct("upstream", upstream_port, pieces=10, gap_ms=0)

    outcome = generator.run(Closed(target=target, parallel=2, warm_s=0.1, seconds=0.3))

    assert outcome.failed == 0, outcome.failures
    assert 0 < outcome.requests < outcome.checked
    assert abs(outcome.content_events - 10 * outcome.requests) <= 2 * 10


@pytest.mark.parametrize(
    "directive",
    [{"cut_after": 2}, {"end_after": 2}, {"no_done": True}, {"error_after": 3}, {"status": 503}, {"text": "x"}],
)
def test_bad_answers_are_found(generator: LoadGenerator, upstream_port: int, directive: dict[str, object]) -> None:
    job = Spread(target=scripted(upstream_port, **directive), parallel=1, measured=2, stream_s=0.05, seed=1)

    outcome = generator.run(job)

    assert (outcome.checked, outcome.failed, outcome.requests) == (3, 3, 0)


def test_held_streams_stay_open_until_released(generator: LoadGenerator, upstream_port: int) -> None:
    target = direct("upstream", upstream_port, pieces=1000, gap_ms=100)

    held, released = generator.run(Hold(target=target, parallel=5)), generator.run(Release())

    assert (held.requests, held.failed, released.requests) == (5, 0, 5)


def test_turns_that_cannot_be_read_back_are_told(generator: LoadGenerator, upstream_port: int) -> None:
    outcome = generator.run(LookUp(port=upstream_port, key="none", turns=[("a", 1), ("b", 1)]))

    assert (outcome.checked, outcome.failed) == (2, 2)


def test_a_port_where_nobody_listens_is_told(generator: LoadGenerator) -> None:
    outcome = generator.run(Hold(target=scripted(free_port()), parallel=1))

    assert outcome.failed == 1
    assert "refused" in outcome.failures[0]


def test_a_generator_that_dies_is_told() -> None:
    with load_generator(None) as running:
        running.process.kill()
        running.process.wait(5)
        with pytest.raises(RuntimeError, match="died"):
            running.run(Release())
