"""The official npm client's helpers and Vercel's AI SDK, unmodified, against a running service (openai.md 12)."""

import subprocess
from pathlib import Path

import pytest
from anyio import run_process

from tests.clients.test_openai_walks import node_client
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import knowing
from tests.v1.raw import service

__all__ = ["node_client", "service"]

NODE = Path(__file__).resolve().parent / "node"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.usefixtures("node_client")]


async def walked(script: str, service: Service, tenant: Tenant) -> str:
    """Return what a walk says, which must come to its end."""
    chat = await service.chat(tenant)
    known = await knowing(service, tenant)
    arguments = [f"{service.base_url}/v1", tenant.key, "able", chat.id, known.chat.id, "embed"]
    done = await run_process(
        ["node", script, *arguments], cwd=NODE, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    told = done.stdout.decode()
    assert done.returncode == 0, f"{told[-1500:]}\n{done.stderr.decode()[-2500:]}"
    return told


@pytest.mark.promise(
    "openai:CC-04", "openai:CC-04-tools", "openai:CC-11", "openai:CC-25", "openai:C-02", "openai:12-node", "openai:T-12"
)
async def test_the_helpers_of_the_npm_client(service: Service, tenant: Tenant) -> None:
    assert (await walked("chat_walk.mjs", service, tenant)).count("ok  ") == 21


@pytest.mark.promise("openai:C-03", "openai:12-ai-sdk")
async def test_the_ai_sdk_takes_every_chunk_and_shows_sources(service: Service, tenant: Tenant) -> None:
    assert (await walked("ai_sdk_walk.mjs", service, tenant)).count("ok  ") == 14
