"""The embedded rerank model: late interaction with the token vectors of the embedded embedding model."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from app.domain.errors import UpstreamTimeout
from app.domain.models import Usage
from app.llm.embedded_embedding import EmbeddedEmbeddingModel

_MOST_READ = 24  # passages; the service sends the best ones first, and reading 64 takes a second or two
_SLICE = 8  # passages a trip to the thread: nobody else waits longer for the model than those take
_WHOLE = 0.4  # of a score: the cosine of the whole texts; the rest is how well each token of the query is met


class EmbeddedRerankModel:
    """A `RerankModel` that runs here: `minilm-maxsim@builtin`. English; no file of its own.

    Each token of the query is held against the token of the passage that is nearest to it (ColBERT's MaxSim); the mean
    of that is blended with the cosine of the whole texts. Nothing is kept: every passage is read again, some 15 ms
    each, so only the first 24 are; the others have the least score that was found.
    """

    name = "minilm-maxsim"
    provider = "builtin"

    def __init__(self, model: EmbeddedEmbeddingModel) -> None:
        self._model = model
        self._limiter = anyio.CapacityLimiter(1)

    async def rerank(self, query: str, passages: Sequence[str], *, deadline_s: float) -> tuple[list[float], Usage]:
        """Return a score for each passage; see `RerankModel.rerank`. Usage counts the tokens that were seen.

        Raises:
            UpstreamTimeout: there was too little time.
        """
        if not passages:
            return [], Usage()
        try:
            async with asyncio.timeout_at(deadline_s):
                [asked], tokens = await self._vectors([query])
                scores: list[float] = []
                for start in range(0, min(len(passages), _MOST_READ), _SLICE):
                    read, counted = await self._vectors(passages[start : min(start + _SLICE, _MOST_READ)])
                    tokens += counted
                    scores += [_score(asked, each) for each in read]
        except TimeoutError as error:
            raise UpstreamTimeout("The embedded rerank model had too little time.") from error
        return scores + [min(scores)] * (len(passages) - len(scores)), Usage(prompt_tokens=tokens)

    async def _vectors(self, texts: Sequence[str]) -> tuple[list[Any], int]:
        run = partial(self._model.token_vectors_sync, texts)
        return await anyio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=True)


def _score(asked: Any, read: Any) -> float:
    """Return 0..1; the marks that open and close a text are no tokens of the query."""
    import numpy

    query, passage = _unit(asked[1:-1] if len(asked) > 2 else asked), _unit(read)
    met = float((query @ passage.T).max(axis=1).mean())
    whole = float(numpy.dot(_unit(asked.mean(axis=0)), _unit(read.mean(axis=0))))
    return min(1.0, max(0.0, _WHOLE * whole + (1 - _WHOLE) * met))


def _unit(vectors: Any) -> Any:
    import numpy

    return vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
