"""Calls of raw models: what the caller sent is checked, sent on nearly as it is, and what it cost is written down.

There is no turn and no session: nothing of what was said is stored, unless a key says that the call may come again
(`raw_once`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from app.domain.errors import BadArgument, ParleyError, UpstreamFailed
from app.domain.models import Usage
from app.domain.principals import Caller
from app.domain.retrieval import ModelCall
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.llm.passthrough import RawModel, RawRequest, Rewriter, Tally
from app.security.quotas import Quotas, estimate
from app.services import v1_models
from app.services.ledger import Entry, Ledger
from app.services.raw_bodies import check_able, downgraded, estimated, prompts_of, sent_body, texts_of
from app.services.v1_messages import check_messages
from app.services.v1_models import V1Models
from app.services.v1_params import check_count, check_generation, end_user

_AT_ONCE = 8  # choices of one call that are generated at the same time
_BATCHES_AHEAD = 64  # that a choice may be ahead of those before it
_WRITTEN_S = 5.0
Path = Literal["chat/completions", "completions"]
Send = Callable[[bytes], Awaitable[None]]
Rewriting = Callable[[Tally, int, int], Callable[[str | None], Rewriter]]
"""Makes the rewriters of one call from its tally, its first choice's number, and how many choices it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A call that was found right. `calls` are made of the provider, each for `choices_each` choices."""

    model: RawModel
    path: Path
    body: dict[str, Any]
    is_streaming: bool
    has_usage: bool
    calls: int
    choices_each: int
    user_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawConfig:
    """`timeout_s` is the most a whole call may take."""

    timeout_s: float = 600.0


class RawChat:
    """Makes calls of requests."""

    def __init__(
        self,
        catalogue: ModelCatalogue,
        models: V1Models,
        quotas: Quotas,
        ledger: Ledger,
        counter: TokenCounter,
        config: RawConfig,
    ) -> None:
        self._catalogue = catalogue
        self._models = models
        self.quotas = quotas
        self.ledger = ledger
        self.counter = counter
        self.config = config

    def chat(self, model: v1_models.RawModel, body: dict[str, Any]) -> Prepared:
        """Check a chat request and return the call it asks for.

        Raises:
            Invalid: a parameter breaks its rules, or the model cannot do what it asks.
        """
        check_generation(body)
        check_messages(body.get("messages"), model=model.name, sees=self._models.sees(model.entry))
        able = model.entry.able
        check_able(body, able, model.name)
        sent = sent_body(body, able)
        if "developer" not in able:
            sent["messages"] = [downgraded(one) for one in body["messages"]]
        return self._prepared(model, "chat/completions", sent, body)

    def text(self, model: v1_models.RawModel, body: dict[str, Any]) -> Prepared:
        """Check a text completion and return the call it asks for. Raises as `chat`."""
        logprobs = body.get("logprobs")
        check_generation({key: value for key, value in body.items() if key != "logprobs"})
        if logprobs is not None:
            check_count(logprobs, "logprobs", 0, 5)
        prompts = prompts_of(body)
        able = model.entry.able
        if "completions" not in able:
            raise BadArgument(
                f"The model `{model.name}` has no text completions.", param="model", code="unsupported_value"
            )
        check_able(body, able, model.name)
        if prompts > 1 and body.get("n", 1) > 1 and "n" not in able:
            raise BadArgument(
                f"The model `{model.name}` cannot give several answers to several prompts.",
                param="n",
                code="unsupported_parameter",
            )
        return self._prepared(model, "completions", sent_body(body, ()), body, prompts)

    def _prepared(
        self, model: v1_models.RawModel, path: Path, sent: dict[str, Any], body: dict[str, Any], prompts: int = 1
    ) -> Prepared:
        choices: int = body.get("n", 1)
        fans_out = choices > 1 and "n" not in model.entry.able
        if fans_out or choices == 1:
            sent.pop("n", None)
        is_streaming = body.get("stream") is True
        sent["stream"] = is_streaming
        options = body.get("stream_options") or {}
        if is_streaming:
            sent["stream_options"] = {"include_usage": True}
        return Prepared(
            model=self._catalogue.raw(model.entry),
            path=path,
            body=sent,
            is_streaming=is_streaming,
            has_usage=options.get("include_usage") is True,
            calls=choices if fans_out else 1,
            choices_each=prompts if fans_out else choices * prompts,
            user_id=end_user(body),
        )


