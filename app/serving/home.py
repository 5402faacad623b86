"""The database a command works on: our own PostgreSQL for as long as a block lasts, or an outside one."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from sqlalchemy import make_url

from app.db.embedded import SUPERUSER, EmbeddedPostgres, run_embedded
from app.db.roles import APP_ROLE, OWNER_ROLE, create_database, create_roles
from app.db.soundness import look_at_role
from app.domain.errors import ParleyError
from app.settings import Settings
from migrations.run import check, upgrade
from repositories.failures import DATABASE_FAILURES

DATABASE = "parley"


class RoleRefused(ParleyError):
    """The app role could see past the tenant wall; the message says what to do."""


class DatabaseUnreachable(ParleyError):
    """The database does not answer, or not to the role that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where the database is. `postgres` is ours, if it is ours."""

    app_url: str
    postgres: EmbeddedPostgres | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether the service runs it."""
        return self.postgres is not None


@contextmanager
def home_of(settings: Settings) -> Generator[Home, None, None]:
    """Start the embedded PostgreSQL unless the settings name another; enter it on the main thread, before any loop.

    Raises as `run_embedded`.
    """
    if settings.database_url is not None:
        yield Home(app_url=settings.database_url)
        return
    with run_embedded(settings.data_dir / "postgres") as postgres:
        yield embedded_home(postgres)


@contextmanager
def home_for_a_moment(settings: Settings) -> Generator[Home, None, None]:
    """Join the PostgreSQL of a running service, else start it for as long as the block lasts. Raises as `home_of`."""
    postgres = None if settings.database_url is not None else _running(settings.data_dir / "postgres")
    if postgres is not None:
        yield embedded_home(postgres)
        return
    with home_of(settings) as home:
        if home.is_embedded:
            anyio.run(make_fit, home)
        yield home


def _running(folder: Path) -> EmbeddedPostgres | None:
    """Return the server that works on `folder`, if it takes connections: its pid file says where."""
    try:
        lines = (folder / "cluster" / "postmaster.pid").read_text().split("\n")
        port, socket_dir = int(lines[3]), Path(lines[4])
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(socket_dir / f".s.PGSQL.{port}"))
    except (OSError, ValueError, IndexError):
        return None
    return EmbeddedPostgres(socket_dir=socket_dir, port=port, superuser=SUPERUSER)


@contextmanager
def reaching(url: str) -> Generator[None, None, None]:
    """Turn failures to talk to the database at `url` into one that says where, and never with which password.

    Raises:
        DatabaseUnreachable: it does not answer, or not to us.
    """
    try:
        yield
    except DATABASE_FAILURES as error:
        where = make_url(url)
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise DatabaseUnreachable(
            f"The database {where.database} at {where.host or where.query.get('host')}:{where.port or 5432} "
            f"(role {where.username}) cannot be used: {reason}"
        ) from error


def embedded_home(postgres: EmbeddedPostgres) -> Home:
    """Return the home in a running embedded PostgreSQL."""
    return Home(app_url=postgres.url(user=APP_ROLE, database=DATABASE), postgres=postgres)


async def make_fit(home: Home) -> None:
    """Bring our own database up to date; of another, demand that it is.

    Raises:
        SchemaBehind: the outside database lacks migrations.
        RoleRefused: its app role can see past the tenant wall.
    """
    if home.postgres is not None:
        superuser = home.postgres.url(user=home.postgres.superuser, database="postgres")
        await create_roles(superuser)
        await create_database(superuser, DATABASE)
        await upgrade(home.postgres.url(user=OWNER_ROLE, database=DATABASE), APP_ROLE)
        return
    with reaching(home.app_url):
        role = await look_at_role(home.app_url)
        if not role.is_fine:
            raise RoleRefused(f"The database role {role.told}; {role.fix}.")
        await check(home.app_url)
