"""The process of the embedded PostgreSQL: started, awaited, stopped; and what it said when it would not start."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from app.db.embedded_home import Account, Home
from app.db.embedded_memory import memory_settings
from app.db.process import die_with_parent
from app.domain.errors import Kind, ParleyError

PORT = 5432  # only the name of the socket file; nothing listens on TCP
LOG_LIMIT_BYTES = 10 * 1024 * 1024
_CLEAN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}  # no PG* variable of the user's

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


class DatabaseStartFailed(ParleyError):
    """The embedded PostgreSQL did not start; the message ends with what it said last."""

    kind = Kind.UNAVAILABLE


def run_as(command: Sequence[str | Path], account: Account) -> subprocess.CompletedProcess[str]:
    """Run a command of PostgreSQL to its end; what it says, errors too, is `stdout`."""
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


def start(home: Home, socket_dir: Path, log: Path, *, durable: bool, deadline: float) -> subprocess.Popen[bytes]:
    """Return a server that takes connections in `socket_dir` and writes to `log`; `deadline` is of `time.monotonic`.

    Raises:
        DatabaseStartFailed: it ended, or was not ready in time.
    """
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
            stop(server)
            raise
        if is_ready:
            return server
        ended = server.returncode
        stop(server)
        said = _said_since(log, said_before)
        if ended is not None and "shared memory block" in said and time.monotonic() < deadline:
            time.sleep(0.1)  # backends of a killed server are still leaving
            continue
        how = "took too long to start" if ended is None else f"ended at its start with status {ended}"
        raise DatabaseStartFailed(f"PostgreSQL on {home.cluster} {how}; the end of {log}:\n{tail(said)}")


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


def stop(server: subprocess.Popen[bytes]) -> None:
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


def tail(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.splitlines()[-20:])
