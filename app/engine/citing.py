"""Citations of a finished answer: repaired where the model wrote them, placed where it did not (10.7, 8 to 10)."""

import time
from collections.abc import Sequence

import numpy as np
import structlog
from anyio import to_thread

from app.domain.errors import UpstreamFailed
from app.domain.retrieval import ModelCall
from app.engine.ask import Ask
from app.engine.draft import Draft
from app.retrieval.answer_text import split_answer
from app.retrieval.citations import cited_numbers, insert_citations, piece_similarity, repair_markers
from app.retrieval.lexemes import lexemes

log = structlog.get_logger()


async def place_citations(ask: Ask, draft: Draft, *, deadline_s: float) -> None:
    """Set the draft's repaired text and cited numbers; a failing embedding model leaves the text uncited."""
    text = await to_thread.run_sync(repair_markers, draft.text, len(draft.references))
    if not cited_numbers(text) and text.strip() and ask.embedding is not None:
        try:
            text = await _inserted(ask, draft, text, deadline_s=deadline_s)
        except UpstreamFailed as error:
            log.info("citations_failed", error=error.kind)
    draft.repaired = text
    draft.cited = _cited(text, draft)


def mend_citations(ask: Ask, draft: Draft) -> None:
    """Repair the markers of an answer that was broken off; none are placed."""
    if draft.references and ask.skin.is_marking and draft.repaired is None:
        draft.repaired = repair_markers(draft.text, len(draft.references))
        draft.cited = _cited(draft.repaired, draft)


def _cited(text: str, draft: Draft) -> tuple[int, ...]:
    return tuple(number for number in cited_numbers(text) if number < len(draft.references))


async def _inserted(ask: Ask, draft: Draft, text: str, *, deadline_s: float) -> str:
    assert ask.embedding is not None  # noqa: S101 (the caller looked)
    pieces = split_answer(text)
    wanted = [index for index, piece in enumerate(pieces) if piece.is_citable]
    if not wanted:
        return text
    contents = [reference.content for reference in draft.references]
    begun = time.perf_counter()
    embedded = await ask.embedding.embed([*(pieces[index].text for index in wanted), *contents], deadline_s=deadline_s)
    draft.spent(
        ModelCall(
            kind="embedding",
            purpose="cite",
            model=embedded.model,
            provider=embedded.provider,
            usage=embedded.usage,
            duration_ms=(time.perf_counter() - begun) * 1000,
        )
    )
    vectors = np.asarray(embedded.vectors, dtype=np.float32)
    weight = ask.chat.vector_similarity_weight

    def insert() -> str:
        cosines = vectors[: len(wanted)] @ vectors[len(wanted) :].T
        bags = [set(lexemes(content)) for content in contents]

        def similarities(index: int) -> Sequence[float]:
            row = cosines[wanted.index(index)]
            text = pieces[index].text
            return [piece_similarity(text, bag, float(row[n]), weight) for n, bag in enumerate(bags)]

        return insert_citations(pieces, similarities)

    return await to_thread.run_sync(insert)
