"""What a call pays before its route: key, limits, counting. The same calls with limits on and off, in one run.

Three sorts of calls, all refused before any route's own work, take turns over one open connection each: to a path
that nobody serves (no key is looked at), with a key to a service without limits, and with a key to one with them. The
body is no JSON, so that the routes refuse it right after key and limits. All three go through the same middleware,
which counts and logs each: differences of medians are what key and limits cost; what one call to the path nobody
serves takes, less the empty exchange, is told beside it.
"""

import http.client
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from time import perf_counter

from bench.figures import Goal, Report, median, quantile
from bench.machine import Cores, machine
from bench.processes import Parley, data_folder, serving

NAME = "limits"

_OPEN_PATH = "/api/v1/nobody/serves/this"
_KEYED_PATH = "/api/v1/chats/none/completions"
_NO_JSON = b"{"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`rounds` blocks of `calls` calls of each sort, in turn; then `parallel` callers at once, `each` calls apiece."""

    rounds: int
    calls: int
    parallel: int
    each: int


FULL = Plan(rounds=20, calls=500, parallel=32, each=100)
SHORT = Plan(rounds=5, calls=200, parallel=16, each=50)
TINY = Plan(rounds=2, calls=20, parallel=4, each=5)

GOALS = (Goal(figure="key and limits, p50", at_most=0.5, source="issue 4: at most 0.5 ms at the median"),)

_LIMITED = {"RATE_LIMIT": "100000000", "MAX_STREAMS": "10"}


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Measure, and return what was found."""
    report = Report(name=NAME, machine=machine(), settings=asdict(plan), goals=list(GOALS))
    with ExitStack() as stack:
        plain, limited = (stack.enter_context(_service(cores, data_parent, settings)) for settings in ({}, _LIMITED))
        sorts = {
            "no key": _Caller(plain, _OPEN_PATH, 404, has_key=False),
            "key": _Caller(plain, _KEYED_PATH, 400),
            "key and limits": _Caller(limited, _KEYED_PATH, 400),
        }
        seen: dict[str, list[list[float]]] = {name: [] for name in sorts}
        for name, caller in sorts.items():
            caller.times(plan.calls)  # warm
            del name
        for number in range(plan.rounds):
            order = list(sorts)[number % 3 :] + list(sorts)[: number % 3]
            for name in order:
                seen[name].append(sorts[name].times(plan.calls))
        _tell(report, seen)
        for name in ("key", "key and limits"):
            report.add(f"calls at once, {name}", _at_once(sorts[name], plan), "calls/s")
        report.problems += [f"{name}: {caller.wrong} wrong answers" for name, caller in sorts.items() if caller.wrong]
    report.notes.append("no call reaches a route's own work; each is counted and logged by the same middleware")
    return report


def _tell(report: Report, seen: dict[str, list[list[float]]]) -> None:
    pooled = {name: [one for block in blocks for one in block] for name, blocks in seen.items()}
    for name, values in pooled.items():
        for word, share in (("p50", 0.5), ("p99", 0.99)):
            blocks = [quantile(block, share) for block in seen[name]]
            report.add(f"call, {name}, {word}", quantile(values, share), "ms", per_run=blocks, samples=len(values))
    for figure, more, less in (
        ("key and limits, p50", "key and limits", "no key"),
        ("limits alone, p50", "key and limits", "key"),
    ):
        per_run = [median(a) - median(b) for a, b in zip(seen[more], seen[less], strict=True)]
        value = median(pooled[more]) - median(pooled[less])
        report.add(figure, value, "ms", per_run=per_run, samples=len(pooled[more]))


class _Caller:
    """One sort of call."""

    def __init__(self, parley: Parley, path: str, status: int, *, has_key: bool = True) -> None:
        self._port = parley.port
        self._path = path
        self._status = status
        self._headers = {"Content-Type": "application/json"}
        if has_key:
            self._headers["Authorization"] = f"Bearer {parley.key}"
        self.wrong = 0

    def times(self, calls: int) -> list[float]:
        """Make calls one after the other over one connection; return how long each took, in ms."""
        taken: list[float] = []
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            connection.connect()
            for _ in range(calls):
                begun = perf_counter()
                connection.request("POST", self._path, _NO_JSON, self._headers)
                answer = connection.getresponse()
                answer.read()
                taken.append((perf_counter() - begun) * 1000)
                self.wrong += answer.status != self._status
        return taken


def _at_once(caller: _Caller, plan: Plan) -> float:
    """Return how many calls a second `parallel` callers make together."""
    threads = [Thread(target=caller.times, args=(plan.each,)) for _ in range(plan.parallel)]
    begun = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return plan.parallel * plan.each / (perf_counter() - begun)


@contextmanager
def _service(cores: Cores, data_parent: Path | None, settings: dict[str, str]) -> Generator[Parley, None, None]:
    with data_folder(data_parent) as folder:
        parley = Parley(folder=folder, core=cores.server, postgres_core=cores.postgres, settings=settings)
        with serving(parley):
            yield parley
