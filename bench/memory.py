"""What an idle server holds, what each open stream adds, and what is given back."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import sleep

from bench import targets
from bench.figures import Goal, Report
from bench.generator import LoadGenerator, load_generator
from bench.jobs import Hold, Outcome, Release
from bench.machine import Cores, machine
from bench.processes import Died, Parley, data_folder, how_it_ended, serving, upstream
from bench.usage import Memory, memory_of, total_pss

NAME = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Seconds to let things settle, and how many streams are held open."""

    idle_s: float
    streams: int
    held_s: float
    closed_s: float
    gap_ms: float = 1000.0


FULL = Plan(idle_s=10, streams=200, held_s=5, closed_s=10)
SHORT = Plan(idle_s=10, streams=200, held_s=2, closed_s=3)
TINY = Plan(idle_s=0.5, streams=5, held_s=0.2, closed_s=0.5)

GOALS = (Goal(figure="idle, service and Postgres, PSS", at_most=200, source="design.md 6: idle under 200 MB"),)


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Measure, and return what was found."""
    report = Report(name=NAME, machine=machine(), settings=asdict(plan) | {"cores": asdict(cores)}, goals=list(GOALS))
    report.notes.append("chat and embedding models are remote here: no embedded model is loaded")
    with ExitStack() as stack:
        upstream_port, _ = stack.enter_context(upstream(cores.load))
        generator = stack.enter_context(load_generator(cores.load))
        folder = stack.enter_context(data_folder(data_parent))
        parley = Parley(folder=folder, upstream_port=upstream_port, core=cores.server, postgres_core=cores.postgres)
        stack.enter_context(serving(parley))
        sleep(plan.idle_s)
        idle = memory_of(parley.family())
        chat_id = targets.make_chat(parley)
        target = targets.service(parley, chat_id, pieces=10_000, gap_ms=plan.gap_ms)
        _checked(report, generator.run(Hold(target=target, parallel=1)))  # what only the first stream costs
        _checked(report, _hang_up(generator, 1))
        sleep(plan.closed_s)
        used = memory_of(parley.family())
        _checked(report, generator.run(Hold(target=target, parallel=plan.streams)))
        sleep(plan.held_s)
        held = memory_of(parley.family())
        _checked(report, _hang_up(generator, plan.streams))
        sleep(plan.closed_s)
        closed = memory_of(parley.family())
        if ended := how_it_ended(parley.process, parley.log):
            raise Died(ended)
    _tell(report, {"idle": idle, "after a first stream": used, "streams open": held, "streams closed": closed})
    added = total_pss(held, is_database=False) - total_pss(used, is_database=False)
    kept = total_pss(closed, is_database=False) - total_pss(used, is_database=False)
    report.add("service per open stream, PSS", added * 1024 / plan.streams, "KiB", samples=plan.streams)
    report.add("service after closing, more than before, PSS", kept, "MiB", samples=plan.streams)
    report.places = [asdict(one) for one in idle]
    return report


def _hang_up(generator: LoadGenerator, count: int) -> Outcome:
    """Close the held streams; one that had ended by itself was not held."""
    outcome = generator.run(Release())
    if outcome.requests != count:
        outcome.fail(f"only {outcome.requests} of {count} streams were still open at the end")
    return outcome


def _checked(report: Report, outcome: Outcome) -> None:
    if outcome.failed:
        report.problems.append(f"{outcome.failed} streams were not held: {outcome.failures}")


def _tell(report: Report, moments: dict[str, Sequence[Memory]]) -> None:
    for moment, found in moments.items():
        service, database = total_pss(found, is_database=False), total_pss(found, is_database=True)
        report.add(f"{moment}, service and Postgres, PSS", service + database, "MiB", samples=len(found))
        report.add(f"{moment}, service, PSS", service, "MiB")
        report.add(f"{moment}, service, RSS", sum(one.rss_mib for one in found if _is_service(one)), "MiB")
        report.add(f"{moment}, Postgres, PSS", database, "MiB")
    report.details["processes"] = {moment: [asdict(one) for one in found] for moment, found in moments.items()}


def _is_service(one: Memory) -> bool:
    return not one.role.startswith("postgres")
