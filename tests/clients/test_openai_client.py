"""The stock OpenAI client as an oracle of one assistant's route (conversations.md 5.1, openai.md 1 and 3)."""

from typing import Any

import anyio
import openai
import pytest

from app.domain.chats import Chat
from app.engine.turns import EngineConfig
from app.llm.base import Patience
from tests.conftest import Tenant
from tests.pg import DatabaseUrls
from tests.service import Service, scripted, served
from tests.tasks import in_a_task
from tests.upstream.fixtures import ScriptedUpstream


def client_of(service: Service, tenant: Tenant, chat: Chat, **more: Any) -> openai.AsyncOpenAI:
    arguments: dict[str, Any] = {"max_retries": 0, "timeout": 15, **more}
    return openai.AsyncOpenAI(
        api_key=tenant.key, base_url=f"{service.base_url}/api/v1/chats_openai/{chat.id}", **arguments
    )


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_a_plain_call_has_content_usage_and_a_request_id(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with client_of(service, tenant, chat) as client:
        answer = await client.chat.completions.create(
            model="mine", messages=user(scripted(text="Forty two.", think="Hm. ")), stream=False
        )

    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Forty two.", "stop")
    assert choice.message.reasoning_content == "Hm. "  # type: ignore[attr-defined]
    assert answer.model == "mine"
    assert answer.id.startswith("chatcmpl-")
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (3, 1)  # type: ignore[union-attr]
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


async def test_the_stream_helper_builds_the_same_answer(service: Service, tenant: Tenant, chat: Chat) -> None:
    """openai.md CC-02 to CC-05: one role, whole content, usage kept, over four-byte characters too."""
    text = "Zwölf 🚀 日本語 " * 20
    async with (
        client_of(service, tenant, chat) as client,
        client.chat.completions.stream(
            model="mine", messages=user(scripted(text=text)), stream_options={"include_usage": True}
        ) as stream,
    ):
        async for _ in stream:
            pass
        snapshot = await stream.get_final_completion()

    message = snapshot.choices[0].message
    assert (message.role, message.content, snapshot.choices[0].finish_reason) == ("assistant", text, "stop")
    assert snapshot.usage is not None
    assert snapshot.usage.completion_tokens == len(text.split())


async def test_include_usage_adds_one_last_chunk(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with client_of(service, tenant, chat) as client:
        for options in ({"include_usage": True}, None):
            more: Any = {"stream_options": options} if options else {}
            chunks = [
                chunk
                async for chunk in await client.chat.completions.create(
                    model="mine", messages=user(scripted(text="Hi there")), stream=True, **more
                )
            ]
            empty = [at for at, chunk in enumerate(chunks) if not chunk.choices]
            assert empty == ([len(chunks) - 1] if options else [])
            assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


async def read(stream: Any, seen: list[str]) -> None:
    async for chunk in stream:
        seen += [choice.delta.content or "" for choice in chunk.choices]


async def test_an_answer_that_breaks_off_raises_with_its_message(service: Service, tenant: Tenant, chat: Chat) -> None:
    """openai.md 3.6."""
    seen: list[str] = []
    async with client_of(service, tenant, chat) as client:
        stream = await client.chat.completions.create(
            model="mine", messages=user(scripted(error_after=2, gap_ms=20, message="out of memory")), stream=True
        )
        with pytest.raises(openai.APIError, match="out of memory") as raised:
            await read(stream, seen)
    assert not isinstance(raised.value, openai.APIStatusError)
    assert raised.value.type == "server_error"
    assert "".join(seen) == "word0 word1 "


FAILURES: list[tuple[dict[str, Any], int, type[openai.APIStatusError]]] = [
    ({"status": 401}, 502, openai.InternalServerError),
    ({"status": 403}, 502, openai.InternalServerError),
    ({"status": 429, "retry_after": 17}, 429, openai.RateLimitError),
    ({"status": 500}, 502, openai.InternalServerError),
    ({"status": 503}, 502, openai.InternalServerError),
    ({"status": 400, "message": "too long"}, 400, openai.BadRequestError),
]


@pytest.mark.parametrize("has_stream", [True, False])
@pytest.mark.parametrize(("directive", "status", "error"), FAILURES)
async def test_a_provider_that_refuses_is_told_by_status(
    service: Service,
    tenant: Tenant,
    chat: Chat,
    *,
    directive: dict[str, Any],
    status: int,
    error: type[openai.APIStatusError],
    has_stream: bool,
) -> None:
    """openai.md 1.6: before the first byte a failure is a status, and the envelope is whole."""
    async with client_of(service, tenant, chat) as client:
        with pytest.raises(error) as raised:
            await client.chat.completions.create(model="mine", messages=user(scripted(**directive)), stream=has_stream)
    assert raised.value.status_code == status
    assert raised.value.request_id is not None
    body: Any = raised.value.response.json()
    assert set(body) == {"code", "message", "data", "error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "17"


async def test_a_silent_provider_is_a_504(
    fresh_database: DatabaseUrls, upstream: ScriptedUpstream, tmp_path: Any
) -> None:
    patience = Patience(first_token_s=0.3, piece_s=0.3)
    context = served(fresh_database, upstream, tmp_path, engine=EngineConfig(), patience=patience)
    async with in_a_task(context) as service:
        tenant = await service.tenant()
        chat = await service.chat(tenant)
        async with client_of(service, tenant, chat) as client:
            for has_stream in (True, False):
                with anyio.fail_after(5), pytest.raises(openai.InternalServerError) as raised:
                    await client.chat.completions.create(
                        model="mine", messages=user(scripted(stall_after=0)), stream=has_stream
                    )
                assert raised.value.status_code == 504


async def test_a_wrong_key_and_a_foreign_chat_raise_what_callers_catch(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    """openai.md T-01."""
    rival = await service.tenant()
    async with client_of(service, rival, chat) as client:
        with pytest.raises(openai.NotFoundError, match="You don't own the chat"):
            await client.chat.completions.create(model="mine", messages=user("?"), stream=True)
    async with client_of(service, tenant, chat).with_options(api_key="ragflow-nobody") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="mine", messages=user("?"), stream=True)


async def test_leaving_a_stream_stops_the_model_call(
    service: Service, tenant: Tenant, chat: Chat, upstream: ScriptedUpstream
) -> None:
    """openai.md T-15: within a second of the client's backoff, for a stateless turn."""
    async with client_of(service, tenant, chat) as client:
        stream = await client.chat.completions.create(
            model="mine", messages=user(scripted(pieces=3, stall_after=2)), stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        await stream.close()
    await upstream.wait_for(lambda calls: calls[0]["cancelled"], timeout_s=2)
    assert [call["cancelled"] for call in upstream.calls()] == [True]
