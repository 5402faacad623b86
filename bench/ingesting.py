"""What parsing does to answers: time to the first token while many documents are parsed, beside the same when none is.

Everything of the service runs where the system puts it; upstream and load generator stay on one core. Quiet blocks and
busy blocks take turns in one run; the embedding model is the embedded one, so that parsing really wants the processor.
Two models are asked: one whose first token comes after 200 ms, as a fast hosted one's does, which is what a user waits
for; and one that answers at once, which leaves the service's own share bare.
"""

import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench import targets
from bench.figures import Goal, Report, quantile, ratio
from bench.generator import LoadGenerator, load_generator
from bench.jobs import Outcome, Spread, Target
from bench.machine import Cores, machine
from bench.processes import Died, Parley, data_folder, how_it_ended, serving, upstream

NAME = "ingesting"
_LIMIT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many documents of how many bytes are parsed in each busy stretch, and how answers are asked for."""

    rounds: int
    documents: int
    document_bytes: int
    parallel: int
    measured: int
    pieces: int = 32
    gap_ms: float = 20.0
    first_ms: float = 200.0

    def stream_s(self, first_ms: float) -> float:
        """How long a stream lasts, a little generously."""
        return (self.pieces * self.gap_ms + first_ms) / 1000 + 0.05


FULL = Plan(rounds=3, documents=200, document_bytes=20_000, parallel=16, measured=400)
SHORT = Plan(rounds=1, documents=200, document_bytes=6_000, parallel=16, measured=200)
TINY = Plan(rounds=1, documents=3, document_bytes=1_000, parallel=2, measured=4, pieces=4, gap_ms=5, first_ms=20)

GOALS = (
    Goal(figure="first token, usual model, busy / quiet, p50", at_most=1.2, source="while 200 documents are parsed"),
)


class _Documents:
    """A dataset of text files that nobody wrote for this: modules of the standard library."""

    def __init__(self, parley: Parley, plan: Plan) -> None:
        self._plan = plan
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{parley.port}/api/v1",
            headers={"Authorization": f"Bearer {parley.key}"},
            timeout=120,
        )
        made = self._data(self._client.post("/datasets", json={"name": "bench"}))
        self._path = f"/datasets/{made['id']}"
        self._ids: list[str] = []

    def upload(self) -> None:
        """Store the files; nothing is parsed yet."""
        folder = Path(sysconfig.get_path("stdlib"))
        found = sorted(path for path in folder.glob("**/*.py") if path.stat().st_size >= self._plan.document_bytes)
        for start in range(0, self._plan.documents, 50):
            chosen = found[start : min(start + 50, self._plan.documents)]
            files = [("file", (path.name, path.read_bytes()[: self._plan.document_bytes])) for path in chosen]
            stored = self._data(self._client.post(f"{self._path}/documents", files=files))
            self._ids += [one["id"] for one in stored]

    def parse(self) -> None:
        """Queue all of them, again if they were parsed before."""
        self._data(self._client.post(f"{self._path}/chunks", json={"document_ids": self._ids}))

    def states(self) -> dict[str, int]:
        """Return how many documents are in which state."""
        listed = self._data(self._client.get(f"{self._path}/documents", params={"page_size": len(self._ids)}))
        runs = [one["run"] for one in listed["docs"]]
        return {run: runs.count(run) for run in set(runs)}

    def chunks(self) -> int:
        """Return how many chunks they have."""
        listed = self._data(self._client.get(f"{self._path}/documents", params={"page_size": len(self._ids)}))
        return sum(one["chunk_count"] for one in listed["docs"])

    def wait(self) -> None:
        """Return when nothing is parsed any more."""
        until = time.monotonic() + _LIMIT_S
        while "RUNNING" in self.states():
            if time.monotonic() > until:
                raise Died("the documents were not parsed in time")
            time.sleep(0.5)

    def _data(self, answer: httpx.Response) -> Any:
        told = answer.json()
        if told["code"] != 0:
            raise Died(f"{answer.request.url}: {told}")
        return told.get("data")


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Measure, and return what was found."""
    report = Report(name=NAME, machine=machine(), settings=asdict(plan) | {"cores": asdict(cores)}, goals=list(GOALS))
    with ExitStack() as stack:
        upstream_port, _ = stack.enter_context(upstream(cores.load))
        generator = stack.enter_context(load_generator(cores.load))
        folder = stack.enter_context(data_folder(data_parent))
        parley = Parley(folder=folder, upstream_port=upstream_port, has_embedded_embedding=True)
        stack.enter_context(serving(parley))
        documents = _Documents(parley, plan)
        documents.upload()
        chat_id = targets.make_chat(parley)
        models = [
            _Model(
                word,
                first_ms,
                targets.service(parley, chat_id, pieces=plan.pieces, gap_ms=plan.gap_ms, first_ms=first_ms),
            )
            for word, first_ms in (("usual model", plan.first_ms), ("instant model", 0.0))
        ]
        for model in models:
            _ask(generator, model, plan, 0)  # connections, caches: nothing of it counts
        seconds = 0.0
        for number in range(plan.rounds):
            _quiet(generator, models, plan, number + 1)
            begun = time.monotonic()
            documents.parse()
            _while_parsing(generator, models, plan, documents, number)
            documents.wait()
            seconds += time.monotonic() - begun
            if ended := how_it_ended(parley.process, parley.log):
                raise Died(ended)
        _quiet(generator, models, plan, plan.rounds + 1)
        _check(report, plan, documents, [one for model in models for one in (*model.quiet, *model.busy)])
        for model in models:
            _tell(report, model)
        parsed = plan.documents * plan.rounds
        report.add("documents parsed beside answers", parsed / seconds, "per second", samples=parsed)
        report.add("chunks made beside answers", documents.chunks() * plan.rounds / seconds, "per second")
    return report


