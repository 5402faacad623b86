"""Bodies no client should send: clear refusals, never a 500 (conversations.md 1.2)."""

from typing import Any

import pytest

from app.domain.principals import ALL_SCOPES, KeyKind, Scope
from tests.chats.world import Api, World, invalid, missing

MALFORMED = invalid("Malformed JSON syntax: Missing commas/brackets or invalid encoding")
NO_OBJECT = invalid("Request body must be a JSON object.")
JSON = {"Content-Type": "application/json"}
ROUTES = [
    ("POST", "/chats"),
    ("PUT", "/chats/{chat}"),
    ("PATCH", "/chats/{chat}"),
    ("DELETE", "/chats"),
    ("POST", "/chats/{chat}/sessions"),
    ("PUT", "/chats/{chat}/sessions/{session}"),
    ("PATCH", "/chats/{chat}/sessions/{session}"),
    ("DELETE", "/chats/{chat}/sessions"),
]


@pytest.mark.promise("conversations:1.2-bodies")
@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"{", MALFORMED),
        (b"{'a':1}", MALFORMED),
        (b'{"a":"\xff"}', MALFORMED),
        (b"[" * 100_000, MALFORMED),
        (b"[]", NO_OBJECT),
        (b'"x"', NO_OBJECT),
        (b"5", NO_OBJECT),
        (b"true", NO_OBJECT),
        (b'{"name":"a\\u0000"}', invalid("Text must not contain NUL characters")),
        (b'{"x":{"\\u0000":1}}', invalid("Text must not contain NUL characters")),
        (b'{"name":"\\ud800"}', ...),
        (b'{"x":[{"\\udfff":1}]}', ...),
        (b'{"x":1e400}', ...),
        (b'{"x":NaN}', ...),
        (b'{"x":99999999999999999999999999}', invalid("Integers must fit in 64 bits.")),
        (b'{"x":' + b"[" * 70 + b"]" * 70 + b"}", invalid("The body must not be nested deeper than 64 levels.")),
        (b'{"x":' + b"[" * 600 + b"]" * 600 + b"}", invalid("The body must not be nested deeper than 64 levels.")),
    ],
)
@pytest.mark.parametrize("media_type", ["application/json", "text/plain", None])
async def test_1_2_bodies_that_cannot_be(api: Api, content: bytes, refusal: Any, media_type: str | None) -> None:
    chat = (await api.chat())["id"]
    session = (await api.session(chat))["id"]
    headers = {"Content-Type": media_type} if media_type else {}

    for method, path in ROUTES:
        told = await api.refusal(method, path.format(chat=chat, session=session), content=content, headers=headers)
        if media_type == "application/json" and refusal is not ...:
            assert told == refusal, (method, path)
        assert told[:2] == (400, 102), (method, path)
    assert len(await api.ok("GET", f"/chats/{chat}/sessions")) == 1


@pytest.mark.promise("conversations:1.2-bodies")
@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "", "x"])
async def test_1_2_the_media_type_is_ignored(api: Api, media_type: str) -> None:
    chat = await api.ok("POST", "/chats", content=b'{"name":"\xc3\xa4"}', headers={"Content-Type": media_type})

    assert chat["name"] == "ä"


async def test_large_texts_are_kept_whole(api: Api) -> None:
    text = "å\U0001f600" * 800_000

    chat = await api.chat(prompt={"prompt": text}, avatar=text)

    assert (await api.ok("GET", f"/chats/{chat['id']}"))["prompt"]["prompt"] == text


async def test_numbers_at_the_edge_of_64_bits_come_back(api: Api) -> None:
    numbers = {"a": 2**64 - 1, "b": -(2**63), "c": 1e308, "d": -0.0}

    assert (await api.chat(llm={"x": numbers}))["llm"]["x"] == numbers


@pytest.mark.promise("conversations:1.4-key-first", "conversations:1.4-kinds")
@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/chats"), ("GET", "/chats/{chat}")])
async def test_1_4_the_key_is_checked_before_everything_else(api: Api, world: World, method: str, path: str) -> None:
    embed = await world.caller(kind=KeyKind.EMBED)
    nobody = Api(api.client, api.tenant_id, "unknown")

    for who, status, code in ((nobody, 401, 103), (embed, 403, 104)):
        assert (await who.refusal(method, path.format(chat="c", session="s"), content=b"{"))[:2] == (status, code)


@pytest.mark.promise("conversations:1.3-codes")
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_scopes_say_what_a_key_may_do(world: World, method: str, path: str) -> None:
    allowed = Scope.CHAT if "sessions" in path else Scope.MANAGE
    without = await world.caller(scopes=ALL_SCOPES - {allowed})

    told = await without.refusal(method, path.format(chat="c", session="s"), json={})

    assert told == (403, 104, f"This API key lacks the scope `{allowed}`.")


async def test_a_path_that_cannot_be_stored_is_no_500_even_with_an_idempotency_key(api: Api) -> None:
    told = await api.refusal("POST", "/chats/%00/sessions", json={}, headers={"Idempotency-Key": "k"})

    assert told == missing("You do not own the assistant.")
