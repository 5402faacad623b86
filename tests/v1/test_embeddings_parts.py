"""Embedding calls of many batches: side by side, and accounted for when they fail half-way (openai.md 1.7, 4, 11)."""

from functools import partial

import anyio
import httpx
import openai
import pytest

from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import official
from tests.v1.ledger import ledger

SLOW = 'slow@@{"head_ms": 400}'
FLAKY = 'flaky@@{"status": 500, "status_from": 4}'


@pytest.mark.promise("openai:4-parallel")
async def test_batches_are_asked_for_side_by_side(client: httpx.AsyncClient, service: Service) -> None:
    answer = await client.post("/v1/embeddings", json={"model": SLOW, "input": [f"t{n}" for n in range(8)]})
    assert answer.status_code == 200
    times = sorted(call["time"] for call in service.upstream.calls())
    assert len(times) == 8  # batches of one
    assert times[3] - times[0] < 0.4 <= times[4] - times[0] + 0.05  # four, each of which takes 0.4 s, then the others
    data = answer.json()["data"]
    [alone] = (await client.post("/v1/embeddings", json={"model": SLOW, "input": "t5"})).json()["data"]
    assert data[5]["embedding"] == alone["embedding"]
    assert answer.json()["usage"]["prompt_tokens"] == 8


@pytest.mark.promise("openai:4-partial", "openai:11-usage")
async def test_a_call_that_fails_half_way_is_paid_for_and_not_repeated(service: Service, tenant: Tenant) -> None:
    async with official(service, tenant, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await client.embeddings.create(model=FLAKY, input=["a b c"] * 9)
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert failed.value.response.request.headers["x-stainless-retry-count"] == "0"
    [row] = await ledger(service, tenant, 1)
    assert (row.kind, row.purpose, row.prompt_tokens) == ("embedding", "raw", 9)


@pytest.mark.promise("openai:4-partial", "openai:1.10-disconnect")
async def test_who_leaves_pays_for_what_came(service: Service, tenant: Tenant) -> None:
    async with service.client(tenant) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(client.post, "/v1/embeddings", json={"model": SLOW, "input": ["a b c"] * 24}))
        await service.upstream.wait_for(lambda calls: len(calls) > 4, timeout_s=10)
        tasks.cancel_scope.cancel()
    await service.upstream.wait_for(lambda calls: any(call["cancelled"] for call in calls), timeout_s=2)
    [row] = await ledger(service, tenant, 1)
    assert 3 <= row.prompt_tokens < 72
