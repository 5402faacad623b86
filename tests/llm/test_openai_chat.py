import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from app.domain.errors import UpstreamFailed, UpstreamLimited, UpstreamRefused, UpstreamTimeout
from app.domain.models import (
    ChatMessage,
    FinishReason,
    GenerationOptions,
    ModelFinish,
    ModelItem,
    ModelReasoning,
    ModelText,
    ModelUsage,
    Usage,
)
from app.llm.base import Patience, UpstreamDenied
from app.llm.openai_chat import OpenAIChatConfig, OpenAIChatModel
from app.llm.tokens import ApproximateTokenCounter
from app.net.http import HttpClient, UpstreamBroken
from tests.upstream.fixtures import ScriptedUpstream

KEY = "made-up-key-123"


def asking(**directive: Any) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=f"please @@{json.dumps(directive)}")]


@pytest.fixture
def model(http: HttpClient, upstream: ScriptedUpstream) -> OpenAIChatModel:
    return model_at(upstream.base_url, http)


def model_at(base_url: str, http: HttpClient, **changes: Any) -> OpenAIChatModel:
    config = OpenAIChatConfig(name="m", provider="p", base_url=base_url, api_key=KEY, **changes)
    return OpenAIChatModel(config, http, ApproximateTokenCounter())


async def gather(
    model: OpenAIChatModel, messages: list[ChatMessage], into: list[ModelItem] | None = None, timeout_s: float = 10
) -> list[ModelItem]:
    items: list[ModelItem] = [] if into is None else into
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    async with aclosing(model.stream(messages, GenerationOptions(), deadline_s=deadline_s)) as batches:
        async for batch in batches:
            assert batch
            items.extend(batch)
    return items


def text_of(items: list[ModelItem]) -> str:
    return "".join(item.text for item in items if isinstance(item, ModelText))


def reasoning_of(items: list[ModelItem]) -> str:
    return "".join(item.text for item in items if isinstance(item, ModelReasoning))


async def test_an_answer_is_pieces_then_finish_then_usage(model: OpenAIChatModel) -> None:
    assert await gather(model, asking(text="Hello my friend")) == [
        ModelText("Hello "),
        ModelText("my "),
        ModelText("friend"),
        ModelFinish(FinishReason.STOP),
        ModelUsage(usage=Usage(prompt_tokens=5, completion_tokens=3), model="m", provider="p", attempt=1),
    ]


@pytest.mark.parametrize("way", ["inline", "reasoning_content", "reasoning"])
async def test_thinking_comes_out_as_reasoning(model: OpenAIChatModel, way: str) -> None:
    items = await gather(model, asking(text="Yes.", think="let me see", think_as=way))

    assert (reasoning_of(items), text_of(items)) == ("let me see", "Yes.")
    assert isinstance(items[-1], ModelUsage)
    assert items[-1].usage.reasoning_tokens == 3


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("end_turn", FinishReason.STOP),
        ("tool_use", FinishReason.STOP),
        ("never-heard-of", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("safety", FinishReason.CONTENT_FILTER),
    ],
)
async def test_a_vendors_finish_word_is_understood(model: OpenAIChatModel, word: str, reason: FinishReason) -> None:
    assert ModelFinish(reason) in await gather(model, asking(finish=word))


async def test_an_answer_the_provider_calls_broken_fails(model: OpenAIChatModel) -> None:
    with pytest.raises(UpstreamFailed, match="broke off"):
        await gather(model, asking(finish="error"))


async def test_without_usage_the_whole_prompt_and_answer_are_counted(model: OpenAIChatModel) -> None:
    messages = [ChatMessage(role="system", content="s" * 400), *asking(text="x" * 40, think="y" * 20, no_usage=True)]

    last = (await gather(model, messages))[-1]

    assert isinstance(last, ModelUsage)
    assert last.usage.is_estimated
    assert last.usage.prompt_tokens > 100
    assert (last.usage.completion_tokens, last.usage.reasoning_tokens) == (15, 5)


