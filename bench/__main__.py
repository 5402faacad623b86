"""`python -m bench [NAME|all]`: one run, or all that fetch nothing from Debian; see bench/README.md."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console

from bench import documents, ingesting, limits, memory, overhead, passthrough, retrieval, scale, sessions, start
from bench.figures import RESULTS, Report
from bench.machine import Cores, choose_cores, machine_line
from bench.processes import Died, StartFailed

Run = Callable[[Cores, Path | None], Report]
_ONLY_BY_NAME = {documents.NAME, documents.INGEST_NAME, retrieval.NAME, scale.NAME}  # they fetch packages from Debian


def runs(size: str) -> dict[str, Run]:
    """Return the runs by name, in one of three sizes."""
    return {
        overhead.NAME: _run(partial(overhead.run, getattr(overhead, size))),
        passthrough.NAME: _run(partial(passthrough.run, getattr(passthrough, size))),
        memory.NAME: _run(partial(memory.run, getattr(memory, size))),
        start.NAME: _run(partial(start.run, getattr(start, size))),
        limits.NAME: _run(partial(limits.run, getattr(limits, size))),
        ingesting.NAME: _run(partial(ingesting.run, getattr(ingesting, size))),
        documents.NAME: _run(partial(documents.run, getattr(documents, size))),
        documents.INGEST_NAME: _run(partial(documents.run_ingest, getattr(documents, size))),
        retrieval.NAME: _run(partial(retrieval.run, getattr(retrieval, size))),
        scale.NAME: _run(partial(scale.run, getattr(scale, size))),
        sessions.NAME: _run(partial(sessions.run, getattr(sessions, size))),
    }


def _run(measure: Callable[..., Report]) -> Run:
    return lambda cores, data_parent: measure(cores, data_parent=data_parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write. Missed goals are told, and are no failure; wrong answers and lost turns are."""
    chosen = _parser().parse_args(arguments)
    size = "TINY" if chosen.tiny else "SHORT" if chosen.short else "FULL"
    cores = choose_cores(chosen.server_core, chosen.load_core, is_postgres_beside_server=chosen.postgres == "server")
    console = Console(width=None if Console().is_terminal else 140)
    reports: list[Report] = []
    for name, run in runs(size).items():
        if chosen.what != name and (chosen.what != "all" or name in _ONLY_BY_NAME):
            continue
        console.print(f"bench {name} ({size.lower()})", highlight=False)
        try:
            report = run(cores, chosen.data_dir)
        except (Died, StartFailed) as error:
            console.print(f"PROBLEM: {error}", style="bold red", markup=False, highlight=False)
            return 1
        console.print(machine_line(report.machine), highlight=False)
        report.show(console)
        console.print(f"written to {report.write(chosen.results)}", highlight=False, soft_wrap=True)
        reports.append(report)
    if chosen.json is not None:
        whole = {report.name: report.as_json() for report in reports}
        chosen.json.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))
    return 1 if any(report.problems for report in reports) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=[*runs("TINY"), "all"])
    parser.add_argument("--short", action="store_true", help="about a minute each; figures are rough")
    parser.add_argument("--tiny", action="store_true", help="seconds; shows only that the harness works")
    parser.add_argument("--json", type=Path, help="write the reports of all runs here as well")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for <name>.json")
    parser.add_argument("--server-core", type=int, help="core of the service and the relay (default: the first)")
    parser.add_argument("--load-core", type=int, help="core of upstream and load generator (default: the second)")
    parser.add_argument(
        "--postgres", choices=["load", "server"], default="load", help="whose core the embedded Postgres shares"
    )
    parser.add_argument("--data-dir", type=Path, help="where to make the data folders (default: the system's own)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
