"""What the service adds to the upstream: time to first token, token events per core, requests per second.

The upstream alone, the empty relay and the service take turns in short blocks of one run, in an order that changes from
round to round, so that a machine that drifts drifts for all of them.
"""

import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

import psutil

from bench import targets
from bench.figures import Goal, Report, median, quantile, ratio
from bench.generator import LoadGenerator, load_generator
from bench.jobs import Closed, LookUp, Outcome, Spread, Target
from bench.machine import Cores, file_system, machine
from bench.processes import Died, Parley, data_folder, how_it_ended, is_postgres, relay, serving, upstream
from bench.usage import CpuTimes, cpu_seconds, places

NAME = "overhead"
_WARM_PIECES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """So many streams at once, and how many are measured in each block."""

    parallel: int
    measured: int
    pieces: int = 64
    gap_ms: float = 20.0

    @property
    def stream_s(self) -> float:
        """How long a stream lasts, a little generously: then a few less than `parallel` are open, never more."""
        return self.pieces * self.gap_ms / 1000 + 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done."""

    rounds: int
    levels: tuple[Level, ...]
    full_speed_parallel: int = 16
    full_speed_pieces: tuple[int, ...] = (64, 512)
    full_speed_s: float = 4.0
    short_parallel: int = 16
    short_pieces: int = 4
    short_s: float = 4.0
    warm_s: float = 1.0


FULL = Plan(
    rounds=6,
    levels=(
        Level(parallel=1, measured=20, pieces=16),
        Level(parallel=32, measured=200),
        Level(parallel=200, measured=800),
    ),
)
SHORT = Plan(
    rounds=2,
    levels=(Level(parallel=1, measured=5, pieces=8), Level(parallel=32, measured=64, pieces=32)),
    full_speed_s=1.0,
    short_s=1.0,
    warm_s=0.3,
)
TINY = Plan(
    rounds=1,
    levels=(Level(parallel=1, measured=2, pieces=4, gap_ms=5), Level(parallel=4, measured=8, pieces=8, gap_ms=5)),
    full_speed_parallel=4,
    full_speed_pieces=(16,),
    full_speed_s=0.3,
    short_parallel=4,
    short_s=0.3,
    warm_s=0.1,
)

GOALS = (
    Goal(figure="added to first token, 32 streams, service p50", at_most=3, source="p50 3 ms at 32 streams"),
    Goal(figure="added to first token, 32 streams, service p99", at_most=15, source="p99 15 ms at 32 streams"),
    Goal(figure="added to first token, 200 streams, service p50", at_most=3, source="design.md 6, at 200 streams"),
    Goal(figure="added to first token, 200 streams, service p99", at_most=15, source="design.md 6, at 200 streams"),
    Goal(figure="token events, 64 a stream, service", at_least=10_000, source="design.md 6, per core"),
)


@dataclass(slots=True)
class Block:
    """One job against one target, with what it cost."""

    outcome: Outcome
    cpu: CpuTimes
    wall_s: float


@dataclass(slots=True)
class Stage:
    """Everything that runs, and what was learnt so far."""

    report: Report
    generator: LoadGenerator
    parley: Parley
    others: dict[str, list[subprocess.Popen[bytes]]]
    turns: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def cpu(self) -> CpuTimes:
        """Return what has been used so far."""
        family = self.parley.family()
        return CpuTimes(
            cpu_seconds(one for one in family if not is_postgres(one)),
            cpu_seconds(one for one in family if is_postgres(one)),
            cpu_seconds(psutil.Process(one.pid) for one in self.others["upstream and load"]),
            cpu_seconds(psutil.Process(one.pid) for one in self.others["relay"]),
        )

    def check_alive(self) -> None:
        """Return when everything still runs.

        Raises:
            Died: something does not.
        """
        ended = [how_it_ended(self.parley.process, self.parley.log)]
        ended += [how_it_ended(one) for own in self.others.values() for one in own]
        if any(ended):
            raise Died("\n".join(filter(None, ended)))

    def block(self, job: Spread | Closed, pieces: int) -> Block:
        """Run a job; wrong answers become problems of the report."""
        self.check_alive()
        before, begun = self.cpu(), perf_counter()
        outcome = self.generator.run(job)
        self.check_alive()
        block = Block(outcome, self.cpu().since(before), perf_counter() - begun)
        self.turns += [(turn_id, pieces) for turn_id in outcome.turn_ids]
        self.report.details["answers_checked"] = self.report.details.get("answers_checked", 0) + outcome.checked
        if outcome.failed:
            self.report.problems.append(
                f"{job.target.name}: {outcome.failed} of {outcome.checked} answers were bad: {outcome.failures}"
            )
        return block


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Measure, and return what was found."""
    report = Report(
        name=NAME,
        machine=machine(),
        settings=asdict(plan) | {"cores": asdict(cores)},
        goals=list(GOALS),
    )
    with ExitStack() as stack:
        upstream_port, upstream_process = stack.enter_context(upstream(cores.load))
        relay_port, relay_process = stack.enter_context(relay(cores.server, upstream_port))
        generator = stack.enter_context(load_generator(cores.load))
        folder = stack.enter_context(data_folder(data_parent))
        parley = Parley(folder=folder, upstream_port=upstream_port, core=cores.server, postgres_core=cores.postgres)
        stack.enter_context(serving(parley))
        chat_id = targets.make_chat(parley)
        others = {"upstream and load": [upstream_process, generator.process], "relay": [relay_process]}
        stage = Stage(report, generator, parley, others)
        report.settings["file_system"] = file_system(folder)

        def all_targets(pieces: int, gap_ms: float, *, is_stream: bool = True) -> list[Target]:
            return [
                targets.direct("upstream", upstream_port, pieces=pieces, gap_ms=gap_ms, is_stream=is_stream),
                targets.direct("relay", relay_port, pieces=pieces, gap_ms=gap_ms, is_stream=is_stream),
                targets.service(parley, chat_id, pieces=pieces, gap_ms=gap_ms, is_stream=is_stream),
                targets.session(parley, chat_id, pieces=pieces, gap_ms=gap_ms, is_stream=is_stream),
            ]

        _warm_up(stage, all_targets(_WARM_PIECES, 0), plan)
        if report.problems:
            report.details["service_said"] = parley.last_errors()
            return report
        for level in plan.levels:
            _first_token(stage, all_targets(level.pieces, level.gap_ms), level, plan.rounds)
        for pieces in plan.full_speed_pieces:
            _full_speed(stage, all_targets(pieces, 0), pieces, plan)
        _short(stage, all_targets(plan.short_pieces, 0, is_stream=False), plan)
        report.places = _places(stage)
        _read_back(stage)
        if report.problems:
            report.details["service_said"] = parley.last_errors()
    if report.settings["file_system"] == "tmpfs":
        report.notes.append("the data folder is on tmpfs: commits cost nothing there; use --data-dir on a disk")
    return report


