"""Fixtures for models: the scripted provider, an HTTP client, a deadline."""

from collections.abc import AsyncIterator

import pytest

from app.net.http import HttpClient
from tests.upstream.fixtures import upstream, upstream_process

__all__ = ["http", "upstream", "upstream_process"]


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client
