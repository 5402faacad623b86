"""What machine a figure comes from, and which cores it has to offer."""

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from bench.processes import Core

_PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "httpx", "aiohttp", "sqlalchemy", "asyncpg", "sse-starlette")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core serves, which one carries upstream and load, and which one Postgres; None where nothing is pinned."""

    server: Core
    load: Core
    postgres: Core


def choose_cores(server: Core, load: Core, *, is_postgres_beside_server: bool) -> Cores:
    """Return the cores asked for, else the first two this process may use; nothing is pinned when there is one."""
    allowed = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    if len(allowed) < 2:
        return Cores(None, None, None)
    server = allowed[0] if server is None else server
    load = allowed[1] if load is None else load
    return Cores(server, load, server if is_postgres_beside_server else load)


def machine() -> dict[str, Any]:
    """Return what figures depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def machine_line(told: dict[str, Any]) -> str:
    """Return the machine as one line."""
    packages = ", ".join(f"{name} {number}" for name, number in told["packages"].items())
    return (
        f"{told['cpu']}, {told['cores']} cores, {told['memory_gb']} GB, {told['system']}, Python {told['python']}; "
        f"{packages}; load average before the run {told['load_average'][0]}"
    )


def file_system(folder: Path) -> str:
    """Return what kind of file system `folder` is on: a commit to tmpfs costs nothing and says nothing."""
    here = folder.resolve()
    mounts = [one for one in psutil.disk_partitions(all=True) if here.is_relative_to(one.mountpoint)]
    return max(mounts, key=lambda one: len(one.mountpoint)).fstype if mounts else "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
