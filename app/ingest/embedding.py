"""The vector of a chunk: what is embedded, and how the file's name is blended in (knowledge.md 5.1, 3.1).

Used for parsed chunks and for those added or changed through the API alike.
"""

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread

from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from app.llm.base import EmbeddingModel, TokenCounter

NAME_WEIGHT = 0.1
"""Share of the file name in a chunk's vector where the parser config names none."""

_LONGEST_TOKEN = 16  # characters, about; beyond that many times the limit nothing is even counted
_TABLE_TAG = re.compile(
    r"</?(?:table|thead|tbody|tfoot|caption|colgroup|col|tr|th|td)(?:\s[^<>]{0,200})?/?>", re.IGNORECASE
)


def without_table_tags(text: str) -> str:
    """Return `text` with every HTML table tag blanked; cell texts stay apart."""
    return _TABLE_TAG.sub(" ", text) if "<" in text else text


def embedded_text(content: str, questions: Sequence[str] = ()) -> str:
    """Return what a chunk's vector is made of: its questions, one per line, if it has any, else its content."""
    asked = "\n".join(question.strip() for question in questions if question.strip())
    return asked or without_table_tags(content)


def name_share(parser_config: Mapping[str, Any]) -> float:
    """Return `filename_embd_weight`; null, 0 and what is no number from 0 to 1 act as 0.1."""
    share = parser_config.get("filename_embd_weight")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        return NAME_WEIGHT
    return float(share)


def blend(name: Sequence[float], content: Sequence[float], share: float) -> list[float]:
    """Return `share` of the one and the rest of the other, L2-normalised."""
    mixed = [share * a + (1 - share) * b for a, b in zip(name, content, strict=True)]
    length = math.hypot(*mixed)
    return [value / length for value in mixed] if length else list(content)


def _blended(name: Sequence[float], vectors: Sequence[Sequence[float]], share: float) -> list[list[float]]:
    return [blend(name, vector, share) for vector in vectors]


async def embedded(
    model: EmbeddingModel, texts: Sequence[str], *, purpose: str, timeout_s: float
) -> tuple[list[list[float]], ModelCall]:
    """Return the model's vectors of `texts`, and what the ledger is to say of the one call.

    Raises:
        UpstreamFailed: the model could not answer.
    """
    started = time.monotonic()
    found = await model.embed(texts, deadline_s=asyncio.get_running_loop().time() + timeout_s)
    return found.vectors, ModelCall(
        kind="embedding",
        purpose=purpose,
        model=found.model,
        provider=found.provider,
        usage=found.usage,
        duration_ms=(time.monotonic() - started) * 1000,
    )


class ChunkEmbedder:
    """Makes the vectors of chunks of one file; every call of the model is noted in `calls`.

    With `tokens`, texts are cut to `most_tokens`, as they are where a model would refuse more: 8192 less 10.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        calls: list[ModelCall],
        *,
        batch: int = 64,
        timeout_s: float = 120.0,
        tokens: TokenCounter | None = None,
        most_tokens: int = 8182,
    ) -> None:
        self._tokens = tokens
        self._most_tokens = most_tokens
        self._model = model
        self._calls = calls
        self._batch = batch
        self._timeout_s = timeout_s

    async def embed(
        self,
        file_name: str,
        texts: Sequence[str],
        *,
        share: float = NAME_WEIGHT,
        on_batch: Callable[[int], Awaitable[None]] | None = None,
    ) -> list[list[float]]:
        """Return one vector per text (see `embedded_text`), each with `share` of the file name's.

        `on_batch` is told after each batch how many texts are done.

        Raises:
            UpstreamFailed: the model could not answer.
        """
        if not texts:
            return []
        name, *_ = await self.vectors([file_name])
        vectors: list[list[float]] = []
        for start in range(0, len(texts), self._batch):
            found = await self.vectors(texts[start : start + self._batch])
            vectors += await anyio.to_thread.run_sync(_blended, name, found, share)
            if on_batch is not None:
                await on_batch(len(vectors))
        return vectors

    async def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the model's own vectors of `texts`, in one call.

        Raises:
            UpstreamFailed: the model could not answer.
        """
        wanted = texts if self._tokens is None else await anyio.to_thread.run_sync(self._shortened, texts)
        vectors, call = await embedded(self._model, wanted, purpose="ingest", timeout_s=self._timeout_s)
        self._calls.append(call)
        return vectors

    def _shortened(self, texts: Sequence[str]) -> list[str]:
        return [self._cut(text) for text in texts]

    def _cut(self, text: str) -> str:
        if self._tokens is None or len(text) <= self._most_tokens:  # no token is shorter than a character
            return text
        text = text[: self._most_tokens * _LONGEST_TOKEN]
        while (size := self._tokens.count(text)) > self._most_tokens:
            text = text[: int(len(text) * min(0.95, self._most_tokens / size))]
        return text


def gathered(calls: Sequence[ModelCall]) -> list[ModelCall]:
    """Return one ledger line per model and purpose for the many calls of one document."""
    sums: dict[tuple[str, str, str, str], ModelCall] = {}
    for call in calls:
        key = (call.kind, call.purpose, call.model, call.provider)
        known = sums.get(key)
        sums[key] = ModelCall(
            kind=call.kind,
            purpose=call.purpose,
            model=call.model,
            provider=call.provider,
            usage=(known.usage if known else Usage()) + call.usage,
            duration_ms=(known.duration_ms if known else 0.0) + call.duration_ms,
        )
    return list(sums.values())