async def test_a_whole_json_answer_is_taken_as_one_piece(model: OpenAIChatModel) -> None:
    items = await gather(model, asking(text="All at once.", think="hm", json_instead=True))

    assert items[:3] == [ModelReasoning("hm"), ModelText("All at once."), ModelFinish(FinishReason.STOP)]
    assert isinstance(items[-1], ModelUsage)


@pytest.mark.parametrize("directive", [{"cut_after": 2}, {"end_after": 2}, {"garbage_after": 2}, {"error_after": 2}])
async def test_an_answer_that_goes_wrong_gives_its_pieces_and_then_fails(
    model: OpenAIChatModel, directive: dict[str, int]
) -> None:
    items: list[ModelItem] = []

    with pytest.raises(UpstreamFailed):
        await gather(model, asking(text="one two three four", **directive), items)

    assert text_of(items) == "one two "
    assert all(isinstance(item, ModelText) for item in items)


async def test_an_error_event_is_told_without_the_key(model: OpenAIChatModel) -> None:
    with pytest.raises(UpstreamFailed, match="overloaded") as caught:
        await gather(model, asking(error_after=0, message=f"overloaded for {KEY} and sk-abcdefgh12345"))

    assert KEY not in caught.value.message
    assert "sk-abc" not in caught.value.message


async def test_a_missing_done_after_the_finish_reason_is_borne(model: OpenAIChatModel) -> None:
    items = await gather(model, asking(text="fine", no_done=True))

    assert text_of(items) == "fine"
    assert isinstance(items[-1], ModelUsage)


async def test_silence_between_pieces_is_a_timeout(http: HttpClient, upstream: ScriptedUpstream) -> None:
    model = model_at(upstream.base_url, http, patience=Patience(first_token_s=5, piece_s=0.1))
    items: list[ModelItem] = []

    with anyio.fail_after(5), pytest.raises(UpstreamTimeout):
        await gather(model, asking(text="one two three", stall_after=2), items)

    assert text_of(items) == "one two "


@pytest.mark.parametrize("directive", [{"head_ms": 60_000}, {"first_ms": 60_000}])
async def test_silence_before_the_first_piece_is_a_timeout(
    http: HttpClient, upstream: ScriptedUpstream, directive: dict[str, int]
) -> None:
    model = model_at(upstream.base_url, http, patience=Patience(first_token_s=0.1, piece_s=5))

    with anyio.fail_after(5), pytest.raises(UpstreamTimeout):
        await gather(model, asking(**directive))


async def test_the_deadline_ends_an_answer_that_keeps_coming(model: OpenAIChatModel) -> None:
    with anyio.fail_after(5), pytest.raises(UpstreamTimeout):
        await gather(model, asking(pieces=100_000, gap_ms=1), timeout_s=0.2)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UpstreamRefused),
        (413, UpstreamRefused),
        (422, UpstreamRefused),
        (401, UpstreamDenied),
        (403, UpstreamDenied),
        (404, UpstreamDenied),
        (429, UpstreamLimited),
        (500, UpstreamFailed),
        (503, UpstreamFailed),
        (302, UpstreamDenied),
    ],
)
async def test_a_status_is_told_by_kind(model: OpenAIChatModel, status: int, error: type[UpstreamFailed]) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await gather(model, asking(status=status))

    assert type(caught.value) is error


async def test_a_refused_credential_is_the_services_and_is_not_shown(model: OpenAIChatModel) -> None:
    with pytest.raises(UpstreamFailed, match="service's credential") as caught:
        await gather(model, asking(status=401, message=f"Incorrect API key provided: {KEY}"))

    assert KEY not in caught.value.message


async def test_a_refusal_carries_the_providers_words_scrubbed_and_capped(model: OpenAIChatModel) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await gather(model, asking(status=400, message=f"bad temperature {KEY} " + "x" * 2000))

    assert caught.value.message.startswith("bad temperature *** xxx")
    assert len(caught.value.message) == 500


async def test_a_limit_carries_when_to_come_back(model: OpenAIChatModel) -> None:
    with pytest.raises(UpstreamLimited) as caught:
        await gather(model, asking(status=429, retry_after=7.5))

    assert caught.value.retry_after_s == 7.5


