"""Reranking over a `/rerank` endpoint: the shape of Cohere, Jina, vLLM and llama.cpp, or that of TEI."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.domain.errors import UpstreamFailed
from app.domain.models import Usage
from app.llm.base import AttemptObserver, TokenCounter
from app.llm.http_calls import Endpoint, JsonCaller
from app.llm.retry import REAL, Surroundings
from app.net.http import HttpClient

RerankShape = Literal["cohere", "tei"]


class _Row(msgspec.Struct):
    index: int
    relevance_score: float | None = None
    score: float | None = None


class _Tokens(msgspec.Struct):
    total_tokens: int | None = None
    prompt_tokens: int | None = None
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    tokens: _Tokens | None = None


class _Answer(msgspec.Struct):
    results: list[_Row] | None = None
    data: list[_Row] | None = None  # Voyage
    usage: _Tokens | None = None
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Answer | list[_Row]).decode


class HttpRerankModel:
    """A `RerankModel` over HTTP. Scores outside 0 to 1 are logits and go through the logistic function."""

    def __init__(
        self,
        endpoint: Endpoint,
        http: HttpClient,
        counter: TokenCounter,
        *,
        shape: RerankShape = "cohere",
        on_attempt: AttemptObserver | None = None,
        surroundings: Surroundings = REAL,
    ) -> None:
        self.name = endpoint.name
        self.provider = endpoint.provider
        self._shape: RerankShape = shape
        self._counter = counter
        self._caller = JsonCaller(endpoint, "rerank", http, on_attempt, surroundings)

    async def rerank(self, query: str, passages: Sequence[str], *, deadline_s: float) -> tuple[list[float], Usage]:
        """Return a score for each passage; see `RerankModel.rerank`. A passage the provider left out has 0."""
        if not passages:
            return [], Usage()
        answer = _read(await self._caller.post(self._body(query, passages), deadline_s=deadline_s))
        rows = answer if isinstance(answer, list) else answer.results or answer.data or []
        found = {row.index: _score(row) for row in rows}
        if not found or not all(0 <= index < len(passages) for index in found):
            raise UpstreamFailed("The rerank provider sent scores that do not fit the passages.")
        if not all(0 <= score <= 1 for score in found.values()):
            found = {index: _logistic(score) for index, score in found.items()}
        return [found.get(index, 0.0) for index in range(len(passages))], self._usage(answer, query, passages)

    def _body(self, query: str, passages: Sequence[str]) -> dict[str, Any]:
        if self._shape == "tei":
            return {"query": query, "texts": list(passages), "raw_scores": False, "truncate": True}
        return {
            "model": self._caller.model,
            "query": query,
            "documents": list(passages),
            "top_n": len(passages),
            "return_documents": False,
        }

    def _usage(self, answer: _Answer | list[_Row], query: str, passages: Sequence[str]) -> Usage:
        if not isinstance(answer, list):
            for tokens in (answer.usage, answer.meta and answer.meta.tokens):
                if tokens and (count := tokens.total_tokens or tokens.prompt_tokens or tokens.input_tokens):
                    return Usage(prompt_tokens=int(count))
        count = self._counter.count(query) * len(passages) + sum(self._counter.count(text) for text in passages)
        return Usage(prompt_tokens=count, is_estimated=True)


def _read(body: bytes) -> _Answer | list[_Row]:
    try:
        answer: _Answer | list[_Row] = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed("The rerank provider sent something that is not a list of scores.") from error
    return answer


def _score(row: _Row) -> float:
    score = row.relevance_score if row.relevance_score is not None else row.score
    if score is None or not math.isfinite(score):
        raise UpstreamFailed("The rerank provider sent a passage without a score.")
    return score


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))