def _warm_up(stage: Stage, chosen: Sequence[Target], plan: Plan) -> None:
    """Let connections open, caches fill and code specialise; nothing of it counts."""
    for target in chosen:
        job = Closed(target=target, parallel=plan.full_speed_parallel, warm_s=0, seconds=plan.warm_s)
        stage.block(job, _WARM_PIECES)
    stage.parley.pin_postgres()


def _alternate(
    chosen: Sequence[Target], rounds: int, measure: Callable[[Target, int], Block]
) -> dict[str, list[Block]]:
    """Measure every target once a round, each round in another order."""
    blocks: dict[str, list[Block]] = {target.name: [] for target in chosen}
    for number in range(rounds):
        turned = list(chosen[number % len(chosen) :]) + list(chosen[: number % len(chosen)])
        for target in turned if number % 2 == 0 else reversed(turned):
            blocks[target.name].append(measure(target, number))
    return blocks


def _first_token(stage: Stage, chosen: Sequence[Target], level: Level, rounds: int) -> None:
    def measure(target: Target, number: int) -> Block:
        job = Spread(
            target=target, parallel=level.parallel, measured=level.measured, stream_s=level.stream_s, seed=number
        )
        return stage.block(job, level.pieces)

    blocks = _alternate(chosen, rounds, measure)
    report, streams = stage.report, f"{level.parallel} streams" if level.parallel > 1 else "1 stream"
    for share, word in ((0.5, "p50"), (0.99, "p99")):
        of = partial(quantile, share=share)
        whole = {name: of(_ttft(own)) for name, own in blocks.items()}
        each = {name: [of(one.outcome.ttft_ms) for one in own] for name, own in blocks.items()}
        for name, own in blocks.items():
            figure, samples = f"first token, {streams}, {name} {word}", len(_ttft(own))
            report.add(figure, whole[name], "ms", per_run=each[name], samples=samples)
            if name == "upstream":
                continue
            added = [one - alone for one, alone in zip(each[name], each["upstream"], strict=True)]
            figure, value = f"added to {figure}", whole[name] - whole["upstream"]
            report.add(figure, value, "ms", per_run=added, samples=samples)
        for name in ("service", "session"):
            per_run = [ratio(*pair) for pair in zip(each[name], each["relay"], strict=True)]
            figure, value = f"first token, {streams}, {name} / relay {word}", ratio(whole[name], whole["relay"])
            report.add(figure, value, "×", per_run=per_run, is_ratio=True)
    for name, own in blocks.items():
        took_s = median([value for block in own for value in block.outcome.took_ms]) / 1000
        if took_s > 1.5 * level.stream_s:
            arrivals = f"{level.parallel / level.stream_s:.0f} begin a second"
            lasted = f"the middle one took {took_s:.1f} s instead of {level.stream_s:.1f}"
            report.notes.append(
                f"{name} could not keep up with {streams} ({arrivals}, {lasted}): its figures show a queue that grows"
            )
    _note_business(stage, blocks, f"first token, {streams}")


