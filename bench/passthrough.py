"""What the relay of a raw model adds to its provider: time to first token, token events per second and per core.

In one run and in turns: the scripted upstream alone, a raw model of the service, an assistant without datasets, and, if
`PARLEY_BENCH_LITELLM` names its program, the LiteLLM proxy, which relays the same upstream on the same core.
"""

import json
import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import psutil

from bench import targets
from bench.figures import Goal, Report, median, quantile, ratio
from bench.generator import LoadGenerator, load_generator
from bench.jobs import Closed, Outcome, Spread, Target
from bench.machine import Cores, machine
from bench.processes import Parley, data_folder, end, free_port, is_postgres, pin, serving, upstream, wait_until_up
from bench.usage import cpu_seconds

NAME = "passthrough"
LITELLM = "PARLEY_BENCH_LITELLM"
"""The variable that names the program `litellm` of an environment of its own."""

_LITELLM_KEY = "sk-bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`streams` at once, each of `pieces` every `gap_ms`; `measured` of them a block, and `full_s` at full speed."""

    rounds: int
    streams: tuple[int, ...]
    measured: int
    pieces: int
    gap_ms: float
    full_pieces: int
    full_s: float
    warm_s: float


FULL = Plan(rounds=6, streams=(1, 32, 200), measured=400, pieces=64, gap_ms=20, full_pieces=256, full_s=4, warm_s=1)
SHORT = Plan(rounds=2, streams=(1, 32), measured=64, pieces=32, gap_ms=20, full_pieces=256, full_s=1, warm_s=0.3)
TINY = Plan(rounds=1, streams=(1, 4), measured=4, pieces=8, gap_ms=5, full_pieces=16, full_s=0.3, warm_s=0.1)

