"""Starts what a run needs (the scripted upstream, the relay, a real `parley serve`), each on its core, and ends it."""

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 60.0

Core = int | None
"""The core a process is held on; None leaves it to the system."""


class StartFailed(Exception):
    """A process did not come up; the message ends with what it said last."""


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(
    command: Sequence[str],
    *,
    core: Core,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    is_piped: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a Python of ours on `core`, with the checkout importable; its words go to `log`."""
    pipe = subprocess.PIPE if is_piped else None
    said = log.open("ab") if log is not None else None
    try:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=pipe or subprocess.DEVNULL,
            stdout=pipe or said,
            stderr=said,
            cwd=cwd or ROOT,
            env={**_clean_environment(), **(env or {})},
            start_new_session=True,
        )
    finally:
        if said is not None:
            said.close()
    pin(process.pid, core)  # long before its interpreter is up, so that all it starts inherits the core
    return process


def pin(pid: int, core: Core) -> None:
    """Hold a process on `core`, where the system can do that."""
    if core is not None and sys.platform == "linux":
        os.sched_setaffinity(pid, {core})


class Died(Exception):
    """A process of the run ended by itself, or somebody ended it; a run without it says nothing."""


def how_it_ended(process: subprocess.Popen[bytes], log: Path | None = None) -> str | None:
    """Return how a process ended (-15 is SIGTERM, -9 SIGKILL) and its last words; None while it runs."""
    status = process.poll()
    if status is None:
        return None
    said = log.read_text(errors="replace")[-3000:] if log is not None else ""
    return f"{process.args!r} ended with status {status}\n{said}"


def get(port: int, path: str, *, key: str = "", timeout_s: float = 5.0) -> tuple[int, bytes]:
    """Return status and body of a GET on this machine; status 0 while nobody answers."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


def wait_until_up(process: subprocess.Popen[bytes], port: int, path: str, log: Path | None = None) -> None:
    """Return once `path` answers 200.

    Raises:
        StartFailed: the process died or took too long.
    """
    until = time.monotonic() + _START_LIMIT_S
    status, body = 0, b""
    while status != 200:
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(errors="replace")[-2000:] if log is not None else ""
            raise StartFailed(f"{path} on port {port}: status {status} {body[:500]!r}, exit {process.poll()}\n{said}")
        time.sleep(0.005)
        status, body = get(port, path)
        if process.poll() is not None:
            status = 0  # somebody else answers on that port


def end(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """Signal a process and wait until it has gone; its last resort is SIGKILL."""
    with suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def upstream(core: Core) -> Generator[tuple[int, subprocess.Popen[bytes]], None, None]:
    """Run the scripted model provider of the tests; give its port and its process."""
    port = free_port()  # a port, not a socket of ours: uvicorn takes those for unix ones and leaves Nagle on
    process = spawn(["-m", "tests.upstream.server", "--port", str(port)], core=core)
    try:
        wait_until_up(process, port, "/_calls")
        yield port, process
    finally:
        end(process, signal.SIGKILL)


@contextmanager
def relay(core: Core, upstream_port: int) -> Generator[tuple[int, subprocess.Popen[bytes]], None, None]:
    """Run the empty relay; give its port and its process."""
    port = free_port()
    command = ["-m", "bench.relay", "--port", str(port), "--upstream", f"http://127.0.0.1:{upstream_port}/v1"]
    process = spawn(command, core=core)
    try:
        wait_until_up(process, port, "/readyz")
        yield port, process
    finally:
        end(process, signal.SIGKILL)


@contextmanager
def data_folder(parent: Path | None = None) -> Generator[Path, None, None]:
    """A new data folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="parley-bench-", dir=parent))
    folder.chmod(0o755)  # an embedded Postgres that may not run as root has to reach it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class Parley:
    """A `parley serve` of its own: started, asked, stopped, started again on the same data."""

    folder: Path
    upstream_port: int | None = None  # None: with the embedded models
    has_embedded_embedding: bool = False
    core: Core = None
    postgres_core: Core = None
    port: int = field(default_factory=free_port)
    key: str = field(default_factory=lambda: f"ragflow-{secrets.token_urlsafe(32)}")
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the service says."""
        return self.folder / "serve.log"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started."""
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> float:
        """Start, wait until `/readyz` says 200, and return how many seconds that took."""
        begun = time.perf_counter()
        command = ["-m", "app.cli", "serve"]
        self._process = spawn(command, core=self.core, log=self.log, env=self._environment(), cwd=self.folder)
        try:
            wait_until_up(self._process, self.port, "/readyz", self.log)
        except StartFailed:
            end(self._process)
            raise
        took_s = time.perf_counter() - begun
        if self.core is not None:
            self.pin_postgres()
        return took_s

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """End it and everything it started; return how many seconds that took."""
        begun = time.perf_counter()
        family = self.family()
        end(self.process, how)
        self._process = None
        _, alive = psutil.wait_procs(family, timeout=_STOP_LIMIT_S)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return time.perf_counter() - begun

    def family(self) -> list[psutil.Process]:
        """Return the process and all it has started."""
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def last_errors(self) -> list[str]:
        """Return the last lines in which the service told of an error."""
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if '"level":"error"' in line or "Error" in line]
        return [line if len(line) < 2000 else f"{line[:300]} … {line[-1700:]}" for line in told[-3:]]  # a cause ends it

    def pin_postgres(self) -> None:
        """Move the embedded Postgres to its own core; backends to come inherit it."""
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                if is_postgres(process):
                    pin(process.pid, self.postgres_core)

    def _environment(self) -> dict[str, str]:
        given = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(self.folder / "data"),
            "API_KEY": self.key,
            "RATE_LIMIT": "0",
            "MAX_STREAMS": "0",
            "MAX_SESSION_MESSAGES": "0",
            **self.settings,
        }
        if self.upstream_port is not None:
            base_url = f"http://127.0.0.1:{self.upstream_port}/v1"
            given |= {
                "LLM_BASE_URL": base_url,
                "LLM_MODEL": "scripted",
            }
            if not self.has_embedded_embedding:
                given |= {
                    "EMBEDDING_BASE_URL": base_url,
                    "EMBEDDING_MODEL": "scripted",
                    "EMBEDDING_DIMENSIONS": "8",
                }
        return {f"PARLEY_{name}": value for name, value in given.items()}


@contextmanager
def serving(parley: Parley) -> Generator[Parley, None, None]:
    """Run `parley` for as long as the block lasts, whoever stopped and started it in between."""
    try:
        parley.start()
        yield parley
    finally:
        with suppress(AssertionError, psutil.NoSuchProcess):
            parley.stop()


def is_postgres(process: psutil.Process) -> bool:
    """Whether a process belongs to the embedded database."""
    return process.name().startswith("postgres")


def _clean_environment() -> dict[str, str]:
    """Return our environment without settings of a parley that is not the one measured."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("PARLEY_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
