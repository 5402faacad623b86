"""Chat relayed as it is: the caller's JSON goes to the provider, the provider's bytes come back rewritten."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio.to_thread

from app.domain.errors import UpstreamFailed
from app.domain.models import Usage
from app.llm.base import Patience, TokenCounter
from app.llm.embedded_server import MODEL_NAME
from app.llm.failover import Failover
from app.llm.openai_chat import encode
from app.llm.replies import check_status
from app.net.http import Answer, HttpClient, UpstreamBroken, UpstreamUnreachable

_DRAIN_S = 0.05  # after [DONE]: time for the end of the body to come, so that the connection can be used again
_TAIL_S = 5.0  # after the last finish reason: time for usage and [DONE]
_ERROR_BYTES = 1 << 16


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEndpoint:
    """Where a model is served. `base_url` ends before `/chat/completions`."""

    name: str
    provider: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    upstream_name: str | None = None  # what the endpoint calls the model, if not `name`
    patience: Patience = field(default_factory=Patience)


class HttpRawUpstream:
    """A `RawUpstream` over HTTP."""

    def __init__(self, endpoint: RawEndpoint, http: HttpClient, counter: TokenCounter) -> None:
        self.name = endpoint.name
        self.provider = endpoint.provider
        self.patience = endpoint.patience
        self._endpoint = endpoint
        self._http = http
        self._counter = counter
        self._base = endpoint.base_url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "text/event-stream, application/json"}
        if endpoint.api_key:
            self._headers["authorization"] = f"Bearer {endpoint.api_key}"

    async def ask(self, request: RawRequest, *, deadline_s: float) -> AsyncGenerator[bytes, None]:
        """Ask once; see `RawUpstream.ask`."""
        loop = asyncio.get_running_loop()
        first_by = deadline_s
        if request.is_streaming:
            first_by = min(deadline_s, loop.time() + self.patience.first_token_s)
        request.tally.reset(self.name, self.provider)
        rewriter = request.rewriter(self._endpoint.api_key)
        body = encode({**request.body, "model": self._endpoint.upstream_name or self._endpoint.name})
        url = f"{self._base}/{request.path}"
        async with self._http.send("POST", url, until_s=first_by, content=body, headers=self._headers) as answer:
            if answer.status != 200:
                await self._refuse(answer, first_by)
            chunk = await answer.read(first_by)
            if not request.is_streaming or _is_json(answer, chunk):
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
                until = min(deadline_s, last + self.patience.piece_s) if rewriter.has_started else first_by
                chunk = await _next_chunk(answer, rewriter, until)
            if told := rewriter.close():
                yield told
            await self._count(request)
            if rewriter.is_done:
                await _drain(answer, loop.time() + _DRAIN_S)

    async def _count(self, request: RawRequest) -> None:
        if request.tally.usage is None:
            request.tally.usage = await anyio.to_thread.run_sync(request.estimate, request.tally, self._counter)

    async def _refuse(self, answer: Answer, until_s: float) -> None:
        body = b""
        with suppress(UpstreamFailed):  # the status says enough if the words do not come
            body = await answer.read_all(until_s, max_bytes=_ERROR_BYTES)
        check_status(answer, body, api_key=self._endpoint.api_key)


class EmbeddedServerPlace(Protocol):
    """Finds the embedded chat model."""

    async def ready(self) -> tuple[str, str]:
        """Return base URL and key of a model process that answers."""
        ...

    def forget(self) -> None:
        """Look for the process anew at the next `ready`."""
        ...


class EmbeddedRawUpstream:
    """A `RawUpstream` that runs here; a process found dead is started again, once."""

    name = MODEL_NAME
    provider = "builtin"

    def __init__(self, server: EmbeddedServerPlace, http: HttpClient, counter: TokenCounter) -> None:
        self._server = server
        self._http = http
        self._counter = counter

    async def ask(self, request: RawRequest, *, deadline_s: float) -> AsyncGenerator[bytes, None]:
        """Ask; see `RawUpstream.ask`."""
        for is_last in (False, True):
            has_begun = False
            try:
                async with aclosing((await self._upstream()).ask(request, deadline_s=deadline_s)) as answer:
                    async for told in answer:
                        has_begun = True
                        yield told
                return
            except (UpstreamUnreachable, UpstreamBroken):
                self._server.forget()
                if is_last or has_begun:
                    raise

    async def _upstream(self) -> HttpRawUpstream:
        base_url, key = await self._server.ready()
        endpoint = RawEndpoint(
            name=self.name,
            provider=self.provider,
            base_url=base_url,
            api_key=key,
            patience=Patience(first_token_s=120, piece_s=60),  # calls beyond four wait for a slot
        )
        return HttpRawUpstream(endpoint, self._http, self._counter)


class RawModel(Failover[RawUpstream, RawRequest, bytes]):
    """A model as its providers serve it, asked in their order; see `Failover` for retries and cool-downs."""

    def _open(self, upstream: RawUpstream, request: RawRequest, deadline_s: float) -> AsyncGenerator[bytes, None]:
        return upstream.ask(request, deadline_s=deadline_s)

    def _patience_s(self, request: RawRequest) -> float:
        """An answer in one piece comes when it is whole: the deadline alone holds for it."""
        return super()._patience_s(request) if request.is_streaming else float("inf")


async def _next_chunk(answer: Answer, rewriter: Rewriter, until_s: float) -> bytes:
    """Read on; once all is finished only usage can follow, so then little is waited and nothing fails."""
    if not rewriter.has_finished:
        return await answer.read(until_s)
    with suppress(UpstreamFailed):
        return await answer.read(min(until_s, asyncio.get_running_loop().time() + _TAIL_S))
    return b""


def _is_json(answer: Answer, start: bytes) -> bool:
    return "event-stream" not in answer.content_type and start.lstrip()[:1] in (b"{", b"[")


async def _drain(answer: Answer, until_s: float) -> None:
    with suppress(UpstreamFailed):
        while await answer.read(until_s):
            pass
