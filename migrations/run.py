"""Runs the migrations as the owner role, and says what is still to be run."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.domain.errors import ParleyError

_MIGRATION_LOCK = 7_012_027_101_119  # one migration at a time per database; any fixed number


class SchemaBehind(ParleyError):
    """The database has not had all migrations; `parley migrate` runs them."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


async def upgrade(owner_url: str, app_role: str, target: str = "head") -> None:
    """Bring the database at `owner_url` to `target` and let `app_role` use it.

    Safe to call from several processes at once: the second waits and finds nothing to do.
    """
    engine = create_async_engine(owner_url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.commit()
            await connection.run_sync(_run, app_role, target)
            await connection.commit()
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.commit()
    finally:
        await engine.dispose()


def _run(connection: Connection, app_role: str, target: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["app_role"] = app_role
    current = MigrationContext.configure(connection).get_current_revision()
    going_down = current is not None and target != "head" and target not in _ahead_of(current)
    if going_down:
        command.downgrade(config, target)
    else:
        command.upgrade(config, target)


def _ahead_of(revision: str) -> set[str]:
    scripts = ScriptDirectory.from_config(_config())
    return {script.revision for script in scripts.iterate_revisions("head", revision)} | {revision}


async def check(url: str) -> None:
    """Return when every migration has run.

    Raises:
        SchemaBehind: some have not; the message says which revision is there and which is wanted.
    """
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(lambda c: MigrationContext.configure(c).get_current_revision())
    finally:
        await engine.dispose()
    if found != wanted:
        message = f"The database is at revision {found or 'none'}, this version needs {wanted}: run `parley migrate`."
        raise SchemaBehind(message)
