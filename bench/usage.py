"""What processes cost: processor time and memory."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.processes import is_postgres

MIB = 2**20


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Processor seconds by group of processes, since each began."""

    server_s: float
    postgres_s: float
    upstream_and_load_s: float
    relay_s: float

    def since(self, earlier: "CpuTimes") -> "CpuTimes":
        """Return what was used since `earlier`."""
        return CpuTimes(
            self.server_s - earlier.server_s,
            self.postgres_s - earlier.postgres_s,
            self.upstream_and_load_s - earlier.upstream_and_load_s,
            self.relay_s - earlier.relay_s,
        )


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor time of processes that still run, their ended children included."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident and proportional size of one process, in MiB."""

    pid: int
    role: str
    rss_mib: float
    pss_mib: float


def memory_of(processes: Iterable[psutil.Process]) -> list[Memory]:
    """Return the memory of each process that still runs."""
    found: list[Memory] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            rss, pss = _sizes(process.pid)
            found.append(Memory(process.pid, role_of(process), rss / MIB, pss / MIB))
    return found


def _sizes(pid: int) -> tuple[int, int]:
    """Return RSS and PSS in bytes; PSS shares each common page among those who map it."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        sizes[name] = int(rest.split()[0]) * 1024
    return sizes["Rss"], sizes["Pss"]


def role_of(process: psutil.Process) -> str:
    """Return what a process of the service is, in a word or two."""
    command = process.cmdline()
    if is_postgres(process):
        title = command[0].removeprefix("postgres:").strip() if command else ""
        return "postgres" if "/" in title or not title else f"postgres {title}"
    named = [command[at + 1] for at, word in enumerate(command[:-1]) if word == "-m"]
    return f"parley {named[0]}" if named else process.name()


def total_pss(found: Iterable[Memory], *, is_database: bool) -> float:
    """Return the PSS of the database's processes, or of all others, in MiB."""
    return sum(one.pss_mib for one in found if one.role.startswith("postgres") is is_database)


def places(processes: Iterable[tuple[str, psutil.Process]]) -> list[dict[str, Any]]:
    """Return, for each group of processes, on which cores its members may run."""
    seen: dict[tuple[str, str], int] = {}
    for group, process in processes:
        with suppress(psutil.NoSuchProcess):
            cores = ",".join(map(str, process.cpu_affinity())) if hasattr(process, "cpu_affinity") else "any"
            seen[group, cores] = seen.get((group, cores), 0) + 1
    return [{"what": group, "cores": cores, "processes": count} for (group, cores), count in seen.items()]