@dataclass(slots=True)
class _Model:
    """A model that is asked, and how its answers came."""

    word: str
    first_ms: float
    target: Target
    quiet: list[Outcome] = field(default_factory=list[Outcome])
    busy: list[Outcome] = field(default_factory=list[Outcome])


def _ask(generator: LoadGenerator, model: _Model, plan: Plan, seed: int) -> Outcome:
    job = Spread(
        target=model.target,
        parallel=plan.parallel,
        measured=plan.measured,
        stream_s=plan.stream_s(model.first_ms),
        seed=seed,
    )
    return generator.run(job)


def _quiet(generator: LoadGenerator, models: Sequence[_Model], plan: Plan, seed: int) -> None:
    for model in models:
        model.quiet.append(_ask(generator, model, plan, seed))


def _while_parsing(
    generator: LoadGenerator, models: Sequence[_Model], plan: Plan, documents: _Documents, number: int
) -> None:
    """Ask for as long as documents are parsed; a block in which the last one ended does not count."""
    for seed in range(1000):
        model = models[seed % len(models)]
        outcome = _ask(generator, model, plan, 1000 * (number + 1) + seed)
        if "RUNNING" not in documents.states():
            break
        model.busy.append(outcome)


def _check(report: Report, plan: Plan, documents: _Documents, outcomes: Sequence[Outcome]) -> None:
    states = documents.states()
    if states != {"DONE": plan.documents}:
        report.problems.append(f"not every document was parsed: {states}")
    for outcome in outcomes:
        if outcome.failed:
            report.problems.append(f"{outcome.failed} of {outcome.checked} answers were bad: {outcome.failures}")


def _tell(report: Report, model: _Model) -> None:
    if not model.busy:
        report.notes.append(f"{model.word}: parsing ended before a block of answers did: there is nothing to compare")
        return
    for share, word in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        of = partial(quantile, share=share)
        values = {}
        for name, outcomes in (("quiet", model.quiet), ("busy", model.busy)):
            all_ms = [ms for one in outcomes for ms in one.ttft_ms]
            values[name] = of(all_ms)
            each = [of(one.ttft_ms) for one in outcomes]
            figure = f"first token, {model.word}, {name}, {word}"
            report.add(figure, values[name], "ms", per_run=each, samples=len(all_ms))
        figure = f"first token, {model.word}, busy / quiet, {word}"
        report.add(figure, ratio(values["busy"], values["quiet"]), "", runs=len(model.busy), is_ratio=True)
