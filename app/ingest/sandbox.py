"""Parsing in a child process: native parsers on strangers' files must not take the service down."""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import anyio
import anyio.abc
import msgspec
import structlog

from app.domain.documents import ParsedDocument, ParseFailed
from app.ingest.caps import ParseCaps, ParseHints
from app.ingest.confinement import Confinement
from app.ingest.wire import Answer, unpack

_log = structlog.get_logger(__name__)
_ROOT = Path(__file__).resolve().parents[2]  # where `app` is found
_KEPT_ENVIRONMENT = (
    "PATH",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TESSDATA_PREFIX",
)  # no secrets among them
_STDERR_KEPT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """What one parse may use. `memory_bytes` is address space; an idle parser maps 0.6 GiB of it."""

    wall_s: float = 300.0
    cpu_s: int = 120
    memory_bytes: int = 3 * 1024**3
    output_bytes: int = 256 * 1024**2
    caps: ParseCaps = field(default_factory=ParseCaps)


@dataclass(slots=True)
class _Outcome:
    """What the child left behind; `returncode` is None when it ran into the deadline."""

    output: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    returncode: int | None = None


async def parse_in_child(
    file: str | Path | IO[bytes], filename: str, limits: SandboxLimits | None = None, hints: ParseHints | None = None
) -> ParsedDocument:
    """Parse a local file, called `filename`, in a fresh process that dies with us and with this task.

    `file` is its path, or the file open at its beginning. `hints` are what the document's chunk method asks for; by
    default those of naive.

    Raises:
        ParseFailed: it cannot be read, crashed the parser, or went over a limit.
    """
    limits = limits or SandboxLimits()
    async with _opened(file) as given:
        outcome = await _run(given, filename, limits, hints or ParseHints())
    if len(outcome.output) > limits.output_bytes:
        raise ParseFailed(f"{filename} holds more text than is taken in ({limits.output_bytes // 1024**2} MiB).")
    if outcome.returncode is None:
        raise ParseFailed(f"{filename} took longer than {limits.wall_s:g} s to read and was given up.")
    answer = _answer(outcome)
    if answer is None:
        tail = outcome.stderr.decode(errors="replace")[-300:]
        _log.warning("parse_child_crashed", returncode=outcome.returncode, stderr_tail=tail)
        raise ParseFailed(_reason(filename, outcome))
    if answer.document is None:
        raise ParseFailed(answer.failure or f"{filename} could not be read.")
    return answer.document


@asynccontextmanager
async def _opened(file: str | Path | IO[bytes]) -> AsyncGenerator[IO[bytes], None]:
    if not isinstance(file, str | Path):
        yield file
        return
    async with await anyio.open_file(file, "rb") as opened:
        yield opened.wrapped


async def _run(file: IO[bytes], filename: str, limits: SandboxLimits, hints: ParseHints) -> _Outcome:
    confinement = Confinement(
        parent_pid=os.getpid(),
        cpu_s=limits.cpu_s,
        memory_bytes=limits.memory_bytes,
        caps=replace(limits.caps, timeout_s=min(limits.caps.timeout_s, limits.wall_s)),
        hints=hints,
    )
    arguments = [filename, msgspec.json.encode(confinement).decode()]
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    outcome = _Outcome()
    process = await _started(file, arguments, environment)
    try:
        with anyio.move_on_after(limits.wall_s):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_drain, process.stderr, outcome.stderr)
                await _read(process, outcome.output, limits.output_bytes)
            outcome.returncode = await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                _kill(process)
            await process.aclose()
    return outcome


async def _started(file: IO[bytes], arguments: list[str], environment: dict[str, str]) -> anyio.abc.Process:
    """Start the child; not to be cancelled halfway, for a child that runs already would belong to nobody."""
    command = [sys.executable, "-m", "app.ingest.parse_child", *arguments]
    environment = environment | {"RAYON_NUM_THREADS": "1", "TOKIO_WORKER_THREADS": "1", "PYTHONUTF8": "1"}
    started: list[anyio.abc.Process] = []
    with anyio.CancelScope(shield=True):
        started.append(
            await anyio.open_process(command, stdin=file, cwd=_ROOT, env=environment, start_new_session=True)
        )
    return started[0]


async def _read(process: anyio.abc.Process, into: bytearray, at_most: int) -> None:
    """Gather the answer; past `at_most` the child is killed."""
    if process.stdout is None:
        return
    async for piece in process.stdout:
        into += piece
        if len(into) > at_most:
            _kill(process)
            return


def _kill(process: anyio.abc.Process) -> None:
    """Kill the child and what it started; it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _drain(stream: anyio.abc.ByteReceiveStream | None, into: bytearray) -> None:
    """Keep the last of what the child complains, and never let it block."""
    if stream is None:
        return
    async for piece in stream:
        into += piece
        del into[:-_STDERR_KEPT]


def _answer(outcome: _Outcome) -> Answer | None:
    if outcome.returncode != 0:
        return None
    try:
        return unpack(bytes(outcome.output))
    except msgspec.DecodeError:
        return None


def _reason(filename: str, outcome: _Outcome) -> str:
    killed_by = -(outcome.returncode or 0)
    if killed_by == signal.SIGXCPU:
        return f"{filename} takes too much computing to read and was given up."
    if killed_by == signal.SIGKILL or b"memory allocation" in outcome.stderr or b"MemoryError" in outcome.stderr:
        return f"{filename} needs more memory than a document is given, and was given up."
    return f"{filename} crashed the parser: it is damaged, or needs more memory than a document is given."
