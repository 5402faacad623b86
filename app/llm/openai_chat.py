"""Chat over any OpenAI-compatible `/chat/completions` endpoint."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import orjson

from app.domain.errors import UpstreamFailed
from app.domain.models import ChatMessage, GenerationOptions, ModelItem, ModelUsage, Usage
from app.llm.base import Patience, TokenCounter
from app.llm.openai_chunks import ChunkReader
from app.llm.replies import check_status
from app.llm.tokens import count_prompt
from app.net.http import Answer, HttpClient
from app.net.sse import SseDecoder

_DRAIN_S = 0.05  # after [DONE]: time for the end of the body to come, so that the connection can be used again
_TAIL_S = 5.0  # after the finish reason: time for usage and [DONE]
_ERROR_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIChatConfig:
    """One model at one endpoint. `base_url` ends before `/chat/completions`."""

    name: str
    provider: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    upstream_name: str | None = None  # what the endpoint calls the model, if not `name`
    context_tokens: int | None = None
    patience: Patience = field(default_factory=Patience)
    starts_thinking: bool = False  # its template opens the thinking, so that only `</think>` is ever seen
    asks_for_usage: bool = True  # False for endpoints that refuse `stream_options`


class OpenAIChatModel:
    """A `ChatModel` over HTTP: server-sent events, or a whole JSON answer from an endpoint that does not stream."""

    def __init__(self, config: OpenAIChatConfig, http: HttpClient, counter: TokenCounter) -> None:
        self._config = config
        self._http = http
        self._counter = counter
        self._url = f"{config.base_url.rstrip('/')}/chat/completions"
        self._headers = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
        if config.api_key:
            self._headers["authorization"] = f"Bearer {config.api_key}"
        self.name = config.name
        self.provider = config.provider
        self.context_tokens = config.context_tokens

    async def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[list[ModelItem], None]:
        """Stream one answer; see `ChatModel.stream`."""
        loop = asyncio.get_running_loop()
        patience = self._config.patience
        first_by = min(deadline_s, loop.time() + patience.first_token_s)
        reader = ChunkReader(
            api_key=self._config.api_key, starts_thinking=self._config.starts_thinking, stops=options.stop
        )
        body = self._body(messages, options)
        async with self._http.send("POST", self._url, until_s=first_by, content=body, headers=self._headers) as answer:
            if answer.status != 200:
                await self._refuse(answer, first_by)
            chunk = await answer.read(first_by)
            items: list[ModelItem] = []
            if _is_json(answer, chunk):
                whole = await answer.read_all(first_by, max_bytes=self._http.config.max_answer_bytes, start=chunk)
                _take_whole(whole, reader, items)
            else:
                decoder = SseDecoder()
                last = loop.time()
                while chunk:
                    if events := decoder.feed(chunk):
                        last = loop.time()
                    failure = _take_all(events, reader, items)
                    if items:
                        yield items
                        items = []
                    if failure is not None:
                        raise failure
                    if reader.is_done:
                        break
                    until = min(deadline_s, last + patience.piece_s) if reader.has_started else first_by
                    chunk = await _next_chunk(answer, reader, until)
                _check_end(reader, decoder, items)
            reader.close(items)
            items.append(await self._usage(reader, messages))
            yield items
            if reader.is_done:
                await _drain(answer, loop.time() + _DRAIN_S)

    def _body(self, messages: Sequence[ChatMessage], options: GenerationOptions) -> bytes:
        body: dict[str, Any] = {
            "model": self._config.upstream_name or self._config.name,
            "messages": [_message(message) for message in messages],
            "stream": True,
        }
        if self._config.asks_for_usage:
            body["stream_options"] = {"include_usage": True}
        for key in ("temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens"):
            if (value := getattr(options, key)) is not None:
                body[key] = value
        if options.stop:
            body["stop"] = list(options.stop)
        return encode(options.extra | body)

    async def _refuse(self, answer: Answer, until_s: float) -> None:
        body = b""
        with suppress(UpstreamFailed):  # the status says enough if the words do not come
            body = await answer.read_all(until_s, max_bytes=_ERROR_BYTES)
        check_status(answer, body, api_key=self._config.api_key)

    async def _usage(self, reader: ChunkReader, messages: Sequence[ChatMessage]) -> ModelUsage:
        usage = reader.usage
        if usage is None:
            usage = await anyio.to_thread.run_sync(self._estimate, reader, messages)
        return ModelUsage(usage=usage, model=self.name, provider=self.provider, attempt=1)

    def _estimate(self, reader: ChunkReader, messages: Sequence[ChatMessage]) -> Usage:
        reasoning = self._counter.count("".join(reader.reasoning))
        return Usage(
            prompt_tokens=count_prompt(messages, self._counter),
            completion_tokens=self._counter.count("".join(reader.texts)) + reasoning,
            reasoning_tokens=reasoning,
            is_estimated=True,
        )


def _message(message: ChatMessage) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name:
        told["name"] = message.name
    if message.tool_calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told


def _content(message: ChatMessage) -> str | list[dict[str, Any]]:
    """Return the text, or parts of which pictures are data URIs or addresses."""
    if not (message.pictures or message.images):
        return message.content
    parts: list[dict[str, Any]] = [{"type": "text", "text": message.content}]
    for picture in message.pictures:
        url = f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    for image in message.images:
        link = {"url": image.url, "detail": image.detail} if image.detail else {"url": image.url}
        parts.append({"type": "image_url", "image_url": link})
    return parts


def encode(value: object) -> bytes:
    """Return `value` as JSON; a lone surrogate, which no provider could read, becomes `?`."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(_cleaned(value))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_cleaned(key): _cleaned(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_cleaned(inner) for inner in value]
        case _:
            return value


def _take_all(events: Sequence[bytes], reader: ChunkReader, items: list[ModelItem]) -> UpstreamFailed | None:
    """Take events until one fails; what came before it is kept."""
    try:
        for event in events:
            reader.take(event, items)
    except UpstreamFailed as failure:
        return failure
    return None


async def _next_chunk(answer: Answer, reader: ChunkReader, until_s: float) -> bytes:
    """Read on; once the finish reason is known only usage can follow, so then little is waited and nothing fails."""
    if reader.finish is None:
        return await answer.read(until_s)
    with suppress(UpstreamFailed):
        return await answer.read(min(until_s, asyncio.get_running_loop().time() + _TAIL_S))
    return b""


def _is_json(answer: Answer, start: bytes) -> bool:
    return "event-stream" not in answer.content_type and start.lstrip()[:1] in (b"{", b"[")


def _take_whole(body: bytes, reader: ChunkReader, items: list[ModelItem]) -> None:
    reader.take(body, items)
    if reader.finish is None and not items:
        raise UpstreamFailed("The model provider sent JSON that is not a chat completion.")


def _check_end(reader: ChunkReader, decoder: SseDecoder, items: list[ModelItem]) -> None:
    """Take what is left at the end of the body; an answer that just stops is not an answer."""
    if not reader.is_done:
        with suppress(UpstreamFailed):
            for event in decoder.flush():
                reader.take(event, items)
    if not reader.is_done and reader.finish is None:
        raise UpstreamFailed("The model provider's answer was cut off.")


async def _drain(answer: Answer, until_s: float) -> None:
    with suppress(UpstreamFailed):
        while await answer.read(until_s):
            pass
