"""A service that tests share, on the scripted provider; those that stop or break one start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.running import Service, own_folder, serving
from tests.upstream.fixtures import ScriptedUpstream, upstream, upstream_process

__all__ = ["upstream", "upstream_process"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with own_folder() as folder:
        yield folder


def scripted(upstream: ScriptedUpstream) -> dict[str, str]:
    """The settings that name the scripted provider."""
    return {"LLM_BASE_URL": upstream.base_url, "LLM_MODEL": "scripted", "LLM_API_KEY": "upstream-secret-canary"}


@pytest.fixture(scope="session")
def service(upstream_process: ScriptedUpstream) -> Iterator[Service]:
    """A service that is only talked to."""
    with own_folder() as folder, serving(folder, BODY_MAX_BYTES="4096", **scripted(upstream_process)) as service:
        yield service