class RawCall:
    """One request under way. `run` once; `tally` is the sum of what its calls used, when it has ended."""

    def __init__(self, raw: RawChat, caller: Caller, prepared: Prepared, rewriting: Rewriting) -> None:
        self._raw = raw
        self._caller = caller
        self._prepared = prepared
        self._tallies = [Tally() for _ in range(prepared.calls)]
        self._requests = [
            RawRequest(
                path=prepared.path,
                body=prepared.body,
                is_streaming=prepared.is_streaming,
                tally=tally,
                rewriter=rewriting(tally, number * prepared.choices_each, prepared.choices_each),
                estimate=self._estimate,
            )
            for number, tally in enumerate(self._tallies)
        ]
        self._begun_s = 0.0

    @property
    def tally(self) -> Tally:
        """What the calls used, together."""
        if len(self._tallies) == 1:
            return self._tallies[0]
        usage = Usage()
        for tally in self._tallies:
            usage += tally.usage or Usage()
        return Tally(usage=usage)

    async def run(self, send: Send) -> None:
        """Give the answer's bytes to `send` as they come, choice after choice; to cancel this cancels the provider.

        Raises:
            QuotaUsedUp, Unavailable: before anything was asked.
            UpstreamFailed: or one of its kinds.
        """
        caller, raw = self._caller, self._raw
        raw.ledger.check_room()
        self._begun_s = asyncio.get_running_loop().time()
        async with raw.quotas.held(caller.tenant_id, caller.quota, self._reserved() if caller.quota else 0):
            entries: list[Entry] = []
            try:
                await self._ask(send)
            except UpstreamFailed as error:
                error.is_final = error.is_final or any(_has_used(tally) for tally in self._tallies)
                raise
            finally:
                entries = self._written()
                if caller.quota is not None:  # the day's sum must know before the reservation ends
                    with anyio.move_on_after(_WRITTEN_S, shield=True):
                        for entry in entries:
                            await entry.written.wait()

    async def _ask(self, send: Send) -> None:
        deadline_s = self._begun_s + self._raw.config.timeout_s
        if len(self._requests) == 1:
            async with aclosing(self._prepared.model.asked(self._requests[0], deadline_s=deadline_s)) as batches:
                async for batch in batches:
                    await send(batch)
            return
        failure: ParleyError | None = None
        answers: list[MemoryObjectReceiveStream[bytes | ParleyError]] = []
        async with anyio.create_task_group() as tasks:
            limiter = anyio.CapacityLimiter(_AT_ONCE)
            for request in self._requests:
                put, take = anyio.create_memory_object_stream[bytes | ParleyError](_BATCHES_AHEAD)
                answers.append(take)
                tasks.start_soon(self._produce, request, put, limiter, deadline_s)
            for answer in answers:
                async with answer:
                    async for told in answer:
                        if isinstance(told, ParleyError):
                            failure = told
                            break
                        await send(told)
                if failure is not None:
                    break
            tasks.cancel_scope.cancel()
        for answer in answers:
            answer.close()
        if failure is not None:
            raise failure

    async def _produce(
        self,
        request: RawRequest,
        put: MemoryObjectSendStream[bytes | ParleyError],
        limiter: anyio.CapacityLimiter,
        deadline_s: float,
    ) -> None:
        async with put, limiter:
            try:
                async with aclosing(self._prepared.model.asked(request, deadline_s=deadline_s)) as batches:
                    async for batch in batches:
                        await put.send(batch)
            except ParleyError as error:
                await put.send(error)

    def _written(self) -> list[Entry]:
        """Give the ledger a row of each call that used something; one that was broken off is estimated."""
        duration_ms = (asyncio.get_running_loop().time() - self._begun_s) * 1000
        entries: list[Entry] = []
        for tally in self._tallies:
            if not _has_used(tally):
                continue
            call = ModelCall(
                kind="chat",
                purpose="raw",
                model=tally.model,
                provider=tally.provider,
                attempt=tally.attempt,
                usage=tally.usage or Usage(),
                duration_ms=duration_ms,
                user_id=self._prepared.user_id,
            )
            count = None if tally.usage is not None else partial(self._estimate, tally, self._raw.counter)
            entries.append(Entry(self._caller.tenant_id, self._caller.key_id, call, count))
        for entry in entries:
            self._raw.ledger.add(entry)
        return entries

    def _reserved(self) -> int:
        body = self._prepared.body
        most = body.get("max_tokens") or body.get("max_completion_tokens")
        return estimate(texts_of(body), most) * self._prepared.calls

    def _estimate(self, tally: Tally, counter: TokenCounter) -> Usage:
        return estimated(self._prepared.body, tally, counter)


def _has_used(tally: Tally) -> bool:
    return tally.usage is not None or bool(tally.texts or tally.reasoning)
