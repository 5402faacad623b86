"""The whole service on a socket."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from tests.bots.world import embedded
from tests.conftest import Tenant
from tests.contract.routes import Operation
from tests.service import Service
from tests.service_fixtures import chat, client, service, tenant, upstream, upstream_process

__all__ = ["chat", "client", "service", "tenant", "upstream", "upstream_process"]  # fixtures, found by name


@dataclass(frozen=True)
class Callers:
    """A tenant's server with its key, and a page of the tenant with its embed token."""

    server: httpx.AsyncClient
    page: httpx.AsyncClient

    def of(self, one: Operation) -> httpx.AsyncClient:
        """Return who may call this route."""
        return self.page if one.is_page else self.server


@pytest.fixture
async def callers(service: Service, tenant: Tenant, client: httpx.AsyncClient) -> AsyncIterator[Callers]:
    async with (await embedded(service, tenant, "")).client as page:
        yield Callers(client, page)
