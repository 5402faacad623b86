"""API tokens: made, listed, ended (conversations.md 9)."""

import hashlib
import hmac
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import delete, select, text, update

from app.db.engine import create_engine
from app.db.identity import api_keys, tenants
from app.domain.chats import Chat
from app.domain.principals import Scope, StoredKey
from app.security.keys import hash_secret
from tests.conftest import PEPPER, Tenant
from tests.pg import DatabaseUrls
from tests.service import Service
from tests.tokens.world import TOKENS, listed, make, opens, told

URL_SAFE = r"[A-Za-z0-9_-]"
IMPOSSIBLE: list[dict[str, Any]] = [
    {"name": 5},
    {"name": "x" * 256},
    {"scopes": "read"},
    {"scopes": ["everything"]},
    {"scopes": [1]},
    {"scopes": []},
    {"expires_at": "tomorrow"},
    {"expires_at": 0},
    {"expires_at": 1e300},
    {"expires_in": -1},
    {"expires_in": 1e30},
    {"expires_in": 60, "expires_at": 4e9},
    {"tokens_per_day": -1},
    {"tokens_per_day": 1.5},
    {"tokens_per_day": 2**63},
]
UNKNOWN = (401, 103, "Authentication error: API key is invalid!")


@pytest.mark.promise("conversations:9-create")
async def test_a_token_as_the_call_shows_it_that_made_it(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await make(client)

    assert re.fullmatch(rf"ragflow-{URL_SAFE}{{43}}", made["token"])
    assert re.fullmatch(rf"{URL_SAFE}{{32}}", made["beta"])
    assert abs(made["create_time"] / 1000 - time.time()) < 10
    assert int(parsedate_to_datetime(made["create_date"]).timestamp()) == made["create_time"] // 1000
    assert made == {
        "tenant_id": tenant.id,
        "token": made["token"],
        "beta": made["beta"],
        "create_time": made["create_time"],
        "create_date": made["create_date"],
        "update_time": None,
        "update_date": None,
        "id": made["id"],
        "name": "",
        "scopes": ["chat", "manage", "read"],
        "expires_at": None,
        "tokens_per_day": None,
    }


@pytest.mark.promise("conversations:9-create", "conversations:1.4-two-secrets")
async def test_its_secrets_open_what_they_are_for(service: Service, client: httpx.AsyncClient, chat: Chat) -> None:
    made = await make(client)

    info = f"/api/v1/chatbots/{chat.id}/info"
    assert await opens(service, made["token"])
    assert await opens(service, made["beta"], info)
    async with service.client() as bare:
        for secret, path in ((made["beta"], "/api/v1/chats"), (made["token"], info)):
            answer = await bare.get(path, headers={"Authorization": f"Bearer {secret}"})
            assert told(answer) == (403, 104, "This kind of key may not be used here.")


@pytest.mark.promise("conversations:9-aliases")
async def test_the_older_paths_do_the_same(service: Service, client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/system/new_token", json={"name": "old"})).json()["data"]

    rows = (await client.get("/v1/system/token_list")).json()["data"]
    for path in (TOKENS, "/compat/0.22/v1/system/token_list"):
        assert (await client.get(path)).json() == {"code": 0, "data": rows}
    assert [row["id"] for row in rows if row["name"] == "old"] == [made["id"]]
    assert (await client.delete(f"/v1/system/token/{made['token']}")).json() == {"code": 0, "data": True}
    assert made["id"] not in await listed(client)


@pytest.mark.promise("conversations:9-list", "conversations:9-shown-once")
async def test_a_list_shows_the_ends_of_secrets_only(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await make(client, name="shop", scopes=["chat"])

    answer = await client.get(TOKENS)
    assert made["token"] not in answer.text
    assert made["beta"] not in answer.text
    assert tenant.key not in answer.text
    rows = {row["id"]: row for row in answer.json()["data"]}
    assert rows[made["id"]] == {
        **made,
        "token": f"{made['token'][:12]}...{made['token'][-4:]}",
        "beta": f"{made['beta'][:4]}...{made['beta'][-4:]}",
        "dialog_id": None,
        "source": None,
        "last_used_at": None,
        "replaced_by": None,
    }
    assert set(rows) == {made["id"], tenant.key_id}
    assert rows[tenant.key_id]["beta"] is None  # it was made without one
    assert abs(rows[tenant.key_id]["last_used_at"] - time.time()) < 10


@pytest.mark.promise("conversations:9-shown-once")
async def test_no_secret_is_stored(service: Service, client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await make(client)

    async with service.database.unit(tenant.id) as unit:
        rows = (await unit._connection.execute(select(api_keys))).all()
    stored = repr(rows)
    assert made["id"] in stored
    keyed = [hmac.digest(PEPPER, made[name].encode(), hashlib.sha256) for name in ("token", "beta")]
    assert set(keyed) < {row.hash for row in rows}
    for secret in (made["token"], made["beta"]):
        assert secret not in stored
        assert secret[8:20] not in stored


@pytest.mark.promise("conversations:9-delete")
async def test_a_token_is_deleted_by_whatever_names_it(service: Service, client: httpx.AsyncClient) -> None:
    kept, *gone = [await make(client) for _ in range(5)]
    assert [await opens(service, made["token"]) for made in gone] == [True] * 4  # and they are remembered
    shown = {key: row["token"] for key, row in (await listed(client)).items()}
    by_secret, by_id, by_ends, by_other_dots = gone
    named = [by_secret["token"], by_id["id"], shown[by_ends["id"]], shown[by_other_dots["id"]].replace("...", "…")]

    for _ in range(2):  # the second time there is nothing any more
        for name in named:
            answer = await client.delete(f"{TOKENS}/{name}")
            assert (answer.status_code, answer.json()) == (200, {"code": 0, "data": True})

    await anyio.sleep(1.0)
    assert [await opens(service, made["token"]) for made in gone] == [False] * 4
    assert await opens(service, kept["token"])
    assert not {made["id"] for made in gone} & set(await listed(client))


@pytest.mark.promise("conversations:9-delete")
async def test_deleting_what_is_not_there_is_a_success(service: Service, client: httpx.AsyncClient) -> None:
    rival = await service.tenant()
    for named in ("ragflow-nobody", "0" * 32, "...", "ragf...", rival.key, rival.key_id, "x" * 3000):
        answer = await client.delete(f"{TOKENS}/{named}")
        assert (answer.status_code, answer.json()) == (200, {"code": 0, "data": True}), named
    assert await opens(service, rival.key)


@pytest.mark.promise("conversations:9-delete")
async def test_two_tokens_that_look_alike_are_told_apart_by_id(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    one, other = await make(client), await make(client)
    async with service.database.unit(tenant.id) as unit:
        alike = update(api_keys).where(api_keys.c.id.in_([one["id"], other["id"]]))
        await unit._connection.execute(alike.values(prefix="ragflow-same", last4="same"))

    answer = await client.delete(f"{TOKENS}/ragflow-same...same")

    assert told(answer) == (400, 102, "Several tokens are shown so; name the one you mean by its id.")
    assert {one["id"], other["id"]} < set(await listed(client))


@pytest.mark.promise("conversations:9-not-itself")
async def test_a_key_deletes_itself_only_when_forced(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    for named in (tenant.key, tenant.key_id):
        for query in ("", "?force=false", "?force=maybe"):
            answer = await client.delete(f"{TOKENS}/{named}{query}")
            assert told(answer) == (403, 104, "A key cannot delete itself; say ?force=true if you mean it.")
    assert (await client.delete(f"{TOKENS}/{tenant.key}?force=true")).json() == {"code": 0, "data": True}
    await anyio.sleep(1.0)
    assert told(await client.get(TOKENS)) == UNKNOWN


@pytest.mark.promise("conversations:9-scopes")
async def test_a_key_gives_no_scope_it_does_not_have(service: Service, tenant: Tenant) -> None:
    limited = await service.tenant(scopes=frozenset({Scope.MANAGE, Scope.READ}), tenant_id=tenant.id)
    async with service.client(limited) as client:
        assert (await make(client))["scopes"] == ["manage", "read"]
        assert (await make(client, scopes=["read", "read"]))["scopes"] == ["read"]
        answer = await client.post(TOKENS, json={"scopes": ["read", "chat"]})
        assert told(answer) == (403, 104, "This API key lacks the scope `chat`, so it cannot give it.")
        answer = await client.post(f"{TOKENS}/{tenant.key_id}/rotate")
        assert told(answer) == (403, 104, "This API key lacks the scope `chat`, so it cannot give it.")
    assert await opens(service, tenant.key)


@pytest.mark.promise("conversations:9-scopes")
async def test_tokens_are_for_keys_that_manage(service: Service, tenant: Tenant) -> None:
    limited = await service.tenant(scopes=frozenset({Scope.READ, Scope.CHAT}), tenant_id=tenant.id)
    refusal = (403, 104, "This API key lacks the scope `manage`.")
    async with service.client(limited) as client:
        for method, path in (
            ("POST", TOKENS),
            ("GET", TOKENS),
            ("DELETE", f"{TOKENS}/{tenant.key_id}"),
            ("POST", f"{TOKENS}/{tenant.key_id}/rotate"),
            ("POST", "/v1/system/new_token"),
            ("GET", "/v1/system/token_list"),
            ("DELETE", f"/v1/system/token/{tenant.key}"),
        ):
            assert told(await client.request(method, path)) == refusal, path
    assert await opens(service, tenant.key)


@pytest.mark.promise("conversations:9-scopes")
async def test_an_embed_token_may_no_more_than_its_key(service: Service, client: httpx.AsyncClient, chat: Chat) -> None:
    async def page(scopes: list[str]) -> tuple[int, int]:
        made = await make(client, scopes=scopes)
        async with service.client() as bare:
            headers = {"Authorization": f"Bearer {made['beta']}"}
            info = await bare.get(f"/api/v1/chatbots/{chat.id}/info", headers=headers)
            asked = await bare.post(f"/api/v1/chatbots/{chat.id}/completions", headers=headers, json={})
        return info.status_code, asked.status_code

    assert await page(["chat"]) == (200, 200)
    assert await page(["read"]) == (200, 403)
    assert await page(["manage"]) == (403, 403)


@pytest.mark.promise("conversations:9-expiry")
async def test_a_token_ends_when_it_was_to(service: Service, client: httpx.AsyncClient) -> None:
    soon, later = await make(client, expires_in=2), await make(client, expires_at=time.time() + 3600)
    assert abs(later["expires_at"] - time.time() - 3600) < 5
    assert await opens(service, soon["token"])
    await anyio.sleep(soon["expires_at"] - time.time() + 0.05)
    assert not await opens(service, soon["token"])
    assert await opens(service, later["token"])
    assert (await listed(client))[soon["id"]]["expires_at"] == soon["expires_at"]


@pytest.mark.promise("conversations:9-quota")
async def test_a_key_gives_no_more_tokens_a_day_than_it_has(service: Service, client: httpx.AsyncClient) -> None:
    made = await make(client, tokens_per_day=100)
    assert made["tokens_per_day"] == 100
    async with httpx.AsyncClient(base_url=service.base_url, headers={"Authorization": made["token"]}) as limited:
        assert (await make(limited))["tokens_per_day"] == 100
        assert (await make(limited, tokens_per_day=7))["tokens_per_day"] == 7
        refused = (403, 104, "This API key has 100 tokens a day, so it cannot give more.")
        assert told(await limited.post(TOKENS, json={"tokens_per_day": 101})) == refused
        unlimited = await make(client)
        assert told(await limited.post(f"{TOKENS}/{unlimited['id']}/rotate")) == refused


@pytest.mark.promise("conversations:9-create")
async def test_what_no_token_can_be(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for body in IMPOSSIBLE:
        assert told(await client.post(TOKENS, json=body))[:2] == (400, 102), body
    assert set(await listed(client)) == {tenant.key_id}


@pytest.mark.promise("conversations:9-not-written")
async def test_what_cannot_be_written(
    service: Service, client: httpx.AsyncClient, fresh_database: DatabaseUrls, tenant: Tenant
) -> None:
    owner = create_engine(fresh_database.owner, pool_size=1)
    async with owner.begin() as connection:
        await connection.execute(text("ALTER TABLE api_keys ADD CONSTRAINT no_a CHECK (name <> 'A')"))
    await owner.dispose()

    refusal = "Fail to new a dialog!"
    assert told(await client.post(TOKENS, json={"name": "A"})) == (500, 500, refusal)
    old = await client.post("/compat/0.22/v1/system/new_token", json={"name": "A"})
    assert (old.status_code, old.json()) == (200, {"code": 102, "message": refusal})
    assert set(await listed(client)) == {tenant.key_id}


@pytest.mark.promise("conversations:9-not-written")
async def test_a_tenant_that_went_away_while_its_key_was_remembered(
    service: Service, client: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await service.parts.authenticator._find(hash_secret(tenant.key, PEPPER))

    async def remembered(_digest: bytes) -> StoredKey | None:
        return key

    monkeypatch.setattr(service.parts.authenticator, "_find", remembered)
    assert set(await listed(client)) == {tenant.key_id}
    async with service.database.unit(tenant.id) as unit:
        await unit._connection.execute(delete(tenants).where(tenants.c.tenant_id == tenant.id))

    assert told(await client.post(TOKENS)) == (404, 105, "Tenant not found!")


@pytest.mark.promise("conversations:9-create")
async def test_a_body_may_be_left_out(client: httpx.AsyncClient) -> None:
    for content in (b"", b"{}", b"null", b'{"more": [1]}'):
        assert (await client.post(TOKENS, content=content)).status_code == 200, content


async def test_bodies_that_are_none_of_ours(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for path in (TOKENS, "/v1/system/new_token", f"{TOKENS}/{tenant.key_id}/rotate"):
        answer = await client.post(path, content=b"{not json")
        assert told(answer) == (400, 102, "Malformed JSON syntax: Missing commas/brackets or invalid encoding")
        assert told(await client.post(path, content=b"[]")) == (400, 102, "Request body must be a JSON object.")
    assert set(await listed(client)) == {tenant.key_id}


@pytest.mark.promise("conversations:9-wall")
async def test_tokens_of_other_tenants_are_neither_seen_nor_touched(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await make(client)
    async with service.client(await service.tenant()) as rival:
        assert made["id"] not in await listed(rival)
        for named in (made["token"], made["id"], f"{made['token'][:12]}...{made['token'][-4:]}"):
            assert (await rival.delete(f"{TOKENS}/{named}")).json()["data"] is True
            assert told(await rival.post(f"{TOKENS}/{named}/rotate")) == (404, 105, "No such token.")
    assert await opens(service, made["token"])
    assert set(await listed(client)) == {made["id"], tenant.key_id}
