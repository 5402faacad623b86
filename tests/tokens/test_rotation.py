"""Tokens that take the place of others, and what ends with a key (conversations.md 9)."""

import time
from typing import Any

import anyio
import httpx
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.tokens.world import TOKENS, listed, make, opens, told


async def rotate(client: httpx.AsyncClient, named: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(f"{TOKENS}/{named}/rotate", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


@pytest.mark.promise("conversations:9-rotation")
async def test_both_secrets_work_for_the_overlap(service: Service, client: httpx.AsyncClient, chat: Chat) -> None:
    old = await make(client, name="shop", scopes=["read", "chat"], tokens_per_day=9)

    new = await rotate(client, old["token"], overlap_s=3)

    assert (new["name"], new["scopes"], new["tokens_per_day"]) == ("shop", ["chat", "read"], 9)
    assert (new["expires_at"], new["replaces"]["id"]) == (None, old["id"])
    rows = await listed(client)
    assert rows[old["id"]]["replaced_by"] == new["id"]
    assert rows[old["id"]]["expires_at"] == new["replaces"]["expires_at"]
    info = f"/api/v1/chatbots/{chat.id}/info"
    for pair in (old, new):
        assert await opens(service, pair["token"])
        assert await opens(service, pair["beta"], info)
    await anyio.sleep(max(0, new["replaces"]["expires_at"] - time.time()) + 0.05)
    for path, secret in (("/api/v1/chats", "token"), (info, "beta")):
        assert not await opens(service, old[secret], path)
        assert await opens(service, new[secret], path)


@pytest.mark.promise("conversations:9-rotation")
async def test_a_key_may_rotate_itself_at_once(service: Service, client: httpx.AsyncClient, tenant: Tenant) -> None:
    new = await rotate(client, tenant.key_id, overlap_s=0)
    await anyio.sleep(1.0)
    assert not await opens(service, tenant.key)
    assert await opens(service, new["token"])


@pytest.mark.promise("conversations:9-rotation")
async def test_a_key_that_ends_sooner_is_not_made_to_live_longer(client: httpx.AsyncClient) -> None:
    old = await make(client, expires_in=30)
    new = await rotate(client, old["id"], overlap_s=3600)
    assert new["replaces"]["expires_at"] == old["expires_at"]
    assert abs(new["expires_at"] - old["expires_at"]) < 1


@pytest.mark.promise("conversations:9-rotation")
async def test_of_several_rotations_of_one_token_one_counts(client: httpx.AsyncClient) -> None:
    old = await make(client)
    answers: list[httpx.Response] = []

    async def one() -> None:
        answers.append(await client.post(f"{TOKENS}/{old['id']}/rotate"))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one)

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]
    refused = next(answer for answer in answers if answer.status_code == 400)
    assert told(refused) == (400, 102, "This token was rotated already.")
    assert len(await listed(client)) == 3


@pytest.mark.promise("conversations:9-rotation")
async def test_what_cannot_be_rotated(client: httpx.AsyncClient) -> None:
    made, gone = await make(client), await make(client)
    await client.delete(f"{TOKENS}/{gone['id']}")
    for named in ("0" * 32, "ragflow-nobody", gone["id"], gone["token"]):
        assert told(await client.post(f"{TOKENS}/{named}/rotate")) == (404, 105, "No such token."), named
    answer = await client.post(f"{TOKENS}/{made['beta']}/rotate")
    assert told(answer) == (400, 102, "Rotate the API key: its embed token changes with it.")
    for overlap in (-1, 30 * 24 * 3600 + 1, "1", 1.5, True, None):
        answer = await client.post(f"{TOKENS}/{made['id']}/rotate", json={"overlap_s": overlap})
        assert told(answer)[:2] == (400, 102), overlap


@pytest.mark.promise("conversations:9-cascade")
@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_what_hangs_on_a_key_ends_with_it(
    service: Service, client: httpx.AsyncClient, chat: Chat, how: str
) -> None:
    made = await make(client, expires_in=3) if how == "expired" else await make(client)
    async with service.client() as bare:
        minted = await bare.post(
            f"/api/v1/chatbots/{chat.id}/visitor_tokens",
            json={"origin": "https://shop.example", "visitor": "v"},
            headers={"Authorization": f"Bearer {made['token']}"},
        )
    visitor = minted.json()["data"]["token"]
    info = f"/api/v1/chatbots/{chat.id}/info"
    for secret in (made["beta"], visitor):  # they are remembered from here on
        assert await opens(service, secret, info, Origin="https://shop.example")

    if how == "deleted":
        await client.delete(f"{TOKENS}/{made['id']}")
        await anyio.sleep(1.0)
    else:
        await anyio.sleep(max(0, made["expires_at"] - time.time()) + 0.05)

    for secret in (made["beta"], visitor):
        assert not await opens(service, secret, info, Origin="https://shop.example")


@pytest.mark.promise("conversations:9-cascade")
async def test_an_embed_token_ends_alone_too(service: Service, client: httpx.AsyncClient, chat: Chat) -> None:
    made = await make(client)
    assert (await client.delete(f"{TOKENS}/{made['beta']}")).json()["data"] is True
    await anyio.sleep(1.0)
    assert not await opens(service, made["beta"], f"/api/v1/chatbots/{chat.id}/info")
    assert await opens(service, made["token"])
    assert (await listed(client))[made["id"]]["beta"] is None


@pytest.mark.promise("conversations:9-last-use")
async def test_the_use_of_a_token_is_noted_at_most_once_a_minute(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = await make(client)

    async def last_use() -> Any:
        async with service.database.unit(tenant.id) as unit:
            row = await unit.keys.get(made["id"])
        assert row is not None
        return row.last_used_at

    assert await last_use() is None
    assert await opens(service, made["token"])
    first = await last_use()
    assert first is not None
    for _ in range(3):
        assert await opens(service, made["token"])
    assert await last_use() == first
    touched = service.parts.authenticator._touched
    touched[made["id"]] -= 61  # a minute later
    assert await opens(service, made["token"])
    again = await last_use()
    assert again is not None
    assert again > first
