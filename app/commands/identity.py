"""`parley keys` and `parley tenants`: straight on the database, since they make what the API asks for."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import anyio
import typer

from app.commands.telling import AsJson, fail, tell, tell_json, tell_rows
from app.db.engine import create_engine
from app.domain.errors import ParleyError
from app.domain.ids import KeyId, TenantId, new_id
from app.domain.principals import ALL_SCOPES, Caller, KeyKind, Scope, StoredKey, StoredTenant
from app.security.keys import NewKey, make_embed_token, make_key
from app.services.tokens import OVERLAP_MOST_S, TokenPair, TokenService
from app.serving.home import home_for_a_moment, reaching
from app.serving.kept import DEFAULT_TENANT, pepper_of
from app.settings import Settings, read_settings
from repositories.unit_of_work import Database

keys = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True)
tenants = typer.Typer(help="Make and list tenants.", no_args_is_help=True)

T = TypeVar("T")
_DAYS_MOST = 36_500
_TOKENS_MOST = 2**62  # what a column holds, and sums of it

Quota = Annotated[
    int | None, typer.Option(min=0, max=_TOKENS_MOST, help="Tokens it may use per UTC day; else any number.")
]
Tenant = Annotated[str | None, typer.Option(help="Id or name of the tenant; else the first one.")]


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    tenant: Tenant = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; may be repeated; else all.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=_DAYS_MOST, help="Days until it ends; else never.")] = None,
    tokens_per_day: Quota = None,
    embed: Annotated[bool, typer.Option("--embed", help="Make its embed token too, for pages.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: it cannot be shown again."""
    settings = read_settings()

    async def work(database: Database) -> tuple[NewKey, NewKey | None]:
        made = make_key(
            tenant_id=await _tenant_id(database, tenant),
            pepper=pepper_of(settings),
            now=datetime.now(UTC),
            name=name,
            scopes=frozenset(scope) if scope else ALL_SCOPES,
            lifetime=timedelta(days=days) if days else None,
            tokens_per_day=tokens_per_day,
        )
        beta = make_embed_token(made.stored, pepper=pepper_of(settings), now=datetime.now(UTC)) if embed else None
        async with database.unit(made.stored.tenant_id) as unit:
            for one in (made, beta):
                if one is not None:
                    await unit.keys.add(one.stored, one.hash)
        return made, beta

    made, beta = _on_database(settings, work)
    if as_json:
        told = {"embed": beta.secret} if beta is not None else {}
        tell_json({"key": made.secret, **told, **_shown_key(made.stored)})
    else:
        tell(made.secret if beta is None else f"{made.secret}\n{beta.secret}")


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


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="Its id, as `parley keys list` shows it.")],
    tenant: Tenant = None,
    overlap: Annotated[
        int, typer.Option(min=0, max=OVERLAP_MOST_S, help="Seconds that the old secrets go on to work.")
    ] = 3600,
    as_json: AsJson = False,
) -> None:
    """Make new secrets for a key and print them, the API key first and its embed token second."""
    settings = read_settings()

    async def work(database: Database) -> tuple[TokenPair, StoredKey]:
        tenant_id = await _tenant_id(database, tenant)
        operator = Caller(tenant_id=tenant_id, key_id=KeyId(""), kind=KeyKind.API, scopes=ALL_SCOPES)
        async with database.unit(tenant_id) as unit:
            return await TokenService(unit, operator, pepper_of(settings)).rotate(key_id, overlap)

    try:
        pair, old = _on_database(settings, work)
    except ParleyError as error:
        fail(f"{error.message} See `parley keys list`.")
    if as_json:
        told = {"key": pair.key.secret, "embed": pair.beta.secret, "replaces": old.id}
        tell_json({**told, **_shown_key(pair.key.stored)})
    else:
        tell(f"{pair.key.secret}\n{pair.beta.secret}")


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    tokens_per_day: Quota = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant with a first key."""
    settings = read_settings()

    async def work(database: Database) -> NewKey:
        made = make_key(
            tenant_id=TenantId(new_id()), pepper=pepper_of(settings), now=datetime.now(UTC), name="first key"
        )
        async with database.unit(made.stored.tenant_id) as unit:
            await unit.tenants.add(name, tokens_per_day=tokens_per_day)
            await unit.keys.add(made.stored, made.hash)
        return made

    made = _on_database(settings, work)
    if as_json:
        tell_json({"id": made.stored.tenant_id, "name": name, "key": made.secret})
    else:
        tell(f"tenant {made.stored.tenant_id}\nkey    {made.secret}")


@tenants.command("quota")
def set_quota(
    tenant: Annotated[str, typer.Argument(help="Its id or name.")],
    tokens_per_day: Annotated[
        int, typer.Argument(min=-1, max=_TOKENS_MOST, help="Tokens per UTC day of all its keys; -1: any number.")
    ],
) -> None:
    """Set how many tokens a tenant may use per day; it holds within a second."""

    async def work(database: Database) -> TenantId:
        tenant_id = await _tenant_id(database, tenant)
        async with database.unit(tenant_id) as unit:
            await unit.tenants.set_quota(tokens_per_day if tokens_per_day >= 0 else None)
        return tenant_id

    tell(f"quota set of {_on_database(read_settings(), work)}")


@tenants.command("list")
def list_tenants(as_json: AsJson = False) -> None:
    """List the tenants."""
    found = _on_database(read_settings(), _all_tenants)
    rows: list[dict[str, Any]] = [
        {"id": each.id, "name": each.name, "created": each.created_at, "tokens_per_day": each.tokens_per_day}
        for each in found
    ]
    tell_rows(rows, as_json=as_json)


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
        "tokens_per_day": key.tokens_per_day,
    }


def _shown_time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment is not None else None
