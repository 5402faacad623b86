"""A short fuzz over our own OpenAPI page: no 5xx, no answer the page does not tell of (design.md 6)."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
import schemathesis
from anyio import to_thread
from hypothesis import HealthCheck, Phase, given, settings

from tests.conftest import Tenant
from tests.contract.routes import MACHINES
from tests.service import Service

EXAMPLES = 12


@pytest.fixture
async def quick(service: Service, tenant: Tenant) -> AsyncIterator[httpx.Client]:
    with httpx.Client(base_url=service.base_url, headers=tenant.auth, timeout=20) as client:
        yield client


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_generated_calls_get_answers_of_the_contract(service: Service, quick: httpx.Client) -> None:
    await service.chat(await service.tenant())
    schema = schemathesis.openapi.from_dict(service.app.openapi())
    problems: list[str] = []
    tried = 0
    with anyio.fail_after(280):
        for result in schema.get_all_operations():
            operation: Any = result.ok()  # type: ignore[union-attr]  # our own page has no broken operation
            if operation.path in MACHINES:
                continue
            tried += 1
            await to_thread.run_sync(_fuzz, operation, quick, problems)
    assert tried > 15
    assert problems == []


def _fuzz(operation: Any, client: httpx.Client, problems: list[str]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=operation.as_strategy())
    def one(case: Any) -> None:
        try:
            answer = case.call(base_url=str(client.base_url), headers=dict(client.headers), timeout=20)
        except (OSError, ValueError, TypeError, AttributeError):
            return  # the client cannot send it
        where = f"{operation.method.upper()} {operation.path}: {answer.status_code} {answer.text[:200]}"
        if answer.status_code >= 500:
            problems.append(where)
        elif answer.status_code >= 400:
            envelope = answer.json()
            wanted = {"code", "message"} if "/dify/" in operation.path else {"code", "message", "data"}
            if not wanted <= set(envelope) or not envelope["message"]:
                problems.append(where)

    one()
