"""What a call pays before its route: key, limits, counting. The same calls with limits on and off, in one run.

Three sorts of calls, all refused before any route's own work, take turns over one open connection each: to a path
that nobody serves (no key is looked at), with a key to a service without limits, and with a key to one with them. The
body is no JSON, so that the routes refuse it right after key and limits. All three go through the same middleware,
which counts and logs each: differences of medians are what key and limits cost; what one call to the path nobody
serves takes, less the empty exchange, is told beside it.

Last, a thousand calls of one key come in one moment to four processes, with a budget of a hundred: how many pass.
"""

import asyncio
import http.client
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from time import perf_counter

import psutil

from bench.figures import Goal, Report, median, quantile
from bench.machine import Cores, machine
from bench.processes import Parley, data_folder, serving

NAME = "limits"

_OPEN_PATH = "/api/v1/nobody/serves/this"
_KEYED_PATH = "/api/v1/chats/none/completions"
_NO_JSON = b"{"
_BURST_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`rounds` blocks of `calls` calls of each sort, in turn; then `parallel` callers at once, `each` calls apiece.

    Then `burst` calls in one moment, each over a connection of its own, to `workers` processes.
    """

    rounds: int
    calls: int
    parallel: int
    each: int
    burst: int
    workers: int


FULL = Plan(rounds=20, calls=500, parallel=32, each=100, burst=1000, workers=4)
SHORT = Plan(rounds=5, calls=200, parallel=16, each=50, burst=1000, workers=4)
TINY = Plan(rounds=2, calls=20, parallel=4, each=5, burst=150, workers=2)

_PASSED = "calls let through with a budget of 100"

GOALS = (
    Goal(figure="key and limits, p50", at_most=0.5, source="issue 4: at most 0.5 ms at the median"),
    Goal(figure=_PASSED, at_least=100, at_most=100, source="issue 4: exactly 100 of 1,000 pass, over 4 processes"),
)

_LIMITED = {"RATE_LIMIT": "100000000", "MAX_STREAMS": "10"}
_BUDGET = {"RATE_LIMIT": "70", "RATE_BURST": "30", "RATE_WINDOW": "86400"}


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
    _tell_exactness(report, plan, data_parent)
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


def _tell_exactness(report: Report, plan: Plan, data_parent: Path | None) -> None:
    """Tell how many of a burst pass; the processes go to whatever core is free."""
    settings = _BUDGET | {"WORKERS": str(plan.workers)}
    with _service(Cores(None, None, None), data_parent, settings) as parley:
        statuses = asyncio.run(_burst(parley, plan.burst))
        answering = _listening(parley)
    report.add(_PASSED, statuses[400], "calls", samples=plan.burst)
    report.details["burst"] = {
        "statuses": {str(status): count for status, count in statuses.items()},
        "processes": answering,
    }
    if statuses[400] + statuses[429] != plan.burst:
        report.problems.append(f"burst: answers of other statuses: {dict(statuses)}")


async def _burst(parley: Parley, calls: int) -> Counter[int]:
    """Open all connections, then call over all at once; return how often each status was answered."""
    head = f"POST {_KEYED_PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {parley.key}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(_NO_JSON)}\r\n\r\n".encode() + _NO_JSON
    statuses: Counter[int] = Counter()
    go = asyncio.Event()

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        writer.write(request)
        statuses[int((await reader.readline()).split()[1])] += 1
        writer.close()

    async with asyncio.timeout(_BURST_S), asyncio.TaskGroup() as tasks:
        for _ in range(calls):
            tasks.create_task(call(*await asyncio.open_connection("127.0.0.1", parley.port)))
        go.set()
    return statuses


def _listening(parley: Parley) -> int:
    """Return how many processes take connections at the service's port."""
    taking = 0
    for process in parley.family()[1:]:  # the first one only started them
        with suppress(psutil.Error):
            sockets = process.net_connections("tcp")
            taking += any(one.status == psutil.CONN_LISTEN and one.laddr.port == parley.port for one in sockets)
    return taking


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
