"""The whole service on a socket, and an answerer alone with models that do as they are told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.llm.entries import ModelEntry
from routers.deps import EdgeConfig
from tests.pg import DatabaseUrls
from tests.service import Service, served
from tests.service_fixtures import chat, client, tenant, upstream, upstream_process
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream

__all__ = ["chat", "client", "tenant", "upstream", "upstream_process"]  # fixtures, found by name


@pytest.fixture
async def service(fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Service]:
    """A service with a second chat model, which is not the default one; its SSE streams say `: ping` every second."""
    second = ModelEntry(
        name="second", provider="tests", kind="chat", base_url=upstream.base_url, api_key="upstream-secret"
    )
    edge = EdgeConfig(ping_s=1)
    async with in_a_task(served(fresh_database, upstream, tmp_path, edge=edge, entries=[second])) as found:
        yield found
