"""A rerank model's relevance in the place of the cosines (knowledge.md 4.3 step 4)."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import structlog

from app.domain.errors import UpstreamFailed
from app.domain.retrieval import ModelCall
from app.llm.base import RerankModel
from app.retrieval.scoring import Candidate

log = structlog.get_logger()


async def reranked(
    question: str,
    candidates: Sequence[Candidate],
    passages: Sequence[str],
    reranker: RerankModel,
    *,
    calls: list[ModelCall],
    timeout_s: float,
) -> list[Candidate]:
    """Return the candidates with the model's relevance; as they are when it cannot answer (design.md 3).

    `passages` are their original texts. What the call cost is added to `calls`.
    """
    started = time.monotonic()
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    try:
        scores, usage = await reranker.rerank(question, passages, deadline_s=deadline_s)
    except UpstreamFailed as error:
        log.warning("rerank_failed", model=reranker.name, error=error.message)
        return list(candidates)
    calls.append(
        ModelCall(
            kind="rerank",
            purpose="query",
            model=reranker.name,
            provider=reranker.provider,
            usage=usage,
            duration_ms=(time.monotonic() - started) * 1000,
        )
    )
    return [replace(c, vector_similarity=score) for c, score in zip(candidates, scores, strict=True)]
