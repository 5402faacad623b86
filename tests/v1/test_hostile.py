"""Bodies made to break things (openai.md 1.6, 12): none is a 5xx, none holds the process up."""

import base64
import time
from typing import Any

import httpx
import pytest

from app.db.identity import tenants
from app.domain.chats import Chat
from app.services.v1_messages import check_messages
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import says
from tests.v1.raw import ask

JSON = {"content-type": "application/json"}
SLOW_S = 2.0  # on a busy machine; what was quadratic took minutes


def nested(depth: int) -> Any:
    found: Any = 1
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.promise("openai:12-nested", "openai:T-04")
async def test_deep_nesting_is_400_or_goes_through(client: httpx.AsyncClient, chat: Chat) -> None:
    for model in ("able", chat.id):
        for depth, told in ((100, 200), (245, 200), (251, 400), (300, 400), (900, 400)):
            for field in ("top_k", "prediction"):
                answer = await client.post("/v1/chat/completions", json=ask("?", model) | {field: nested(depth)})
                assert answer.status_code == told, (model, depth, field, answer.text[:200])
        schema = {"type": "object", "properties": {"x": nested(400)}}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        tool = {"type": "function", "function": {"name": "x", "parameters": schema}}
        for body in ({"response_format": form}, {"tools": [tool]}, {"variables": {"x": nested(400)}}):
            answer = await client.post("/v1/chat/completions", json=ask("?", model) | body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.promise("openai:12-odd-json")
async def test_what_json_does_not_have_is_400(client: httpx.AsyncClient, chat: Chat) -> None:
    for model in ("able", chat.id):
        start = '{"model": "' + model + '", "messages": [{"role": "user", "content": "x"}], '
        for rest in ('"temperature": NaN}', '"temperature": Infinity}', '"user": "\\ud800"}', '"user": "\\udc00x"}'):
            answer = await client.post("/v1/chat/completions", content=(start + rest).encode(), headers=JSON)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), rest
        for rest in ('"max_tokens": 9223372036854775807}', '"seed": 18446744073709551615}', '"temperature": 1e-400}'):
            answer = await client.post("/v1/chat/completions", content=(start + rest).encode(), headers=JSON)
            assert answer.status_code in (200, 400), rest
        nul = await client.post("/v1/chat/completions", json=ask("a\x00b", model, user="\x00", metadata={"a": "\x00"}))
        assert nul.status_code in (200, 400), nul.text


@pytest.mark.promise("openai:12-many")
async def test_ten_thousand_messages(client: httpx.AsyncClient, chat: Chat) -> None:
    many = [{"role": role, "content": f"message {at}"} for at in range(5000) for role in ("user", "assistant")]
    for model in ("able", chat.id):
        answer = await client.post("/v1/chat/completions", json={"model": model, "messages": many + says("x")})
        assert answer.status_code == 200, answer.text[:300]


@pytest.mark.promise("openai:12-many")
async def test_a_hundred_thousand_tool_messages_hold_nobody_up(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, chat: Chat
) -> None:
    made = await client.post(f"/api/v1/chats/{chat.id}/sessions", json={"name": "s"})
    results = [{"role": "tool", "tool_call_id": f"c{at}", "content": "1"} for at in range(100_000)]
    begun = time.monotonic()
    answer = await client.post(
        "/v1/chat/completions", json={"model": chat.id, "messages": results, "session_id": made.json()["data"]["id"]}
    )
    assert answer.status_code == 400
    assert time.monotonic() - begun < 5 * SLOW_S
    odd = [{"role": "tool", "tool_call_id": [1], "content": "1"}]
    answer = await client.post(
        "/v1/chat/completions", json={"model": chat.id, "messages": odd, "session_id": made.json()["data"]["id"]}
    )
    assert answer.status_code == 400


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # of aiohttp, towards the provider
@pytest.mark.promise("openai:3.2-images", "openai:T-18")
async def test_large_pictures(client: httpx.AsyncClient) -> None:
    def body(size: int) -> dict[str, Any]:
        url = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\x00" * size).decode()
        return {
            "model": "able",
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
        }

    assert (await client.post("/v1/chat/completions", json=body(4 << 20))).status_code == 200
    over = await client.post("/v1/chat/completions", json=body(20 << 20))
    assert (over.status_code, over.json()["error"]["code"]) == (413, "request_too_large")
    begun = time.monotonic()
    check_messages(body(5 << 20)["messages"], model="able", sees=True)
    assert time.monotonic() - begun < SLOW_S


@pytest.mark.promise("openai:3.2-not-fetched")
async def test_addresses_of_pictures_are_not_fetched(client: httpx.AsyncClient, service: Service, chat: Chat) -> None:
    """The provider's own address as a picture: it is asked for the answer, and for nothing else."""
    url = f"{service.upstream.base_url}/embeddings"
    part = {"type": "image_url", "image_url": {"url": url}}
    for model in ("able", chat.id):
        service.upstream.forget()
        messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]
        answer = await client.post("/v1/chat/completions", json={"model": model, "messages": messages})
        assert answer.status_code == (200 if model == "able" else 400)  # the assistant's model sees nothing
        paths = [call["path"] for call in service.upstream.calls()]
        assert all(path.endswith("/chat/completions") for path in paths)
        assert len(paths) == (1 if model == "able" else 0)


@pytest.mark.promise("openai:12-names")
async def test_names_of_models_stay_names(client: httpx.AsyncClient) -> None:
    for name in ("x\r\nSet-Cookie: a=b", "\x00", "../../etc", "a" * 100_000, "%0d%0a", "😀" * 50, "x\u2028y", " able"):
        for path, more in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
            ("/v1/completions", {"prompt": "x"}),
            ("/v1/embeddings", {"input": "x"}),
        ):
            answer = await client.post(path, json={"model": name, **more})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (404, "model_not_found"), (name[:20], answer.text[:200])
            assert "set-cookie" not in answer.headers
            assert len(error["message"]) < 2100


@pytest.mark.promise("openai:12-odd-json")
async def test_numbers_that_no_column_holds_do_not_break_a_quota(
    client: httpx.AsyncClient, service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with service.database.unit(tenant.id) as unit:
        await unit._connection.execute(tenants.update().values(tokens_per_day=10**9))
    for model in ("able", "scripted", chat.id):
        for n in (1, 100):
            body = ask("?", model, max_tokens=2**63 - 1, n=n)
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code in (200, 400, 429), (model, n, answer.text)
