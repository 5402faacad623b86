"""Embeddings over any OpenAI-compatible `/embeddings` endpoint."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from app.domain.errors import UpstreamFailed
from app.domain.models import Embeddings, Usage
from app.llm.base import AttemptObserver, TokenCounter
from app.llm.http_calls import Endpoint, JsonCaller
from app.llm.retry import REAL, Surroundings
from app.net.http import HttpClient


class _Row(msgspec.Struct):
    embedding: list[float]
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Row]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_AT_ONCE = 4  # batches of one `embed_raw` that are asked for at the same time

TokensOrText = str | list[int]


class OpenAIEmbeddingModel:
    """An `EmbeddingModel` over HTTP, in batches. `asks_for_dimensions` sends `dimensions` along, where models allow."""

    def __init__(
        self,
        endpoint: Endpoint,
        dimensions: int,
        http: HttpClient,
        counter: TokenCounter,
        *,
        batch_size: int = 64,
        asks_for_dimensions: bool = False,
        on_attempt: AttemptObserver | None = None,
        surroundings: Surroundings = REAL,
    ) -> None:
        self.name = endpoint.name
        self.provider = endpoint.provider
        self.dimensions = dimensions
        self._batch_size = batch_size
        self._asks_for_dimensions = asks_for_dimensions
        self._counter = counter
        self._caller = JsonCaller(endpoint, "embeddings", http, on_attempt, surroundings)

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        """Return one vector per text; see `EmbeddingModel.embed`."""
        vectors: list[list[float]] = []
        usage = Usage()
        for at in range(0, len(texts), self._batch_size):
            batch = [text or " " for text in texts[at : at + self._batch_size]]  # providers refuse an empty text
            body: dict[str, Any] = {"model": self._caller.model, "input": batch, "encoding_format": "float"}
            if self._asks_for_dimensions:
                body["dimensions"] = self.dimensions
            answer = self._read(await self._caller.post(body, deadline_s=deadline_s), len(batch))
            rows = sorted(enumerate(answer.data), key=lambda row: row[0] if row[1].index is None else row[1].index)
            vectors += [self._normalised(row.embedding) for _, row in rows]
            usage += self._usage(answer, batch)
        return Embeddings(vectors=vectors, model=self.name, provider=self.provider, usage=usage)

    async def embed_raw(
        self, inputs: Sequence[TokensOrText], *, dimensions: int | None, deadline_s: float, spent: list[Usage]
    ) -> list[list[float]]:
        """Return one vector per input as the provider gives it, not normalised; of `dimensions` if it is asked for.

        Batches are asked for side by side. What each cost is put into `spent` when it has come, so that a call that
        fails or is cancelled half-way is accounted for too.

        Raises:
            UpstreamFailed: or one of its kinds.
        """
        batches = [inputs[at : at + self._batch_size] for at in range(0, len(inputs), self._batch_size)]
        found: list[list[list[float]]] = [[] for _ in batches]
        failures: list[UpstreamFailed] = []
        places = anyio.CapacityLimiter(_AT_ONCE)

        async def fill(number: int, tasks: anyio.abc.TaskGroup) -> None:
            async with places:
                try:
                    found[number] = await self._batch(batches[number], dimensions, deadline_s, spent)
                except UpstreamFailed as failure:  # raised below: a task group would wrap it
                    failures.append(failure)
                    tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for number in range(len(batches)):
                tasks.start_soon(fill, number, tasks)
        if failures:
            raise failures[0]
        return [vector for vectors in found for vector in vectors]

    async def _batch(
        self, batch: Sequence[TokensOrText], dimensions: int | None, deadline_s: float, spent: list[Usage]
    ) -> list[list[float]]:
        body: dict[str, Any] = {"model": self._caller.model, "input": batch, "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        told = await self._caller.post(body, deadline_s=deadline_s)
        vectors, usage = await anyio.to_thread.run_sync(partial(self._batch_read, told, batch))
        spent.append(usage)
        return [_checked(vector, dimensions or self.dimensions) for vector in vectors]

    def _batch_read(self, body: bytes, batch: Sequence[TokensOrText]) -> tuple[list[list[float]], Usage]:
        """Return vectors in the order of `batch`, and what they cost; runs in a thread."""
        answer = self._read(body, len(batch))
        rows = sorted(enumerate(answer.data), key=lambda row: row[0] if row[1].index is None else row[1].index)
        usage = self._usage(answer, [one if isinstance(one, str) else " x" * len(one) for one in batch])
        return [row.embedding for _, row in rows], usage

    def _read(self, body: bytes, expected: int) -> _Answer:
        try:
            answer = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamFailed("The embedding provider sent something that is not a list of vectors.") from error
        if len(answer.data) != expected:
            raise UpstreamFailed(f"The embedding provider sent {len(answer.data)} vectors for {expected} texts.")
        return answer

    def _normalised(self, vector: list[float]) -> list[float]:
        if len(vector) != self.dimensions:
            raise UpstreamFailed(
                f"The embedding model {self.name}@{self.provider} sent vectors of length {len(vector)}, "
                f"but is configured with {self.dimensions} dimensions."
            )
        length = math.hypot(*vector)
        if not (length > 0 and math.isfinite(length)):
            raise UpstreamFailed("The embedding provider sent a vector without a direction.")
        return vector if abs(length - 1) < 1e-6 else [value / length for value in vector]

    def _usage(self, answer: _Answer, batch: Sequence[str]) -> Usage:
        found = answer.usage
        tokens = None if found is None else found.prompt_tokens or found.total_tokens
        if tokens is not None:
            return Usage(prompt_tokens=tokens)
        return Usage(prompt_tokens=sum(self._counter.count(text) for text in batch), is_estimated=True)


def _checked(vector: list[float], dimensions: int) -> list[float]:
    if len(vector) != dimensions:
        raise UpstreamFailed(f"The embedding provider sent vectors of length {len(vector)}, not {dimensions}.")
    if not math.isfinite(sum(vector)):
        raise UpstreamFailed("The embedding provider sent numbers that are none.")
    return vector
