"""What OpenAI clients are told of the tokens of a day (openai.md 1.3): no statement more than their calls need."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from app.domain.ids import KeyId, TenantId, new_id
from app.domain.limits import TokenQuota, TokenStanding
from app.security.keys import make_key
from app.security.quotas import Quotas
from app.wire.limits import token_headers
from repositories.statements import Statement
from repositories.unit_of_work import Database
from tests.conftest import PEPPER
from tests.limits.test_quotas import SPENT, ask, counted, limited_tenant, service
from tests.service import Service, scripted

__all__ = ["service"]

_RESET = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(\d+)s|\d+ms")


def told(answer: httpx.Response) -> tuple[int, int]:
    """Return limit and rest of the tokens as an answer tells them; it resets at the next midnight."""
    found = _RESET.fullmatch(answer.headers["x-ratelimit-reset-tokens"])
    assert found is not None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
    off_s = abs((midnight - now).total_seconds() - (hours * 3600 + minutes * 60 + seconds))
    assert min(off_s, 86400 - off_s) < 5
    return int(answer.headers["x-ratelimit-limit-tokens"]), int(answer.headers["x-ratelimit-remaining-tokens"])


def raw(**directive: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [{"role": "user", "content": scripted(**directive)}], "max_tokens": 100}


@contextmanager
def statements(pattern: str) -> Generator[list[str]]:
    """Record the statements with `pattern` that are sent straight to the driver in the block."""
    seen: list[str] = []
    plain = Statement.arguments

    def arguments(statement: Statement, values: dict[str, Any]) -> list[Any]:
        if pattern in statement.sql:
            seen.append(statement.sql)
        return plain(statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Statement, "arguments", arguments)
        yield seen


@pytest.mark.promise("openai:1.3-ratelimit-tokens")
async def test_every_answer_of_a_key_with_a_quota_tells_what_is_left(service: Service) -> None:
    """Whole, streamed, of assistants and raw models, lists and refusals; what is reserved is not left."""
    tenant = await limited_tenant(service, of_key=50_000)
    chat = await service.chat(tenant)
    async with service.client(tenant) as client:
        models = await client.get("/v1/models")
        assert told(models) == (50_000, 50_000)
        wrong = await client.post("/v1/chat/completions", json={"model": "nothing"})
        assert (wrong.status_code, told(wrong)) == (404, (50_000, 50_000))
        whole = await client.post("/v1/chat/completions", json=raw(pieces=5))
        assert whole.status_code == 200
        limit, left = told(whole)
        assert limit == 50_000
        assert 50_000 - 200 < left <= 50_000 - 100  # its own reservation: 100 tokens, and those of the question
        used = whole.json()["usage"]["total_tokens"]
        for path, body in (
            ("/v1/chat/completions", raw(pieces=5) | {"stream": True}),
            ("/v1/chat/completions", raw(pieces=5) | {"model": chat.id}),
            ("/v1/chat/completions", raw(pieces=5) | {"model": chat.id, "stream": True}),
            (f"/api/v1/chats_openai/{chat.id}/chat/completions", raw(pieces=5)),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 200
            limit, left = told(answer)
            assert limit == 50_000
            assert left < 50_000 - used - 100 + 1
            used = (await counted(service.database, tenant.id, tenant.key_id))[0]
        native = await client.get("/api/v1/chats")
        assert not [name for name in native.headers if name.endswith("-tokens")]


@pytest.mark.promise("openai:1.3-ratelimit-tokens")
async def test_without_a_quota_nothing_is_told(service: Service) -> None:
    tenant = await service.tenant()
    async with service.client(tenant) as client:
        for answer in (
            await client.get("/v1/models"),
            await client.post("/v1/chat/completions", json=raw(pieces=2)),
        ):
            assert answer.status_code == 200
            assert not [name for name in answer.headers if name.endswith("-tokens")]


@pytest.mark.promise("openai:1.3-ratelimit-tokens")
async def test_a_call_that_is_refused_is_told_that_nothing_is_left(service: Service) -> None:
    tenant = await limited_tenant(service, of_tenant=10)
    async with service.client(tenant) as client:
        assert (await client.post("/v1/chat/completions", json=raw(pieces=40))).status_code == 200
        for body in (raw(), raw() | {"stream": True}):
            refused = await client.post("/v1/chat/completions", json=body)
            assert (refused.status_code, told(refused)) == (429, (10, 0))
            assert refused.json()["error"]["code"] == "insufficient_quota"


@pytest.mark.promise("openai:1.3-tokens-smaller")
async def test_the_smaller_of_what_applies_is_told(service: Service) -> None:
    """Key and tenant; what hangs on the key counts with it, what another key used with the tenant alone."""
    tenant = await limited_tenant(service, of_key=1000, of_tenant=1200)
    made = make_key(tenant_id=tenant.id, pepper=PEPPER, now=datetime.now(UTC), parent_id=tenant.key_id)
    async with service.database.unit(tenant.id) as unit:
        await unit.keys.add(made.stored, made.hash)
        await unit.usage.add([SPENT], api_key_id=made.stored.id)
    quotas, quota = service.parts.quotas, TokenQuota(key_id=tenant.key_id, of_key=1000, of_tenant=1200)
    since = float("inf")

    async def standing(repository: Database = service.database) -> tuple[int, int]:
        found = await Quotas(repository, service.parts.engine.process_id).standing(tenant.id, quota, since_s=since)
        assert found is not None
        assert 0 < found.left_s <= 86_400
        return found.limit, found.remaining

    assert await standing() == (1000, 1000 - 111)
    async with service.database.unit(tenant.id) as unit:
        await unit.usage.add([SPENT, SPENT, SPENT], api_key_id=KeyId("another"))
    assert await standing() == (1200, 1200 - 444)
    async with quotas.held(tenant.id, quota, 300):  # from here on the day is counted
        assert await standing() == (1200, 1200 - 444 - 300)
        async with service.database.unit(tenant.id) as unit:
            await unit.usage.add([SPENT], api_key_id=tenant.key_id)
        assert await standing() == (1200, 1200 - 555 - 300)
    assert await standing() == (1200, 1200 - 555)
    async with service.database.quotas_alone(TenantId(new_id())) as others:
        assert (await others.standing(quota)).remaining == 1000  # nothing of this tenant is seen from there


@pytest.mark.promise("openai:1.3-tokens-one-trip")
async def test_a_call_that_reserves_asks_no_second_time(service: Service) -> None:
    """What is left comes with the reservation; of calls that reserve nothing, one in a second asks."""
    tenant = await limited_tenant(service, of_key=50_000)
    chat = await service.chat(tenant)
    async with service.client(tenant) as client:
        for body in (raw(pieces=2), raw(pieces=2) | {"stream": True}, raw(pieces=2) | {"model": chat.id}):
            with statements("remaining") as seen:
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            assert [("reserve_tokens" in one) for one in seen] == [True]
            with statements("remaining") as seen:
                assert (await client.get("/v1/models")).status_code == 200
            assert seen == []
        await anyio.sleep(1.05)
        with statements("remaining") as seen:
            for _ in range(5):
                assert (await client.get("/v1/models")).status_code == 200
        assert len(seen) <= 2
        with statements("remaining") as seen:  # a slow call is told what was so when it began
            slow = raw(pieces=2, head_ms=1300)
            assert (await client.post("/v1/chat/completions", json=slow)).status_code == 200
        assert [("reserve_tokens" in one) for one in seen] == [True]


@pytest.mark.promise("openai:1.3-ratelimit-tokens")
async def test_a_database_that_is_away_costs_the_headers_alone(service: Service) -> None:
    tenant, quota = TenantId(new_id()), TokenQuota(key_id=KeyId("k"), of_key=10)

    class Away:
        def quotas_alone(self, _: TenantId) -> Any:
            raise OSError("away")

    assert await Quotas(Away(), service.parts.engine.process_id).standing(tenant, quota, since_s=0) is None  # type: ignore[arg-type]


@pytest.mark.promise("openai:1.3-ratelimit-tokens")
def test_the_reset_is_a_duration() -> None:
    assert token_headers(TokenStanding(limit=10, remaining=0, left_s=21_602)) == [
        (b"x-ratelimit-limit-tokens", b"10"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"6h0m2s"),
    ]


@pytest.mark.promise("openai:1.3-ratelimit-tokens")
async def test_the_chats_openai_route_of_an_assistant_tells_it_too(service: Service) -> None:
    tenant = await limited_tenant(service, of_key=50_000)
    chat = await service.chat(tenant)
    async with service.client(tenant) as client:
        assert told(await ask(client, chat.id))[0] == 50_000
