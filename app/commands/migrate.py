"""`parley migrate`: roles, database and schema, made by the owner; or only a look whether they are up to date."""

from typing import Annotated

import anyio
import asyncpg
import typer
from sqlalchemy import make_url

from app.commands.telling import fail, tell
from app.db.roles import APP_ROLE, create_database, create_roles
from app.serving.home import home_for_a_moment, make_fit, reaching
from app.settings import Settings, read_settings
from migrations.run import check as check_schema
from migrations.run import upgrade


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; 1 when something is to be done.")] = False,
) -> None:
    """Bring the database up to date; of an outside one, PARLEY_DATABASE_OWNER_URL names the owner."""
    settings = read_settings()
    if check:
        with home_for_a_moment(settings) as home, reaching(home.app_url):
            anyio.run(check_schema, home.app_url)
    elif settings.database_url is None:
        with home_for_a_moment(settings) as home:
            anyio.run(make_fit, home)
    else:
        _migrate_outside(settings, settings.database_url)
    tell("the database is up to date")


def _migrate_outside(settings: Settings, app_url: str) -> None:
    owner_url, app = settings.database_owner_url, make_url(app_url)
    if owner_url is None:
        fail("PARLEY_DATABASE_OWNER_URL is needed: the URL of the role that owns the database", 2)
    if app.username != APP_ROLE or app.database is None:
        fail(f"PARLEY_DATABASE_URL must name the role {APP_ROLE} and a database", 2)
    with reaching(owner_url):
        try:
            anyio.run(_migrate, owner_url, app.password, app.database)
        except asyncpg.InsufficientPrivilegeError as error:
            fail(f"{error}: let a superuser run `parley migrate` once, or make the roles and the extension for it")


async def _migrate(owner_url: str, app_password: object, database: str) -> None:
    await create_roles(owner_url, app_password=None if app_password is None else str(app_password))
    await create_database(owner_url, database)
    inside = make_url(owner_url).set(database=database).render_as_string(hide_password=False)
    await upgrade(inside, APP_ROLE)
