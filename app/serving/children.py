"""Processes beneath `serve`: in a session of their own, so that Ctrl-C is told to one of us, and ended in order."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc

from app.serving.stopping import Stop
from app.settings import PREFIX, Settings


def environment(settings: Settings, database_url: str) -> dict[str, str]:
    """Return the environment of a child: ours, with what the child could not know."""
    return {
        **os.environ,
        f"{PREFIX}DATABASE_URL": database_url,
        f"{PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
    }


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules; every one is told who its parent is."""
    return [sys.executable, "-m", module, "--parent", str(os.getpid()), *arguments]


@asynccontextmanager
async def child(
    what: Sequence[str], env: Mapping[str, str], stop: Stop, *, patience_s: float, descriptors: Sequence[int] = ()
) -> AsyncGenerator[anyio.abc.Process, None]:
    """Run a process for as long as the block lasts; then tell it to stop as we were told, and SIGKILL it at last."""
    process = await anyio.open_process(
        what,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None,
        env=env,
        start_new_session=True,
        pass_fds=descriptors,
    )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                await _end(process, stop, patience_s)
            await process.aclose()


async def _end(process: anyio.abc.Process, stop: Stop, patience_s: float) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hurry, process, stop)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM if stop.is_patient else signal.SIGINT)
        with anyio.move_on_after(patience_s):
            await process.wait()
        tasks.cancel_scope.cancel()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _hurry(process: anyio.abc.Process, stop: Stop) -> None:
    await stop.hurried.wait()
    with suppress(ProcessLookupError):
        process.terminate()
