"""Chat over any OpenAI-compatible `/chat/completions` endpoint."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from app.domain.errors import UpstreamFailed
from app.domain.models import ChatMessage, GenerationOptions, ModelItem, ModelUsage, Usage
from app.llm.base import TokenCounter
from app.llm.chat_calls import ACCEPT, ChatEndpoint, check, drain, is_json, next_chunk
from app.llm.encoding import encode
from app.llm.openai_chunks import ChunkReader
from app.llm.tokens import count_prompt
from app.net.http import HttpClient
from app.net.sse import SseDecoder


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIChatConfig(ChatEndpoint):
    """An endpoint, and what is known of its model."""

    context_tokens: int | None = None
    starts_thinking: bool = False  # its template opens the thinking, so that only `</think>` is ever seen
    asks_for_usage: bool = True  # False for endpoints that refuse `stream_options`
    limit_name: str = "max_tokens"  # or `max_completion_tokens`, where that is what the endpoint understands


class OpenAIChatModel:
    """A `ChatModel` over HTTP: server-sent events, or a whole JSON answer from an endpoint that does not stream."""

    def __init__(self, config: OpenAIChatConfig, http: HttpClient, counter: TokenCounter) -> None:
        self._config = config
        self._http = http
        self._counter = counter
        self._url = config.url("chat/completions")
        self._headers = config.headers(ACCEPT)
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
            await check(answer, first_by, api_key=self._config.api_key)
            chunk = await answer.read(first_by)
            items: list[ModelItem] = []
            if is_json(answer, chunk):
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
                    chunk = await next_chunk(answer, until, has_finished=reader.finish is not None)
                _check_end(reader, decoder, items)
            reader.close(items)
            items.append(await self._usage(reader, messages))
            yield items
            if reader.is_done:
                await drain(answer)

    def _body(self, messages: Sequence[ChatMessage], options: GenerationOptions) -> bytes:
        body: dict[str, Any] = {
            "model": self._config.model,
            "messages": [_message(message) for message in messages],
            "stream": True,
        }
        if self._config.asks_for_usage:
            body["stream_options"] = {"include_usage": True}
        for key in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
            if (value := getattr(options, key)) is not None:
                body[key] = value
        if options.max_tokens is not None:
            body[self._config.limit_name] = options.max_tokens
        if options.stop:
            body["stop"] = list(options.stop)
        return encode(options.extra | body)

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


def _take_all(events: Sequence[bytes], reader: ChunkReader, items: list[ModelItem]) -> UpstreamFailed | None:
    """Take events until one fails; what came before it is kept."""
    try:
        for event in events:
            reader.take(event, items)
    except UpstreamFailed as failure:
        return failure
    return None


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
