"""`parley serve`: the database, what must exist in it, the socket, the processes; and their end in the other order."""

import errno
import shutil
import signal
import socket
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import structlog

from app.building import Parts
from app.db.engine import create_engine
from app.domain.errors import ParleyError
from app.serving.answering import READY, answer
from app.serving.children import child, command, environment
from app.serving.first_start import Welcome, prepare
from app.serving.greeting import greet
from app.serving.home import Home, home_of, make_fit
from app.serving.ingesting import IngestKeeper
from app.serving.kept import address_of, pepper_of
from app.serving.stopping import Stop
from app.settings import Settings
from app.telemetry.logs import set_up_logs
from repositories.listener import Listener
from repositories.unit_of_work import Database

log = structlog.get_logger()

BACKLOG = 2048
_LEAST_BACKOFF_S = 0.5
_MOST_BACKOFF_S = 30.0
_LONG_LIFE_S = 60.0
_CHILD_GRACE_S = 25.0  # beyond drain: last words, and turns that are closed


class AddressInUse(ParleyError):
    """Somebody else listens there."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, then stop everything that was started.

    Raises:
        ParleyError: it cannot start; the message says why.
    """
    set_up_logs(settings.log_format, settings.log_level)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until there is a loop, both end the start in order
    try:
        with home_of(settings) as home:
            run = partial(anyio.run, backend_options={"use_uvloop": True})
            run(make_fit, home)
            pepper = pepper_of(settings)
            welcome = run(partial(prepare, settings, home.app_url, pepper, is_alone=home.is_embedded))
            with _listening(settings) as listener:
                if settings.workers == 1:
                    run(_answer_alone, settings, home, pepper, listener, welcome)
                else:
                    run(_answer_together, settings, home, listener, welcome)
    except KeyboardInterrupt:
        log.info("stopped_at_start")


@contextmanager
def _listening(settings: Settings) -> Generator[socket.socket, None, None]:
    """Bind the address; calls queue up from here on."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressInUse(f"{settings.host} is no address of this machine: set PARLEY_HOST") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be served on ({error.strerror})"
            raise AddressInUse(
                f"{settings.host}:{settings.port} {reason}: stop what runs there, or set PARLEY_PORT"
            ) from error
        listener.setblocking(False)
        yield listener


def _address(settings: Settings, listener: socket.socket) -> str:
    return address_of(settings.host, listener.getsockname()[1])


async def _answer_alone(
    settings: Settings, home: Home, pepper: bytes, listener: socket.socket, welcome: Welcome | None
) -> None:
    """Answer in this process."""
    stop = Stop()
    env = environment(settings, home.app_url)

    async def ingest(parts: Parts) -> None:
        await IngestKeeper(parts.database, parts.listener, env, stop).run()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop.heed)
        await answer(
            settings,
            home.app_url,
            pepper,
            listener,
            stop,
            on_ready=partial(greet, settings, _address(settings, listener), welcome),
            beside=ingest,
        )
        tasks.cancel_scope.cancel()


async def _answer_together(settings: Settings, home: Home, listener: socket.socket, welcome: Welcome | None) -> None:
    """Answer in several processes beneath this one, which minds them."""
    stop, ready = Stop(), anyio.Event()
    env = environment(settings, home.app_url)
    database = Database(create_engine(home.app_url, pool_size=1))
    notices = Listener(home.app_url)
    keeper = IngestKeeper(database, notices, env, stop)
    folder = Path(tempfile.mkdtemp(prefix="parley-"))  # a socket's path has to be short
    minding = _Minding(settings=settings, env=env, listener=listener, gather=folder, stop=stop, ready=ready)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop.heed)
            async with anyio.create_task_group() as children:
                for number in range(settings.workers):
                    children.start_soon(_keep, number, minding)
                children.start_soon(notices.run)
                children.start_soon(keeper.run)
                children.start_soon(_greet_when, ready, settings, _address(settings, listener), welcome)
                await stop.asked.wait()
                children.cancel_scope.cancel()
            tasks.cancel_scope.cancel()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        await database.close()


async def _greet_when(ready: anyio.Event, settings: Settings, address: str, welcome: Welcome | None) -> None:
    await ready.wait()
    greet(settings, address, welcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Minding:
    """What all answering processes share. `ready` is set once the first of them answers."""

    settings: Settings
    env: Mapping[str, str]
    listener: socket.socket
    gather: Path
    stop: Stop
    ready: anyio.Event


async def _keep(number: int, minding: _Minding) -> None:
    """Keep one answering process: start it, and start it again when it dies."""
    descriptor = minding.listener.fileno()
    arguments = ("--fd", str(descriptor), "--number", str(number), "--gather", str(minding.gather))
    what = command("app.serving.answering", *arguments)
    patience_s = minding.settings.drain + _CHILD_GRACE_S
    backoff_s = _LEAST_BACKOFF_S
    while True:
        begun = anyio.current_time()
        async with child(what, minding.env, minding.stop, patience_s=patience_s, descriptors=[descriptor]) as process:
            log.info("answering_started", number=number, pid=process.pid)
            await _hear_ready(process, minding.ready)
            status = await process.wait()
        if anyio.current_time() - begun > _LONG_LIFE_S:
            backoff_s = _LEAST_BACKOFF_S
        log.error("answering_died", number=number, pid=process.pid, status=status, retry_s=backoff_s)
        await anyio.sleep(backoff_s)
        backoff_s = min(_MOST_BACKOFF_S, backoff_s * 2)


async def _hear_ready(process: anyio.abc.Process, ready: anyio.Event) -> None:
    said = b""
    assert process.stdout is not None  # noqa: S101  it is piped
    async for part in process.stdout:
        said += part
        if READY in said:
            ready.set()
            return
