"""Fixtures of folders that test the whole service on a socket, with the scripted upstream behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.domain.chats import Chat
from routers.deps import EdgeConfig
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream, upstream, upstream_process

__all__ = ["chat", "client", "service", "tenant", "upstream", "upstream_process"]


@pytest.fixture
async def service(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    """A service whose SSE streams say `: ping` every second."""
    async with in_a_task(served(fresh_database, upstream, tmp_path, edge=EdgeConfig(ping_s=1))) as found:
        yield found


@pytest.fixture
async def tenant(service: Service) -> Tenant:
    return await service.tenant()


@pytest.fixture
async def chat(service: Service, tenant: Tenant) -> Chat:
    return await service.chat(tenant)


@pytest.fixture
async def client(service: Service, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the tenant's key."""
    async with service.client(tenant) as client:
        yield client
