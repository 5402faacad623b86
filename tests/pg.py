"""A real PostgreSQL for the tests: one server per worker, one migrated template, a clone for whoever asks.

`tests/conftest.py` imports the fixtures. Server and template cost about a second per worker, a clone about 30 ms.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.db.embedded import EmbeddedPostgres, run_embedded
from app.db.roles import APP_ROLE, OWNER_ROLE, create_database, create_roles, drop_database

Migrate = Callable[[str, str], Awaitable[None]]
"""Brings the database at an owner's URL up to date and lets an app role use it: `migrations.run.upgrade`."""

TEMPLATE = "parley_template"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrls:
    """One database, as each role sees it. All are `postgresql+asyncpg` URLs."""

    name: str
    app: str
    owner: str
    superuser: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseServer:
    """The worker's server; databases made through it are numbered and dropped again."""

    postgres: EmbeddedPostgres
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def urls(self, name: str) -> DatabaseUrls:
        """Say how to reach database `name`."""
        return DatabaseUrls(
            name=name,
            app=self.postgres.url(user=APP_ROLE, database=name),
            owner=self.postgres.url(user=OWNER_ROLE, database=name),
            superuser=self.postgres.url(user=self.postgres.superuser, database=name),
        )

    @property
    def admin_url(self) -> str:
        """The superuser's URL of the database `postgres`, from which others are made."""
        return self.postgres.url(user=self.postgres.superuser, database="postgres")

    @asynccontextmanager
    async def database(self, *, template: str | None = None) -> AsyncGenerator[DatabaseUrls, None]:
        """Make a database, empty or a clone of `template`; drop it at the end."""
        name = f"test_{next(self._numbers)}"
        await create_database(self.admin_url, name, template=template)
        try:
            yield self.urls(name)
        finally:
            await drop_database(self.admin_url, name)


@contextmanager
def run_server() -> Generator[DatabaseServer, None, None]:
    """Run a server with our roles on a folder of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="parley-test-", dir=_place()))
    folder.chmod(0o711)  # as root the server runs as another user, who has to get through
    try:
        with run_embedded(folder / "postgres", durable=False) as postgres:
            server = DatabaseServer(postgres=postgres)
            run_async(create_roles(server.admin_url))
            yield server
    finally:
        shutil.rmtree(folder)


def _place() -> Path | None:
    """Memory where there is plenty: a clone is a thousand small files, 20 ms there and up to 300 ms on a busy disk."""
    memory = Path("/dev/shm")  # noqa: S108  the folder made in it is private
    if os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free > 2 * 1024**3:
        return memory
    return None


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` from a sync fixture; in a thread, so that the test's own event loop is left alone."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseServer]:
    """The worker's server, with roles and no databases of ours."""
    with run_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrate() -> Migrate:
    """What migrates the template; override it to test something smaller."""
    from migrations.run import upgrade

    return upgrade


@pytest.fixture(scope="session")
def template_database(postgres_server: DatabaseServer, migrate: Migrate) -> DatabaseUrls:
    """A migrated database that is only ever copied, or read by tests that promise to write nothing."""
    template = postgres_server.urls(TEMPLATE)

    async def make() -> None:
        await create_database(postgres_server.admin_url, TEMPLATE)
        await migrate(template.owner, APP_ROLE)

    run_async(make())
    return template


@pytest_asyncio.fixture
async def fresh_database(
    postgres_server: DatabaseServer, template_database: DatabaseUrls
) -> AsyncIterator[DatabaseUrls]:
    """A clone of the migrated template for one test, which may commit, lock and break what it likes."""
    async with postgres_server.database(template=template_database.name) as urls:
        yield urls


@pytest.fixture
def app_url(fresh_database: DatabaseUrls) -> str:
    """The URL of this test's own database as the service reaches it."""
    return fresh_database.app
