"""`parley keys` and `parley tenants`: straight on the database, since they make what the API asks for."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import anyio
import typer

from app.commands.telling import AsJson, fail, tell, tell_json, tell_rows
from app.db.engine import create_engine
from app.domain.ids import KeyId, TenantId, new_id
from app.domain.principals import ALL_SCOPES, Scope, StoredKey, StoredTenant
from app.security.keys import NewKey, make_key
from app.serving.first_start import DEFAULT_TENANT, pepper_of
from app.serving.home import home_for_a_moment, reaching
from app.settings import Settings, read_settings
from repositories.unit_of_work import Database

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
tenants = typer.Typer(help="Make and list tenants.", no_args_is_help=True)

T = TypeVar("T")
Tenant = Annotated[str | None, typer.Option(help="Id or name of the tenant; else the first one.")]


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    tenant: Tenant = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; may be repeated; else all.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it ends; else never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it cannot be shown again."""
    settings = read_settings()

    async def work(database: Database) -> NewKey:
        made = make_key(
            tenant_id=await _tenant_id(database, tenant),
            pepper=pepper_of(settings),
            now=datetime.now(UTC),
            name=name,
            scopes=frozenset(scope) if scope else ALL_SCOPES,
            lifetime=timedelta(days=days) if days else None,
        )
        async with database.unit(made.stored.tenant_id) as unit:
            await unit.keys.add(made.stored, made.hash)
        return made

    made = _on_database(settings, work)
    if as_json:
        tell_json({"key": made.secret, **_shown_key(made.stored)})
    else:
        tell(made.secret)


@keys.command("list")
def list_keys(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List a tenant's keys, without their secrets."""

    async def work(database: Database) -> list[StoredKey]:
        async with database.unit(await _tenant_id(database, tenant)) as unit:
            return await unit.keys.all()

    tell_rows([_shown_key(key) for key in _on_database(read_settings(), work)], as_json=as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="Its id, as `parley keys list` shows it.")], tenant: Tenant = None
) -> None:
    """End a key; within a second no process takes it any more."""

    async def work(database: Database) -> bool:
        async with database.unit(await _tenant_id(database, tenant)) as unit:
            return await unit.keys.revoke(KeyId(key_id))

    if not _on_database(read_settings(), work):
        fail(f"there is no live key {key_id}; see `parley keys list`")
    tell(f"revoked {key_id}")


@tenants.command("create")
def create_tenant(name: Annotated[str, typer.Argument(help="What to call it.")], as_json: AsJson = False) -> None:
    """Make a tenant with a first key."""
    settings = read_settings()

    async def work(database: Database) -> NewKey:
        made = make_key(
            tenant_id=TenantId(new_id()), pepper=pepper_of(settings), now=datetime.now(UTC), name="first key"
        )
        async with database.unit(made.stored.tenant_id) as unit:
            await unit.tenants.add(name)
            await unit.keys.add(made.stored, made.hash)
        return made

    made = _on_database(settings, work)
    if as_json:
        tell_json({"id": made.stored.tenant_id, "name": name, "key": made.secret})
    else:
        tell(f"tenant {made.stored.tenant_id}\nkey    {made.secret}")


@tenants.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants."""
    found = _on_database(read_settings(), _all_tenants)
    tell_rows([{"id": each.id, "name": each.name, "created": each.created_at} for each in found], as_json=as_json)


async def _all_tenants(database: Database) -> list[StoredTenant]:
    async with database.dispatch() as dispatch:
        return await dispatch.tenants()


async def _tenant_id(database: Database, wanted: str | None) -> TenantId:
    found = await _all_tenants(database)
    if wanted is None and any(each.id == DEFAULT_TENANT for each in found):
        return DEFAULT_TENANT
    matching = [each.id for each in found if wanted in (each.id, each.name)]
    if len(matching) == 1:
        return matching[0]
    if wanted is None:
        fail("there is no tenant yet: start `parley serve` once, or `parley tenants create NAME`")
    return fail(f"{'several tenants are' if matching else 'no tenant is'} called {wanted}; see `parley tenants list`")


def _on_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run(url: str) -> T:
        database = Database(create_engine(url, pool_size=1))
        try:
            return await work(database)
        finally:
            await database.close()

    with home_for_a_moment(settings) as home, reaching(home.app_url):
        return anyio.run(run, home.app_url)


def _shown_key(key: StoredKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "key_shown": f"{key.prefix}…{key.last4}",
        "kind": key.kind.value,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "created": _shown_time(key.created_at),
        "expires": _shown_time(key.expires_at),
        "revoked": _shown_time(key.revoked_at),
        "last_used": _shown_time(key.last_used_at),
    }


def _shown_time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment is not None else None