async def test_closing_the_stream_hangs_up_at_once(model: OpenAIChatModel, upstream: ScriptedUpstream) -> None:
    deadline_s = asyncio.get_running_loop().time() + 30
    async with aclosing(
        model.stream(asking(pieces=1000, gap_ms=20), GenerationOptions(), deadline_s=deadline_s)
    ) as batches:
        await anext(batches)

    await upstream.wait_for(lambda calls: calls[0]["cancelled"])
    assert [call["cancelled"] for call in upstream.calls()] == [True]


async def test_cancelling_the_reader_hangs_up_at_once(model: OpenAIChatModel, upstream: ScriptedUpstream) -> None:
    items: list[ModelItem] = []
    async with anyio.create_task_group() as readers:
        readers.start_soon(gather, model, asking(text="one two", stall_after=1), items)
        await upstream.wait_for(lambda calls: len(calls) == 1)
        readers.cancel_scope.cancel()

    await upstream.wait_for(lambda calls: calls[0]["cancelled"])
    assert [call["cancelled"] for call in upstream.calls()] == [True]


async def test_options_and_key_go_out_and_unset_options_do_not(http: HttpClient) -> None:
    requests: list[tuple[bytes, dict[str, Any]]] = []
    async with answering(DONE, requests) as url:
        options = GenerationOptions(temperature=0.0, max_tokens=5, stop=("END",), extra={"seed": 7, "stream": False})
        model = model_at(url, http, upstream_name="real-name")
        async for _ in model.stream(
            [ChatMessage(role="user", content="lone \ud800 surrogate")],
            options,
            deadline_s=asyncio.get_running_loop().time() + 5,
        ):
            pass

    head, body = requests[0]
    assert f"authorization: Bearer {KEY}".encode() in head.replace(b"Authorization", b"authorization")
    assert body == {
        "model": "real-name",
        "messages": [{"role": "user", "content": "lone ? surrogate"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "max_tokens": 5,
        "stop": ["END"],
        "seed": 7,
    }


DONE = b'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def answering(
    body: bytes, requests: list[tuple[bytes, dict[str, Any]]] | None = None, content_type: str = "text/event-stream"
) -> AsyncGenerator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))[15:])
        asked = json.loads(await reader.readexactly(length))
        if requests is not None:
            requests.append((head, asked))
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"choices":[{"delta":{"content":null,"role":"assistant"}}],"x":1}\n\n' + DONE,
        b'data: {"choices":[{"delta":{"content":[{"type":"text","text":"ok"}]}}]}\n\ndata: [DONE]\n\n',
        b": ping\r\n\r\n" + DONE.replace(b"\n", b"\r\n"),
        b'event: chunk\ndata: {"choices":[{"index":"0","delta":{"content":"ok"}}]}\n\ndata: [DONE]',
        b'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":"many"}}\n\n',
        b'data: {"choices":[{"index":1,"delta":{"content":"no"}},{"delta":{"content":"ok"}}]}\n\ndata: [DONE]\n\n',
    ],
)
async def test_unusual_chunks_are_understood(http: HttpClient, body: bytes) -> None:
    async with answering(body) as url:
        assert text_of(await gather(model_at(url, http), asking())) == "ok"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>a proxy's page</html>", "text/html"),
        (b'{"some": "json"}', "application/json"),
        (b"[1, 2]", "application/json"),
        (b'{"error": "out of order"}', "application/json"),
        (b"", "text/event-stream"),
        (b"data: \xff\xfe\n\n", "text/event-stream"),
    ],
)
async def test_what_is_no_answer_fails(http: HttpClient, body: bytes, content_type: str) -> None:
    async with answering(body, content_type=content_type) as url:
        with pytest.raises(UpstreamFailed):
            await gather(model_at(url, http), asking())


async def test_a_connection_lost_in_the_answer_is_told_as_broken(model: OpenAIChatModel) -> None:
    with pytest.raises(UpstreamBroken):
        await gather(model, asking(text="one two", cut_after=1))