def _ttft(blocks: Sequence[Block]) -> list[float]:
    return [value for block in blocks for value in block.outcome.ttft_ms]


def _full_speed(stage: Stage, chosen: Sequence[Target], pieces: int, plan: Plan) -> None:
    def measure(target: Target, _: int) -> Block:
        job = Closed(target=target, parallel=plan.full_speed_parallel, warm_s=plan.warm_s, seconds=plan.full_speed_s)
        return stage.block(job, pieces)

    blocks = _alternate(chosen, plan.rounds, measure)
    report, what = stage.report, f"token events, {pieces} a stream"
    rates = {name: [one.outcome.content_events / one.outcome.seconds for one in own] for name, own in blocks.items()}
    counts = {name: sum(one.outcome.content_events for one in own) for name, own in blocks.items()}
    for name, own in rates.items():
        report.add(f"{what}, {name}", median(own), "events/s", per_run=own, samples=counts[name])
    # Processor time covers the warming part of each block as well, events do not.
    measured = plan.full_speed_s / (plan.full_speed_s + plan.warm_s)
    for name in ("service", "session"):
        server_s = sum(one.cpu.server_s for one in blocks[name]) * measured
        both_s = sum(one.cpu.postgres_s for one in blocks[name]) * measured + server_s
        per_second, runs = f"{what} per processor second, {name}", len(blocks[name])
        for figure, seconds in ((per_second, server_s), (f"{per_second} and Postgres", both_s)):
            report.add(figure, ratio(counts[name], seconds), "events/s", runs=runs, samples=counts[name])
        for other in ("relay", "upstream"):
            per_run = [ratio(*pair) for pair in zip(rates[name], rates[other], strict=True)]
            value = ratio(median(rates[name]), median(rates[other]))
            report.add(f"{what}, {name} / {other}", value, "×", per_run=per_run, is_ratio=True)
    _note_business(stage, blocks, what)


def _short(stage: Stage, chosen: Sequence[Target], plan: Plan) -> None:
    def measure(target: Target, _: int) -> Block:
        job = Closed(target=target, parallel=plan.short_parallel, warm_s=plan.warm_s, seconds=plan.short_s)
        return stage.block(job, plan.short_pieces)

    blocks = _alternate(chosen, plan.rounds, measure)
    rates = {name: [one.outcome.requests / one.outcome.seconds for one in own] for name, own in blocks.items()}
    for name, own in blocks.items():
        requests = sum(one.outcome.requests for one in own)
        stage.report.add(
            f"short answers, {name}", median(rates[name]), "requests/s", per_run=rates[name], samples=requests
        )
    for name in ("service", "session"):
        per_run = [ratio(*pair) for pair in zip(rates[name], rates["relay"], strict=True)]
        value = ratio(median(rates[name]), median(rates["relay"]))
        stage.report.add(f"short answers, {name} / relay", value, "×", per_run=per_run, is_ratio=True)
    _note_business(stage, blocks, "short answers")


def _note_business(stage: Stage, blocks: dict[str, list[Block]], what: str) -> None:
    """Keep how busy each group of processes was: a figure is the service's only while the harness has room."""
    told: dict[str, dict[str, float]] = {}
    for name, own in blocks.items():
        wall_s = sum(one.wall_s for one in own)
        told[name] = {
            group.removesuffix("_s"): round(sum(getattr(one.cpu, group) for one in own) / wall_s, 3)
            for group in ("server_s", "postgres_s", "upstream_and_load_s", "relay_s")
        }
        told[name]["latest_ms"] = round(max(one.outcome.late_ms for one in own), 2)
    stage.report.details.setdefault("cores_busy", {})[what] = told


def _places(stage: Stage) -> list[dict[str, object]]:
    found = [(group, psutil.Process(one.pid)) for group, own in stage.others.items() for one in own]
    found += [("Postgres" if is_postgres(process) else "service", process) for process in stage.parley.family()]
    return places(found)


def _read_back(stage: Stage) -> None:
    """Kill the service, start it again, and ask it for every turn: what was acknowledged must be there, and done."""
    stage.parley.stop(signal.SIGKILL)
    stage.parley.start()
    outcome = stage.generator.run(LookUp(port=stage.parley.port, key=stage.parley.key, turns=stage.turns))
    stage.report.details["turns_read_back_after_kill"] = outcome.checked
    stage.report.details["turns_not_done"] = outcome.failed
    stage.report.notes.append(
        f"{outcome.checked - outcome.failed} of {outcome.checked} turns were stored, done and fully counted when read"
        " back after a kill -9 and a new start"
    )
    if outcome.failed or not outcome.checked:
        stage.report.problems.append(f"{outcome.failed} turns not done after the restart: {outcome.failures}")
