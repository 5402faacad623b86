"""Keys of web searches: stored sealed, shown as three stars (conversations.md 2.2)."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.ids import ChatId, TenantId
from app.security.sealing import Sealer, Unsealable
from tests.chats.world import PEPPER, Api, World

OWNER: dict[str, Any] = {"tenant_id": TenantId("t"), "chat_id": ChatId("c")}


async def opened(world: World, api: Api, chat_id: str) -> dict[str, str]:
    """What a turn of the assistant may use."""
    async with world.database.unit(api.tenant_id) as unit:
        chat = await unit.chats.for_turn(ChatId(chat_id))
    assert chat is not None
    return Sealer(PEPPER).opened(chat.secrets, tenant_id=chat.tenant_id, chat_id=chat.id)


@pytest.mark.promise("conversations:2.2-tavily-secret")
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_2_2_three_stars_sent_back_leave_a_key_and_an_empty_text_drops_it(
    world: World, api: Api, method: str
) -> None:
    chat = await api.chat(prompt={"tavily_api_key": "tvly-1", "querit_api_key": "q-1"})
    path = f"/chats/{chat['id']}"
    assert await opened(world, api, chat["id"]) == {"tavily_api_key": "tvly-1", "querit_api_key": "q-1"}

    await api.ok(method, path, json={"prompt": {"tavily_api_key": "***", "opener": "Yo"}})
    assert await opened(world, api, chat["id"]) == {"tavily_api_key": "tvly-1", "querit_api_key": "q-1"}

    changed = await api.ok(method, path, json={"prompt_config": {"tavily_api_key": "tvly-2", "querit_api_key": ""}})
    assert await opened(world, api, chat["id"]) == {"tavily_api_key": "tvly-2"}
    assert changed["prompt"]["tavily_api_key"] == changed["prompt_config"]["tavily_api_key"] == "***"
    assert "querit_api_key" not in changed["prompt"]

    changed = await api.ok(method, path, json={"prompt": {"tavily_api_key": None}})
    assert await opened(world, api, chat["id"]) == {}
    assert "tavily_api_key" not in changed["prompt"]


@pytest.mark.promise("conversations:2.2-tavily-secret")
async def test_2_2_three_stars_are_no_key(world: World, api: Api) -> None:
    chat = await api.chat(prompt={"tavily_api_key": "***"})

    assert "tavily_api_key" not in chat["prompt"]
    assert await opened(world, api, chat["id"]) == {}


@pytest.mark.promise("conversations:2.2-tavily-secret")
async def test_2_2_no_answer_tells_a_key(api: Api) -> None:
    chat = await api.chat(prompt={"tavily_api_key": "tvly-1"})
    path = f"/chats/{chat['id']}"

    for method, url, body in (("GET", path, None), ("GET", "/chats", None), ("PATCH", path, {"top_n": 3})):
        answer = await api.raw(method, url, json=body)
        assert answer.status_code == 200
        assert "tvly" not in answer.text


@pytest.mark.promise("conversations:2.2-tavily-secret")
def test_2_2_a_seal_holds_for_one_secret_of_one_chat_and_one_pepper() -> None:
    sealer = Sealer(b"pepper")
    sealed = sealer.changed(None, {"tavily_api_key": "tvly-1"}, **OWNER)
    again = sealer.changed(None, {"tavily_api_key": "tvly-1"}, **OWNER)

    assert sealer.opened(sealed, **OWNER) == {"tavily_api_key": "tvly-1"}
    assert sealed != again  # two seals of one text cannot be told to be so
    assert sealed is not None
    moved = sealed.replace(b"tavily_api_key", b"querit_api_key")
    cases: list[tuple[Sealer, bytes, dict[str, Any]]] = [
        (Sealer(b"another"), sealed, OWNER),
        (sealer, sealed, {**OWNER, "chat_id": ChatId("d")}),
        (sealer, sealed, {**OWNER, "tenant_id": TenantId("u")}),
        (sealer, moved, OWNER),
    ]
    for other, blob, owner in cases:
        with pytest.raises(Unsealable, match="send it again"):
            other.opened(blob, **owner)


@pytest.mark.promise("conversations:2.2-tavily-secret")
async def test_2_2_a_chat_in_a_log_does_not_show_even_the_sealed_bytes(world: World, api: Api) -> None:
    made = await api.chat(prompt={"tavily_api_key": "tvly-1"})

    async with world.database.unit(api.tenant_id) as unit:
        chat = await unit.chats.get(ChatId(made["id"]))
    assert chat is not None
    assert chat.secrets
    assert repr(chat) == repr(replace(chat, secrets=None))
