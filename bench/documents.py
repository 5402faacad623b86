"""A thousand documents nobody here wrote, each parsed in its child and cut; with `documents-ingest`, all the way."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx

from app.domain.documents import ParseFailed
from app.ingest.file_types import chunk_method_for
from app.ingest.methods.attachments import with_attachments
from app.ingest.methods.base import Source
from app.ingest.methods.registry import hints_of, method_of
from app.ingest.outline import outline
from app.ingest.parser_config import read_settings
from app.ingest.sandbox import parse_in_child
from app.llm.tokens import BpeTokenCounter
from bench.debian_documents import RealFile, real_files
from bench.figures import Goal, Report, quantile
from bench.machine import Cores, machine
from bench.processes import Parley, data_folder

NAME = "documents"
INGEST_NAME = "documents-ingest"
GOALS = (
    Goal(figure="documents", at_least=1000, source="issue 3: 1,000 real documents"),
    Goal(figure="silently empty", at_most=0, source="issue 3: none silently empty"),
)
_BATCH = 20
_INGEST_LIMIT_S = 3600.0
_ASK_EVERY_S = 10.0
_LOGGED = re.compile(r"^(\d\d):(\d\d):(\d\d) ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many documents; None = all there are."""

    documents: int | None


FULL = Plan(documents=None)
SHORT = Plan(documents=1000)
TINY = Plan(documents=30)


@dataclass(slots=True)
class Outcome:
    """What became of one document. `told` = a failure or a note says why there is no text."""

    file: RealFile
    seconds: float = 0.0
    chunks: int = 0
    failure: str = ""
    told: bool = False


@dataclass(slots=True)
class _Row:
    kind: str
    outcomes: list[Outcome] = field(default_factory=list[Outcome])

    def cells(self) -> dict[str, Any]:
        times = [outcome.seconds for outcome in self.outcomes]
        empty = [outcome for outcome in self.outcomes if not outcome.chunks and not outcome.failure]
        return {
            "type": self.kind,
            "count": len(self.outcomes),
            "MB": sum(outcome.file.path.stat().st_size for outcome in self.outcomes) / 1e6,
            "failed": sum(bool(outcome.failure) for outcome in self.outcomes),
            "empty, told": sum(outcome.told for outcome in empty),
            "empty, silent": sum(not outcome.told for outcome in empty),
            "chunks": sum(outcome.chunks for outcome in self.outcomes),
            "seconds": sum(times),
            "p50 s": quantile(times, 0.5),
            "max s": max(times),
        }


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Parse and cut each document, one after the other, and return the table by type."""
    del cores, data_parent
    return _report(NAME, plan, lambda files: anyio.run(_parse_all, files))


def run_ingest(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Upload the documents to a service of its own, with its embedded models, and wait until all are parsed."""
    del cores
    return _report(INGEST_NAME, plan, lambda files: _ingest(files, data_parent))


def _report(name: str, plan: Plan, measure: Callable[[list[RealFile]], list[Outcome]]) -> Report:
    files = real_files(plan.documents)
    report = Report(name=name, machine=machine(), settings=asdict(plan), goals=list(GOALS))
    started = time.perf_counter()
    outcomes = measure(files)
    taken = time.perf_counter() - started
    rows: dict[str, _Row] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.file.kind, _Row(outcome.file.kind)).outcomes.append(outcome)
    report.places = [row.cells() for _, row in sorted(rows.items())]
    report.add("documents", len(outcomes), "documents")
    report.add("failed", sum(bool(outcome.failure) for outcome in outcomes), "documents")
    silent = [o for o in outcomes if not o.chunks and not o.failure and not o.told]
    report.add("silently empty", len(silent), "documents")
    report.add("chunks", sum(outcome.chunks for outcome in outcomes), "chunks")
    report.add("all of them", taken, "s")
    report.add("rate", len(outcomes) / taken, "documents/s")
    reasons = Counter(_reason(outcome) for outcome in outcomes if outcome.failure)
    report.notes += [f"{count} failed: {reason}" for reason, count in reasons.most_common(40)]
    report.notes += [f"silently empty: {outcome.file.package}: {outcome.file.name}" for outcome in silent[:40]]
    slowest = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:10]
    report.details["slowest"] = [{"name": one.file.name, "seconds": one.seconds} for one in slowest]
    report.details["failures"] = [
        {"package": outcome.file.package, "name": outcome.file.name, "failure": outcome.failure}
        for outcome in outcomes
        if outcome.failure
    ]
    return report


