"""Chat relayed as it is: the caller's JSON goes to the provider, the provider's bytes come back rewritten."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio.to_thread

from app.domain.errors import UpstreamFailed
from app.domain.models import Usage
from app.llm.base import TokenCounter
from app.llm.chat_calls import ACCEPT, ChatEndpoint, check, drain, is_json, next_chunk
from app.llm.embedded_calls import BUILTIN, EmbeddedServerPlace, asked
from app.llm.embedded_server import MODEL_NAME
from app.llm.encoding import encode
from app.llm.failover import Failover
from app.net.http import HttpClient


@dataclass(slots=True)
class Tally:
    """What one call used, for the ledger; `texts` are kept in case they must be counted.

    `told` is the usage in the provider's own words, if it gave one.
    """

    usage: Usage | None = None
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    texts: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    model: str = ""
    provider: str = ""
    attempt: int = 0

    def reset(self, model: str, provider: str) -> None:
        """Begin an attempt; what a failed one before it said was for nobody."""
        self.usage, self.told = None, {}
        self.texts.clear()
        self.reasoning.clear()
        self.model, self.provider = model, provider
        self.attempt += 1


class Rewriter(Protocol):
    """Turns one provider's answer into what the caller is sent."""

    @property
    def has_started(self) -> bool:
        """Whether anything of the answer came."""
        ...

    @property
    def has_finished(self) -> bool:
        """Whether every choice has its finish reason."""
        ...

    @property
    def is_done(self) -> bool:
        """Whether the provider said that nothing follows."""
        ...

    @property
    def heard(self) -> int:
        """How many events came; what they say may be held back."""
        ...

    @property
    def failure(self) -> UpstreamFailed | None:
        """What went wrong after the bytes that were returned last."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Return what `data`, cut anywhere out of an event stream, means to the caller; maybe nothing yet."""
        ...

    def whole(self, body: bytes) -> bytes:
        """Return what an answer in one piece means to the caller. Raises UpstreamFailed."""
        ...

    def close(self) -> bytes:
        """Return what was held back, at the end of the body. Raises UpstreamFailed when it was cut off."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """One call. `body` is the caller's, without `model`; `rewriter` is called for each attempt with the key to hide.

    `estimate` counts what the provider did not; it runs in a thread.
    """

    path: str
    body: Mapping[str, Any]
    is_streaming: bool
    tally: Tally
    rewriter: Callable[[str | None], Rewriter]
    estimate: Callable[[Tally, TokenCounter], Usage]


class RawUpstream(Protocol):
    """One address."""

    @property
    def name(self) -> str:
        """The model's name without its provider."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it."""
        ...

    def ask(self, request: RawRequest, *, deadline_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the answer's bytes as the caller is sent them, never empty ones. Raises UpstreamFailed."""
        ...


class HttpRawUpstream:
    """A `RawUpstream` over HTTP."""

    def __init__(self, endpoint: ChatEndpoint, http: HttpClient, counter: TokenCounter) -> None:
        self.name = endpoint.name
        self.provider = endpoint.provider
        self._endpoint = endpoint
        self._http = http
        self._counter = counter
        self._headers = endpoint.headers(ACCEPT)

    async def ask(self, request: RawRequest, *, deadline_s: float) -> AsyncGenerator[bytes, None]:
        """Ask once; see `RawUpstream.ask`."""
        loop = asyncio.get_running_loop()
        patience = self._endpoint.patience
        first_by = deadline_s
        if request.is_streaming:
            first_by = min(deadline_s, loop.time() + patience.first_token_s)
        request.tally.reset(self.name, self.provider)
        rewriter = request.rewriter(self._endpoint.api_key)
        body = encode({**request.body, "model": self._endpoint.model})
        url = self._endpoint.url(request.path)
        async with self._http.send("POST", url, until_s=first_by, content=body, headers=self._headers) as answer:
            await check(answer, first_by, api_key=self._endpoint.api_key)
            chunk = await answer.read(first_by)
            if not request.is_streaming or is_json(answer, chunk):
                whole = await answer.read_all(first_by, max_bytes=self._http.config.max_answer_bytes, start=chunk)
                told = rewriter.whole(whole)
                await self._count(request)
                yield told
                return
            last = loop.time()
            while chunk:
                heard = rewriter.heard
                told = rewriter.feed(chunk)
                if told or rewriter.heard != heard:
                    last = loop.time()
                if told:
                    yield told
                if rewriter.failure is not None:
                    raise rewriter.failure
                if rewriter.is_done:
                    break
                until = min(deadline_s, last + patience.piece_s) if rewriter.has_started else first_by
                chunk = await next_chunk(answer, until, has_finished=rewriter.has_finished)
            if told := rewriter.close():
                yield told
            await self._count(request)
            if rewriter.is_done:
                await drain(answer)

    async def _count(self, request: RawRequest) -> None:
        if request.tally.usage is None:
            request.tally.usage = await anyio.to_thread.run_sync(request.estimate, request.tally, self._counter)


class EmbeddedRawUpstream:
    """A `RawUpstream` that runs here."""

    name = MODEL_NAME
    provider = BUILTIN

    def __init__(self, server: EmbeddedServerPlace, http: HttpClient, counter: TokenCounter) -> None:
        self._server = server
        self._http = http
        self._counter = counter

    def ask(self, request: RawRequest, *, deadline_s: float) -> AsyncGenerator[bytes, None]:
        """Ask; see `RawUpstream.ask`."""

        def once(endpoint: ChatEndpoint) -> AsyncGenerator[bytes, None]:
            return HttpRawUpstream(endpoint, self._http, self._counter).ask(request, deadline_s=deadline_s)

        return asked(self._server, once)


class RawModel(Failover[RawUpstream, RawRequest, bytes]):
    """A model as its providers serve it, asked in their order; see `Failover` for retries and cool-downs."""

    def _open(self, upstream: RawUpstream, request: RawRequest, deadline_s: float) -> AsyncGenerator[bytes, None]:
        return upstream.ask(request, deadline_s=deadline_s)

    def _patience_s(self, request: RawRequest) -> float:
        """An answer in one piece comes when it is whole: the deadline alone holds for it."""
        return super()._patience_s(request) if request.is_streaming else float("inf")
