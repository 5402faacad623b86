"""What every test may ask for: a database of its own, tenants with keys, a client of the whole app."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from app.db.engine import create_engine
from app.domain.ids import KeyId, TenantId, new_id
from app.domain.principals import ALL_SCOPES, Scope
from app.security.keys import make_key
from repositories.unit_of_work import Database
from tests.logs import plain_logs
from tests.pg import DatabaseUrls, fresh_database, migrate, postgres_server, template_database
from tests.upstream.fixtures import upstream, upstream_process

__all__ = [  # fixtures, found by name
    "fresh_database",
    "migrate",
    "postgres_server",
    "template_database",
    "upstream",
    "upstream_process",
]

PEPPER = b"tests only"


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist hand files out in our order; in its own, those of few tests come last, though some run a minute."""
    plain_logs()
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first and those of few quick tests last, so that the workers end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -tests[item.path]))


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with one key."""

    id: TenantId
    key_id: KeyId
    key: str

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


MakeTenant = Callable[..., Awaitable[Tenant]]


@pytest.fixture
async def database(fresh_database: DatabaseUrls) -> AsyncIterator[Database]:
    """A database of this test's own, reached as the app role."""
    database = Database(create_engine(fresh_database.app, pool_size=10))
    yield database
    await database.close()


@pytest.fixture
def make_tenant(database: Database) -> MakeTenant:
    """Make a tenant with a key."""

    async def make(name: str = "acme", scopes: frozenset[Scope] = ALL_SCOPES) -> Tenant:
        tenant_id = TenantId(new_id())
        key = make_key(tenant_id=tenant_id, pepper=PEPPER, now=datetime.now(UTC), scopes=scopes)
        async with database.unit(tenant_id) as unit:
            await unit.tenants.add(name)
            await unit.keys.add(key.stored, key.hash)
        return Tenant(tenant_id, key.stored.id, key.secret)

    return make


@pytest.fixture
async def tenant(make_tenant: MakeTenant) -> Tenant:
    return await make_tenant()


@pytest.fixture
async def rival(make_tenant: MakeTenant) -> Tenant:
    """Another tenant, who must see nothing of the first."""
    return await make_tenant("rival")
