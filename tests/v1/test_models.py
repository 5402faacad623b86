"""`/v1/models` (openai.md 2)."""

from urllib.parse import quote

import httpx
import openai
import pytest

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.raw import ask


@pytest.mark.promise("openai:M-01", "openai:1.1-path-ids", "openai:2-order")
async def test_every_listed_id_can_be_got(client: httpx.AsyncClient, service: Service, tenant: Tenant) -> None:
    chats = [await service.chat(tenant, name=name, description="Of birds.") for name in ("b", "a")]
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    for one in listed["data"]:
        assert set(one) == {"id", "object", "created", "owned_by", "parley"}
        assert (one["object"], type(one["created"]), type(one["owned_by"])) == ("model", int, str)
        got = await client.get(f"/v1/models/{quote(one['id'], safe='')}")
        assert got.json() == one
    ids = [one["id"] for one in listed["data"]]
    assert ids[:2] == [chats[1].id, chats[0].id]
    kinds = ["assistant", "chat", "embedding"]
    order = [(kinds.index(one["parley"]["kind"]), one["parley"]["name"], one["id"]) for one in listed["data"]]
    assert order == sorted(order)
    assert [name for _, name, _ in order].count("twin") == 2
    assert {"org/Ünder Model:v1", "twin", "twin@others"} <= set(ids)
    assert "no-key" not in ids
    assert len(set(ids)) == len(ids)
    told = {one["id"]: one for one in listed["data"]}
    first = told[ids[0]]
    assert (first["owned_by"], told["twin@others"]["owned_by"]) == ("someone", "others")
    assert first["created"] == int(chats[1].created_at.timestamp())
    assert first["parley"] == {
        "kind": "assistant", "name": "a", "description": "Of birds.", "capabilities": ["chat", "retrieval"],
        "context_window": None,
    }  # fmt: skip
    able = ["chat", "completions", "developer", "json_schema", "logprobs", "n", "tools", "vision"]
    assert (told["able"]["parley"]["capabilities"], told["plain"]["parley"]["capabilities"]) == (able, ["chat"])
    assert told["embed"]["parley"] == {
        "kind": "embedding", "name": "embed", "description": "", "capabilities": ["embedding"], "context_window": 100,
    }  # fmt: skip
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key) as official:
        assert [one.id async for one in official.models.list()] == ids
        assert (await official.models.retrieve("org/Ünder Model:v1")).owned_by == "tests"


@pytest.mark.promise("openai:M-02", "openai:M-03", "openai:2-exact", "openai:2-disabled")
async def test_what_is_not_the_callers_is_not_there(service: Service, chat: Chat) -> None:
    async with service.client(await service.tenant()) as other:
        assert chat.id not in [one["id"] for one in (await other.get("/v1/models")).json()["data"]]
        for name in (chat.id, chat.name, "nobody", "no-key", "SCRIPTED", "scripted "):
            got = await other.get(f"/v1/models/{quote(name, safe='')}")
            error = got.json()["error"]
            assert (got.status_code, error["code"], error["param"]) == (404, "model_not_found", "model"), name
            assert name in error["message"]
            for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
                body = ask("How?", name) | {"prompt": "How?", "input": "x"}
                answer = await other.post(path, json=body)
                assert (answer.status_code, answer.json()["error"]) == (404, error)


@pytest.mark.promise("openai:2-exact")
async def test_an_assistant_goes_by_its_id_alone(service: Service, tenant: Tenant, client: httpx.AsyncClient) -> None:
    """Not by its name, also of those who own it, and not by its id in another writing."""
    helper = await service.chat(tenant, name="helper")
    like_an_id = await service.chat(tenant, name="0" * 31 + "a")
    for name in (helper.name, like_an_id.name, helper.id.upper(), f"{helper.id} "):
        got = await client.get(f"/v1/models/{quote(name, safe='')}")
        answer = await client.post("/v1/chat/completions", json=ask("How?", name))
        assert (got.status_code, answer.status_code) == (404, 404), name
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.promise("openai:M-04")
async def test_a_new_assistant_is_listed_at_once_and_a_deleted_one_is_not(client: httpx.AsyncClient) -> None:
    made = (await client.post("/api/v1/chats", json={"name": "new"})).json()["data"]["id"]
    assert made in [one["id"] for one in (await client.get("/v1/models")).json()["data"]]
    await client.request("DELETE", "/api/v1/chats", json={"ids": [made]})
    assert made not in [one["id"] for one in (await client.get("/v1/models")).json()["data"]]
    assert (await client.get(f"/v1/models/{made}")).status_code == 404


@pytest.mark.promise("openai:M-05", "openai:3.3-echo")
async def test_every_listed_model_answers(client: httpx.AsyncClient, chat: Chat) -> None:
    """All but the embedded chat model, which tests/llm/test_embedded.py starts, and the one that sends no numbers."""
    listed = (await client.get("/v1/models")).json()["data"]
    assert listed[0]["id"] == chat.id
    for one in listed:
        if one["owned_by"] == "builtin" and one["parley"]["kind"] == "chat":
            continue
        if one["parley"]["kind"] == "embedding":
            answer = await client.post("/v1/embeddings", json={"model": one["id"], "input": "x"})
            if one["id"].startswith("nan"):
                continue
        else:
            answer = await client.post("/v1/chat/completions", json=ask("How?", one["id"]))
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == one["id"]


@pytest.mark.promise("openai:M-06", "openai:2-kinds")
async def test_an_embedding_model_generates_nothing(client: httpx.AsyncClient) -> None:
    for path in ("/v1/chat/completions", "/v1/completions"):
        answer = await client.post(path, json=ask("How?", "embed") | {"prompt": "x"})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_value", "model")
        assert "`embed`" in error["message"]
