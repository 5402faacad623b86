"""What the newest official client makes of `/v1`: its helpers, its forms of an answer, its typed errors."""

from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pydantic
import pytest

from app.domain.chats import Chat
from app.domain.principals import Scope
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import asks, official, says

RAW = "able"  # everything it may be asked for
CALLS: list[dict[str, Any]] = [
    {"name": "Load", "arguments": '{"tons": 40}', "id": "call_a"},
    {"name": "Load", "arguments": '{"tons": 90}', "id": "call_b"},
]


class Load(pydantic.BaseModel):
    """What a crane lifts."""

    tons: int


@pytest.mark.promise("openai:CC-16-parse", "openai:3.8-parse")
async def test_parse_gives_the_object_of_whole_and_streamed_answers(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with official(service, tenant) as client:
        for model in (chat.id, RAW):
            call: dict[str, Any] = {
                "model": model,
                "messages": says('{"tons": 40}', gap_ms=1),
                "response_format": Load,
            }
            for helper in (client.chat.completions, client.beta.chat.completions):
                parsed = await helper.parse(**call)
                assert parsed.choices[0].message.parsed == Load(tons=40)
            async with client.chat.completions.stream(**call) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_completion()
            [done] = [event for event in events if event.type == "content.done"]
            assert done.parsed == final.choices[0].message.parsed == Load(tons=40)
            assert "".join(event.delta for event in events if event.type == "content.delta") == '{"tons": 40}'


@pytest.mark.promise("openai:3.4-tool-deltas", "openai:CC-04-tools", "openai:3.7-parse")
@pytest.mark.parametrize("mixes", [False, True])
async def test_each_call_is_done_once_and_parsed(service: Service, tenant: Tenant, chat: Chat, *, mixes: bool) -> None:
    """Also of a provider that goes back and forth between calls: the helper ends a call where the next begins."""
    async with official(service, tenant) as client:
        for model in (chat.id, RAW):
            call: dict[str, Any] = {
                "model": model,
                "messages": asks(calls=CALLS, finish="tool_calls", mixes_calls=mixes),
                "tools": [openai.pydantic_function_tool(Load)],
            }
            async with client.chat.completions.stream(**call) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_completion()
            done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
            assert [(event.index, event.parsed_arguments) for event in done] == [(0, Load(tons=40)), (1, Load(tons=90))]
            made = final.choices[0].message.tool_calls or ()
            assert [one.function.parsed_arguments for one in made] == [Load(tons=40), Load(tons=90)]
            assert [one.function.name for one in made] == ["Load", "Load"]
            assert len({one.id for one in made}) == 2
            whole = await client.chat.completions.parse(**call)
            assert [one.function.parsed_arguments for one in whole.choices[0].message.tool_calls] == [
                Load(tons=40),
                Load(tons=90),
            ]


@pytest.mark.promise("openai:3.7-one-number")
async def test_a_provider_that_numbers_every_call_0_is_understood(service: Service, tenant: Tenant, chat: Chat) -> None:
    alike = [{**one, "index": 0} for one in CALLS]
    async with official(service, tenant) as client:
        for model in (chat.id, RAW):
            call: dict[str, Any] = {
                "model": model,
                "messages": asks(calls=alike, finish="stop"),
                "tools": [openai.pydantic_function_tool(Load)],
            }
            async with client.chat.completions.stream(**call) as stream:
                final = await stream.get_final_completion()
            made = final.choices[0].message.tool_calls or ()
            assert [one.function.arguments for one in made] == ['{"tons": 40}', '{"tons": 90}']
            assert final.choices[0].finish_reason == "tool_calls"


async def streamed_to_the_end(client: Any, call: dict[str, Any]) -> None:
    async with client.chat.completions.stream(**call) as stream:
        async for _ in stream:
            pass


@pytest.mark.promise("openai:3.6-length-and-filter")
@pytest.mark.parametrize(
    ("finish", "error"),
    [("length", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)],
)
async def test_the_helpers_raise_on_answers_that_were_cut(
    service: Service, tenant: Tenant, chat: Chat, *, finish: str, error: type[Exception]
) -> None:
    async with official(service, tenant) as client:
        for model in (chat.id, RAW):
            call: dict[str, Any] = {"model": model, "messages": says('{"tons"', finish=finish), "response_format": Load}
            with pytest.raises(error):
                await client.chat.completions.parse(**call)
            with pytest.raises(error):
                await streamed_to_the_end(client, call)


@pytest.mark.promise("openai:3.4-refusal", "openai:CC-03")
async def test_a_refusal_is_told_as_one(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        for model in (chat.id, RAW):
            async with client.chat.completions.stream(model=model, messages=asks(refusal="I will not.")) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_completion()
            assert [event.refusal for event in events if event.type == "refusal.done"] == ["I will not."]
            whole = await client.chat.completions.create(model=model, messages=asks(refusal="I will not."))
            for done in (final, whole):
                assert (done.choices[0].message.refusal, done.choices[0].message.content) == ("I will not.", None)
                assert done.choices[0].finish_reason == "stop"


@pytest.mark.promise("openai:T-05", "openai:CC-01", "openai:M-01", "openai:1.4-required")
async def test_every_form_of_an_answer_passes_strict_validation(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant, _strict_response_validation=True) as client:
        listed = [one async for one in client.models.list()]
        assert {chat.id, RAW, "embed"} <= {one.id for one in listed}
        for one in listed:
            await client.models.retrieve(one.id)
        embedded = await client.embeddings.with_raw_response.create(
            model="embed", input=["a", "b"], encoding_format="float"
        )
        assert len(embedded.parse().data) == 2
        text = await client.completions.create(model=RAW, prompt="Once", n=2, stop=["word3"])
        assert [choice.text for choice in text.choices] == ["word0 word1 word2 "] * 2
        for model in (chat.id, RAW):
            call: dict[str, Any] = {"model": model, "messages": says("Some words.")}
            raw = await client.chat.completions.with_raw_response.create(**call)
            assert raw.headers["x-request-id"] == raw.parse()._request_id
            assert raw.http_response.status_code == 200
            assert raw.retries_taken == 0
            async with client.chat.completions.with_streaming_response.create(**call) as late:
                assert (await late.parse()).choices[0].message.content == "Some words."
            stream = await client.chat.completions.create(**call, stream=True, stream_options={"include_usage": True})
            chunks = [chunk async for chunk in stream]
            assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "Some words."
            assert chunks[-1].usage is not None
            async with client.chat.completions.stream(**call) as helped:
                assert (await helped.get_final_completion()).choices[0].message.content == "Some words."
            called = await client.chat.completions.create(
                model=model,
                messages=asks(calls=CALLS, finish="tool_calls"),
                tools=[openai.pydantic_function_tool(Load)],
            )
            assert called.choices[0].message.content is None


Make = Callable[[Any], Awaitable[Any]]


def chatting(model: str, **more: Any) -> Make:
    call: dict[str, Any] = {"model": model, "messages": says("x"), **more}
    return lambda client: client.chat.completions.create(**call)


UPSTREAM: dict[int, tuple[type[openai.APIStatusError], int, str | None]] = {
    401: (openai.InternalServerError, 502, "upstream_error"),
    429: (openai.RateLimitError, 429, "rate_limit_exceeded"),
    500: (openai.InternalServerError, 502, "upstream_error"),
    503: (openai.InternalServerError, 503, "upstream_unavailable"),
}


@pytest.mark.promise("openai:1.6-typed")
async def test_every_failure_is_the_exception_callers_catch(service: Service, tenant: Tenant, chat: Chat) -> None:
    bad, gone = openai.BadRequestError, openai.NotFoundError
    reader = await service.tenant(scopes=frozenset({Scope.READ}), tenant_id=tenant.id)
    cases: list[tuple[Make, type[openai.APIStatusError], int, str | None, str | None]] = [
        (chatting(RAW, temperature=9), bad, 400, "invalid_value", "temperature"),
        (chatting("nothing"), gone, 404, "model_not_found", "model"),
        (chatting("embed"), bad, 400, "unsupported_value", "model"),
        (lambda c: c.embeddings.create(model=RAW, input="x"), bad, 400, "unsupported_value", "model"),
        (lambda c: c.embeddings.create(model=chat.id, input="x"), bad, 400, "unsupported_value", "model"),
        (lambda c: c.completions.create(model=chat.id, prompt="x"), bad, 400, "unsupported_value", "model"),
        (lambda c: c.models.delete("x"), openai.APIStatusError, 405, "method_not_supported", None),
        (lambda c: c.moderations.create(input="x"), gone, 404, "unknown_url", None),
        (lambda c: c.images.generate(prompt="x"), gone, 404, "unknown_url", None),
        (
            lambda c: c.with_options(api_key="nobody").models.list(),
            openai.AuthenticationError, 401, "invalid_api_key", None,
        ),
        (
            lambda c: chatting(RAW)(c.with_options(api_key=reader.key)),
            openai.PermissionDeniedError, 403, "insufficient_permissions", None,
        ),
        (chatting(RAW, messages=says("x" * (9 << 20))), openai.APIStatusError, 413, "request_too_large", None),
    ]  # fmt: skip
    for model in (chat.id, RAW):
        cases += [(chatting(model, messages=asks(status=sent)), *told, None) for sent, told in UPSTREAM.items()]
    async with official(service, tenant) as client:
        for number, (make, error, status, code, param) in enumerate(cases):
            with pytest.raises(error) as raised:
                await make(client)
            found = raised.value
            assert (found.status_code, found.code, found.param) == (status, code, param), (number, found)
            assert (found.request_id or "").startswith("req_")
            assert found.type
            assert isinstance(found.body, dict)
            assert set(found.body) == {"message", "type", "param", "code"}


@pytest.mark.promise("openai:1.7-timeout")
async def test_a_client_that_gives_up_asks_again_as_often_as_it_was_told(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    for model in (chat.id, RAW):
        service.upstream.forget()
        async with official(service, tenant, timeout=0.3, max_retries=1) as client:
            with pytest.raises(openai.APITimeoutError):
                await client.chat.completions.create(model=model, messages=asks(head_ms=3000))
        await service.upstream.wait_for(
            lambda calls: bool(calls) and all(call["cancelled"] for call in calls), timeout_s=3
        )
        assert 1 <= len(service.upstream.calls()) <= 2
