"""The folder of the embedded PostgreSQL's socket: private, and of a path short enough for one."""

import os
import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from app.db.embedded_home import Home
from app.db.embedded_server import PORT, DatabaseStartFailed

_SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)


@contextmanager
def socket_folder(home: Home, data_dir: Path) -> Generator[Path, None, None]:
    """Give a private folder whose socket path is short and plain: `run/` beside the cluster, else a temporary one.

    Raises:
        DatabaseStartFailed: no folder will do.
    """
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
