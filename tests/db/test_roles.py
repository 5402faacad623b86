"""The roles own no more than they should, and making them again changes nothing."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy import make_url

from app.db.roles import APP_ROLE, create_database, create_roles, drop_database
from tests.pg import DatabaseServer, run_server


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    """A server of this module's own, since roles belong to a whole server."""
    with run_server() as server:
        yield server


async def value(url: str, *statements: str) -> object:
    """Run `statements` over one connection; return the first value of the last."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


async def test_roles_and_database_can_be_made_again_and_by_several_at_once(server: DatabaseServer) -> None:
    roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'parley%'"
    databases = "SELECT count(*) FROM pg_database WHERE datname = 'again'"
    await asyncio.gather(*(create_roles(server.admin_url) for _ in range(4)))
    assert await value(server.admin_url, roles) == 3
    for _ in range(2):
        await create_database(server.admin_url, "again")
        assert await value(server.admin_url, databases) == 1
    for _ in range(2):
        await drop_database(server.admin_url, "again")
        assert await value(server.admin_url, databases) == 0


async def test_a_role_that_was_given_too_much_is_put_right(server: DatabaseServer) -> None:
    await value(server.admin_url, f"ALTER ROLE {APP_ROLE} SUPERUSER BYPASSRLS INHERIT", "SELECT 1")
    await create_roles(server.admin_url)
    right = "SELECT NOT (rolsuper OR rolbypassrls OR rolinherit) FROM pg_roles WHERE rolname = 'parley_app'"
    assert await value(server.admin_url, right) is True


async def test_the_app_role_may_connect_but_make_nothing(server: DatabaseServer) -> None:
    async with server.database() as urls:
        assert await value(urls.app, "SELECT current_user::text") == "parley_app"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await value(urls.app, "CREATE TABLE mine ()", "SELECT 1")
        await value(urls.owner, "CREATE TABLE theirs ()", "SELECT 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await value(urls.app, "SELECT count(*) FROM theirs")


async def test_what_the_dispatch_role_sees_has_to_be_asked_for(server: DatabaseServer) -> None:
    async with server.database() as urls:
        await value(urls.owner, "CREATE TABLE seen ()", "GRANT SELECT ON seen TO parley_dispatch", "SELECT 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await value(urls.app, "SELECT count(*) FROM seen")
        assert await value(urls.app, "SET ROLE parley_dispatch", "SELECT count(*) FROM seen") == 0


async def test_the_owner_is_not_let_past_a_wall(server: DatabaseServer) -> None:
    async with server.database() as urls:
        wall = ("ALTER TABLE walled ENABLE ROW LEVEL SECURITY", "ALTER TABLE walled FORCE ROW LEVEL SECURITY")
        await value(urls.owner, "CREATE TABLE walled AS SELECT 1 AS row", *wall, "SELECT 1")
        assert await value(urls.owner, "SELECT count(*) FROM walled") == 0


async def test_a_clone_starts_as_its_template_and_goes_its_own_way(server: DatabaseServer) -> None:
    async with server.database() as template:
        await value(template.owner, "CREATE TABLE copied AS SELECT 7 AS row", "SELECT 1")
        async with server.database(template=template.name) as clone:
            assert await value(clone.owner, "UPDATE copied SET row = 8 RETURNING row") == 8
            assert await value(clone.superuser, "SELECT '[1]'::vector::text") == "[1]"
        assert await value(template.owner, "SELECT row FROM copied") == 7


async def test_a_password_is_set_when_one_is_given(server: DatabaseServer) -> None:
    await create_roles(server.admin_url, app_password="it's \\ odd")
    stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'parley_app'"
    assert str(await value(server.admin_url, stored)).startswith("SCRAM-SHA-256$")