GOALS = (
    Goal(figure="added to first token, 32 streams, raw p50", at_most=3, source="issue 4: next to nothing"),
    Goal(figure="added to first token, 200 streams, raw p50", at_most=3, source="issue 4: next to nothing"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One job against one target, and the processor seconds that its own processes used."""

    outcome: Outcome
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Somebody who is asked; `root` is the process whose family serves."""

    name: str
    root: int
    port: int
    path: str = targets.COMPLETIONS
    model: str = "scripted"
    key: str = ""

    def target(self, pieces: int, gap_ms: float) -> Target:
        """Return the question for this one."""
        asked = json.dumps({"pieces": pieces, "gap_ms": gap_ms})
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"How do I true a wheel? @@{asked}"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return Target(
            name=self.name,
            port=self.port,
            path=self.path,
            dialect="openai",
            body=json.dumps(body),
            expected=targets.expected_text(pieces),
            key=self.key,
        )

    def cpu_s(self) -> float:
        """Return the processor seconds used so far, Postgres not among them."""
        root = psutil.Process(self.root)
        family = [root, *root.children(recursive=True)]
        return cpu_seconds(one for one in family if not is_postgres(one))


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Measure, and return what was found."""
    report = Report(name=NAME, machine=machine(), settings=asdict(plan) | {"cores": asdict(cores)}, goals=list(GOALS))
    with ExitStack() as stack:
        port, process = stack.enter_context(upstream(cores.load))
        generator = stack.enter_context(load_generator(cores.load))
        folder = stack.enter_context(data_folder(data_parent))
        parley = Parley(folder=folder, upstream_port=port, core=cores.server, postgres_core=cores.postgres)
        stack.enter_context(serving(parley))
        contenders = [Contender(name="upstream", root=process.pid, port=port), *_of_parley(parley)]
        if program := os.environ.get(LITELLM):
            contenders.append(stack.enter_context(_litellm(program, folder, cores.server, port)))
        else:
            report.notes.append(f"LiteLLM was not measured: {LITELLM} names no program")
        for contender in contenders:  # warm: connections open, code specialises
            _measure(report, generator, contender, contender.target(plan.pieces, 0), plan, parallel=4)
        if report.problems:
            report.details["service_said"] = parley.last_errors()
            return report
        for parallel in plan.streams:
            _first_token(report, generator, contenders, plan, parallel)
        _full_speed(report, generator, contenders, plan)
    return report


def _of_parley(parley: Parley) -> list[Contender]:
    assert parley.process is not None
    chat_id = targets.make_chat(parley)
    root, port, key = parley.process.pid, parley.port, parley.key
    return [
        Contender(name="raw", root=root, port=port, key=key),
        Contender(name="assistant", root=root, port=port, key=key, model=chat_id),
    ]


@contextmanager
def _litellm(program: str, folder: Path, core: int | None, upstream_port: int) -> Generator[Contender, None, None]:
    """Run the LiteLLM proxy with one worker and one model, the scripted upstream."""
    port = free_port()
    model = {"model": "openai/scripted", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "scripted", "litellm_params": model}],
        "general_settings": {"master_key": _LITELLM_KEY},
    }
    path, log = folder / "litellm.yaml", folder / "litellm.log"
    path.write_text(json.dumps(config))  # JSON is YAML too
    command = [program, "--config", str(path), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    with log.open("ab") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
    pin(process.pid, core)
    try:
        wait_until_up(process, port, "/health/liveliness", log)
        yield Contender(name="litellm", root=process.pid, port=port, key=_LITELLM_KEY)
    finally:
        end(process, signal.SIGKILL)


def _measure(
    report: Report,
    generator: LoadGenerator,
    contender: Contender,
    target: Target,
    plan: Plan,
    *,
    parallel: int,
    seed: int | None = None,
) -> Block:
    """Run one job: `seed` of an open loop, else a closed one at full speed."""
    job: Spread | Closed = Closed(target=target, parallel=parallel, warm_s=plan.warm_s, seconds=plan.full_s)
    if seed is not None:
        stream_s = plan.pieces * plan.gap_ms / 1000 + 0.05
        measured = max(plan.measured, parallel) if parallel > 1 else max(1, plan.measured // 20)
        job = Spread(target=target, parallel=parallel, measured=measured, stream_s=stream_s, seed=seed)
    before, begun = contender.cpu_s(), perf_counter()
    outcome = generator.run(job)
    block = Block(outcome=outcome, cpu_s=contender.cpu_s() - before, wall_s=perf_counter() - begun)
    if outcome.failed:
        report.problems.append(f"{target.name}: {outcome.failed} of {outcome.checked} were bad: {outcome.failures}")
    return block


def _turned(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Return them in another order each round."""
    at = number % len(contenders)
    turned = [*contenders[at:], *contenders[:at]]
    return turned if number % 2 == 0 else turned[::-1]


def _first_token(
    report: Report, generator: LoadGenerator, contenders: Sequence[Contender], plan: Plan, parallel: int
) -> None:
    blocks: dict[str, list[Block]] = {one.name: [] for one in contenders}
    for number in range(plan.rounds):
        for one in _turned(contenders, number):
            target = one.target(plan.pieces, plan.gap_ms)
            block = _measure(report, generator, one, target, plan, parallel=parallel, seed=number)
            blocks[one.name].append(block)
    streams = f"{parallel} streams" if parallel > 1 else "1 stream"
    for share, word in ((0.5, "p50"), (0.99, "p99")):
        each = {name: [quantile(one.outcome.ttft_ms, share) for one in own] for name, own in blocks.items()}
        whole = {
            name: quantile([value for one in own for value in one.outcome.ttft_ms], share)
            for name, own in blocks.items()
        }
        for name, own in blocks.items():
            samples = sum(len(one.outcome.ttft_ms) for one in own)
            report.add(f"first token, {streams}, {name} {word}", whole[name], "ms", per_run=each[name], samples=samples)
            if name != "upstream":
                added = [one - alone for one, alone in zip(each[name], each["upstream"], strict=True)]
                value, figure = whole[name] - whole["upstream"], f"added to first token, {streams}, {name} {word}"
                report.add(figure, value, "ms", per_run=added, samples=samples)
    report.details.setdefault("cores_busy", {})[streams] = {
        name: round(sum(one.cpu_s for one in own) / sum(one.wall_s for one in own), 3) for name, own in blocks.items()
    }


def _full_speed(report: Report, generator: LoadGenerator, contenders: Sequence[Contender], plan: Plan) -> None:
    """As fast as they go: 16 callers, each asking again when answered."""
    blocks: dict[str, list[Block]] = {one.name: [] for one in contenders}
    for number in range(plan.rounds):
        for one in _turned(contenders, number):
            target = one.target(plan.full_pieces, 0)
            blocks[one.name].append(_measure(report, generator, one, target, plan, parallel=16))
    what = f"token events, {plan.full_pieces} a stream"
    measured = plan.full_s / (plan.full_s + plan.warm_s)  # processor time covers the warming part of a block as well
    for name, own in blocks.items():
        rates = [one.outcome.content_events / one.outcome.seconds for one in own]
        count = sum(one.outcome.content_events for one in own)
        report.add(f"{what}, {name}", median(rates), "events/s", per_run=rates, samples=count)
        per_core = ratio(count, sum(one.cpu_s for one in own) * measured)
        report.add(f"{what} per processor second, {name}", per_core, "events/s", runs=len(own), samples=count)
