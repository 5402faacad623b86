"""One model over an ordered list of upstreams."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import structlog

from app.domain.errors import UpstreamFailed, UpstreamRefused, UpstreamTimeout
from app.domain.models import ChatMessage, GenerationOptions, ModelItem, ModelUsage
from app.llm.base import AttemptObserver, ChatModel, outcome_of
from app.llm.retry import REAL, RetryPolicy, Surroundings

log = structlog.get_logger()


class Upstream(Protocol):
    """One address that serves a model."""

    @property
    def name(self) -> str:
        """The model's name without its provider."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it."""
        ...


U = TypeVar("U", bound=Upstream)
Q = TypeVar("Q")  # what is asked
B = TypeVar("B")  # a batch of the answer


class Failover(ABC, Generic[U, Q, B]):
    """Asks its upstreams in order until one begins to answer.

    Before the first batch a failed upstream is asked again after a backoff, then the next one is asked; a timeout and
    a refused credential go to the next at once, a refused request to nobody. An upstream that was given up is left out
    for `cool_down_s`, unless all are. After the first batch a failure is the caller's. One deadline holds for all.
    """

    def __init__(
        self,
        name: str,
        provider: str,
        upstreams: Sequence[U],
        *,
        policy: RetryPolicy | None = None,
        first_token_s: float = 60.0,
        cool_down_s: float = 30.0,
        on_attempt: AttemptObserver | None = None,
        surroundings: Surroundings = REAL,
    ) -> None:
        if not upstreams:
            raise ValueError("at least one upstream is needed")
        self.name = name
        self.provider = provider
        self._upstreams = upstreams
        self._policy = policy or RetryPolicy()
        self._first_token_s = first_token_s
        self._cool_down_s = cool_down_s
        self._on_attempt = on_attempt
        self._near = surroundings
        self._cold_until: dict[int, float] = {}

    @abstractmethod
    def _open(self, upstream: U, request: Q, deadline_s: float) -> AsyncGenerator[B, None]:
        """Ask one upstream."""

    def _numbered(self, batch: B, attempt: int) -> B:  # noqa: ARG002 (for those whose batches tell)
        """Return `batch` as one of attempt number `attempt`."""
        return batch

    def _patience_s(self, request: Q) -> float:  # noqa: ARG002 (for those whose requests differ)
        """Return how long an upstream may be silent before its first batch."""
        return self._first_token_s

    async def asked(self, request: Q, *, deadline_s: float) -> AsyncGenerator[B, None]:
        """Yield the batches of one answer; `deadline_s` is the loop time at which all must have ended.

        Raises:
            UpstreamFailed: or one of its kinds; after the first batch too.
        """
        attempt = 0
        failure: UpstreamFailed = UpstreamTimeout("No time was left to ask the model provider.")
        for number in self._order():
            tries = 0
            wait: float | None = 0.0
            while wait is not None and self._near.clock() + wait < deadline_s:
                if wait:
                    await self._near.sleep(wait)
                attempt, tries = attempt + 1, tries + 1
                has_begun = False
                try:
                    async with aclosing(self._attempt(number, request, deadline_s)) as batches:
                        async for batch in batches:
                            has_begun = True
                            yield self._numbered(batch, attempt)
                    return
                except UpstreamRefused:
                    raise
                except UpstreamFailed as error:
                    if has_begun:
                        self._cool(number, error)
                        raise
                    failure = error
                    wait = self._policy.wait_s(error, tries, self._near.chance())
            if tries:
                self._cool(number, failure)
        raise failure

    async def _attempt(self, number: int, request: Q, deadline_s: float) -> AsyncGenerator[B, None]:
        """Ask one upstream once, with patience, and tell the observer how it went."""
        upstream = self._upstreams[number]
        begun = self._near.clock()
        loop = asyncio.get_running_loop()
        ended: BaseException | None = GeneratorExit()
        try:
            async with aclosing(self._open(upstream, request, deadline_s)) as batches:
                first_by = min(deadline_s, loop.time() + self._patience_s(request))
                if batch := await _next(batches, first_by):
                    self._cold_until.pop(number, None)
                    yield batch
                    async for batch in batches:  # the upstream minds the pauses between pieces itself
                        yield batch
            ended = None
        except BaseException as error:
            ended = error
            raise
        finally:
            if self._on_attempt is not None:
                seconds = self._near.clock() - begun
                self._on_attempt(upstream.provider, upstream.name, outcome_of(ended), seconds)

    def _order(self) -> list[int]:
        now = self._near.clock()
        everyone = list(range(len(self._upstreams)))
        return [number for number in everyone if self._cold_until.get(number, now) <= now] or everyone

    def _cool(self, number: int, error: UpstreamFailed) -> None:
        if len(self._upstreams) == 1:
            return
        rest_s = max(self._cool_down_s, error.retry_after_s or 0)
        self._cold_until[number] = self._near.clock() + rest_s
        upstream = self._upstreams[number]
        log.warning("upstream_cooling", provider=upstream.provider, model=upstream.name, kind=error.kind, rest_s=rest_s)


Prompt = tuple[Sequence[ChatMessage], GenerationOptions]


class FailoverChatModel(Failover[ChatModel, Prompt, Sequence[ModelItem]]):
    """A `ChatModel` over several; see `Failover`."""

    @property
    def context_tokens(self) -> int | None:
        """Tokens that prompt and answer may have together, whoever serves it; None where no upstream tells."""
        return min((each.context_tokens for each in self._upstreams if each.context_tokens), default=None)

    def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[Sequence[ModelItem], None]:
        """Stream one answer; see `ChatModel.stream`. The usage says which attempt it was."""
        return self.asked((messages, options), deadline_s=deadline_s)

    def _open(
        self, upstream: ChatModel, request: Prompt, deadline_s: float
    ) -> AsyncGenerator[Sequence[ModelItem], None]:
        return upstream.stream(*request, deadline_s=deadline_s)

    def _numbered(self, batch: Sequence[ModelItem], attempt: int) -> Sequence[ModelItem]:
        last = batch[-1]
        if attempt > 1 and isinstance(last, ModelUsage):
            return [*batch[:-1], replace(last, attempt=attempt)]
        return batch


async def _next(batches: AsyncGenerator[B, None], until_s: float) -> B | None:
    """Return the next batch, or None at the end."""
    try:
        async with asyncio.timeout_at(until_s):
            return await anext(batches, None)
    except TimeoutError as error:
        raise UpstreamTimeout("The model provider was silent too long.") from error