def _reason(outcome: Outcome) -> str:
    """Return why it failed, without its name and the times of its log."""
    said = outcome.failure.rpartition("[ERROR]")[2]
    stem, _, kind = outcome.file.name.rpartition(".")
    return re.sub(rf"{re.escape(stem)}(\(\d+\))?\.{kind}", "<name>", said.replace("\n", " "))


async def _parse_all(files: list[RealFile]) -> list[Outcome]:
    counter = BpeTokenCounter()
    outcomes: list[Outcome] = []
    for file in files:
        outcome = Outcome(file)
        started = time.perf_counter()
        try:
            outcome.chunks, outcome.told = await _one(file, counter)
        except ParseFailed as failure:
            outcome.failure = failure.message
        outcome.seconds = time.perf_counter() - started
        outcomes.append(outcome)
    return outcomes


async def _one(file: RealFile, counter: BpeTokenCounter) -> tuple[int, bool]:
    """Return `(number of chunks, whether a note was left)`."""
    method = method_of(chunk_method_for(file.name, "naive"))
    settings = read_settings(method.name, {})
    document = await parse_in_child(file.path, file.name, None, hints_of(method, settings))
    whole = with_attachments(document) if method.takes_attachments else document
    source = Source(
        document=whole,
        filename=file.name,
        sections=outline(whole, file.name),
        settings=settings,
        count=counter.count,
    )
    cut = await anyio.to_thread.run_sync(method.cut, source)
    filled = sum(bool(chunk.content.strip()) for chunk in cut.chunks)
    return filled, bool(document.notes)


def _ingest(files: list[RealFile], data_parent: Path | None) -> list[Outcome]:
    with data_folder(data_parent) as folder:
        parley = Parley(folder=folder)
        parley.start()
        try:
            return _through(parley, files)
        finally:
            parley.stop()


def _through(parley: Parley, files: list[RealFile]) -> list[Outcome]:
    """Upload in batches, start parsing, wait for the end of every document."""
    headers = {"Authorization": f"Bearer {parley.key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{parley.port}/api/v1", headers=headers, timeout=120) as client:
        dataset = _data(client.post("/datasets", json={"name": "real documents"}))["id"]
        by_id: dict[str, Outcome] = {}
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            parts = [("file", (file.name, file.path.read_bytes())) for file in batch]
            stored = _data(client.post(f"/datasets/{dataset}/documents", files=parts))
            by_id |= {told["id"]: Outcome(file) for told, file in zip(stored, batch, strict=True)}
            ids = [told["id"] for told in stored]
            _data(client.post(f"/datasets/{dataset}/chunks", json={"document_ids": ids}))
        until = time.monotonic() + _INGEST_LIMIT_S
        pending = set(by_id)
        while pending and time.monotonic() < until:
            time.sleep(min(_ASK_EVERY_S, 2 + len(pending) / 50))
            for told in _all_documents(client, dataset):
                if told["run"] in {"DONE", "FAIL", "CANCEL"} and told["id"] in pending:
                    pending.discard(told["id"])
                    _note(by_id[told["id"]], told)
        for key in pending:
            by_id[key].failure = "not finished in time"
    return list(by_id.values())


def _note(outcome: Outcome, told: dict[str, Any]) -> None:
    outcome.chunks = told["chunk_count"]
    log = str(told.get("progress_msg") or "")
    outcome.seconds = _worked_s(log)
    outcome.told = "No text was found" in log or "is empty" in log or "not read" in log or "No text was read" in log
    outcome.failure = log[-300:] if told["run"] != "DONE" else ""


def _worked_s(log: str) -> float:
    """Return how long a document was worked on, to the second: its `process_duration` has its wait in the queue too."""
    times = [3600 * int(h) + 60 * int(m) + int(s) for h, m, s in _LOGGED.findall(log)]
    return float((times[-1] - times[0]) % 86_400) if times else 0.0


def _all_documents(client: httpx.Client, dataset: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    page = 1
    while True:
        told = _data(client.get(f"/datasets/{dataset}/documents", params={"page": page, "page_size": 500}))
        found |= {one["id"]: one for one in told["docs"]}
        if len(found) >= told["total"] or not told["docs"]:
            return list(found.values())
        page += 1


def _data(answer: httpx.Response) -> Any:
    told = answer.json()
    if told["code"] != 0:
        raise RuntimeError(f"{answer.request.method} {answer.request.url}: {told}")
    return told["data"]
