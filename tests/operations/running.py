"""The service as an operator runs it: processes of its own, a data directory, signals; every wait has a deadline."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.service import NO_ROOTS

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 30.0


@dataclass(slots=True, kw_only=True)
class Service:
    """A running `parley serve`."""

    process: subprocess.Popen[bytes]
    folder: Path
    log_file: Path
    env: Mapping[str, str] = field(repr=False)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def key(self) -> str:
        return (self.data_dir / "api-key").read_text().strip()

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        found: list[dict[str, Any]] = []
        for line in self.log.splitlines():
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and told.get("event") == event:
                    found.append(told)
        return found

    @property
    def address(self) -> str:
        return str(self.lines("serving")[-1]["address"])

    @property
    def chat_id(self) -> str:
        return str(self.lines("serving")[0]["chat_id"])

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=20, trust_env=False, verify=NO_ROOTS)

    def family(self) -> list[psutil.Process]:
        """Return the process and all beneath it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self, number: signal.Signals = signal.SIGINT, *, within_s: float = STOP_S) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(within_s)


@contextmanager
def own_folder() -> Generator[Path, None, None]:
    """Give a folder any user may pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="parley-test-")).resolve()
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which only `settings` are set."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return {
        **clean,
        "PYTHONPATH": str(ROOT),
        "PARLEY_DATA_DIR": str(folder / "data"),
        "PARLEY_PORT": "0",
        "PARLEY_RATE_LIMIT": "0",  # tests of limits say otherwise
        "PARLEY_MAX_STREAMS": "0",
        **{f"PARLEY_{name}": value for name, value in settings.items()},
    }


def parley(*arguments: str, env: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments], env=env, cwd=folder, capture_output=True, text=True, timeout=60
    )


@contextmanager
def serving(folder: Path, *arguments: str, **settings: str) -> Generator[Service, None, None]:
    """Run `parley serve` in `folder` until the block ends; then nothing of it may be left."""
    env = environment(folder, settings)
    log_file = folder / f"log-{time.monotonic_ns()}"
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", *arguments],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    service = Service(process=process, folder=folder, log_file=log_file, env=env)
    family: list[psutil.Process] = []
    try:
        until(lambda: bool(service.lines("serving")) or process.poll() is not None, START_S)
        assert process.poll() is None, service.log
        family = service.family()
        yield service
    finally:
        if process.poll() is None:
            with contextlib.suppress(psutil.Error):
                family = service.family()
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        left = [one for one in family if not gone(one)]
        with contextlib.suppress(AssertionError):
            until(lambda: all(map(gone, left)), 15)
        for one in left:
            with contextlib.suppress(psutil.Error):
                one.kill()


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def until(fact: Callable[[], bool], within_s: float) -> None:
    """Wait until `fact()` holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def question(text: str, **more: Any) -> dict[str, Any]:
    """Return the body of a streamed chat completion."""
    return {"model": "model", "stream": True, "messages": [{"role": "user", "content": text}], **more}


def pieces(lines: Iterator[str]) -> Iterator[str]:
    """Give the pieces of an OpenAI stream; `[DONE]` at its end."""
    for line in lines:
        if line == "data: [DONE]" or line == "data:[DONE]":
            yield "[DONE]"
        elif line.startswith("data:"):
            event = json.loads(line[5:])
            for choice in event.get("choices") or ():
                if choice["delta"].get("content"):
                    yield choice["delta"]["content"]
