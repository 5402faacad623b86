"""How a chunk's score is made, which chunks are candidates, and how hits are paged (knowledge.md 4.2 to 4.5, 7.3)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.retrieval.query import QueryTerm

USUAL_WEIGHT = 0.3
"""The vector similarity weight that a search has when nobody says otherwise (knowledge.md 4.1)."""


@dataclass(slots=True, kw_only=True)  # not frozen: a search makes hundreds, and frozen ones take twice as long
class Candidate:
    """A chunk that may answer, with its raw measures.

    `term_similarity` (0..1) is how much of the question's words is in it. `vector_similarity` is a cosine, or a
    reranker's relevance in its place. `cosine` is kept beside it for the candidate rule, since reranking does not
    change who is a candidate. `rank` is added unscaled. `is_lexical` tells that the text search found it.
    """

    chunk_id: str
    document_id: str
    document_name: str
    term_similarity: float
    vector_similarity: float
    rank: float = 0.0
    is_lexical: bool = False
    cosine: float | None = None


@dataclass(slots=True, kw_only=True)  # not frozen, as `Candidate`
class Hit:
    """A candidate with its final score, and the term similarity that went into it (see `rank`)."""

    candidate: Candidate
    similarity: float
    term_similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentCount:
    """How many hits a document has (`doc_aggs`)."""

    document_id: str
    document_name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HitPage:
    """One page of a ranking; `total` and `documents` count all hits, not the page's."""

    hits: tuple[Hit, ...]
    total: int
    documents: tuple[DocumentCount, ...]


def idf(documents: int, frequency: int) -> float:
    """Return log10(10 + (N - n + 0.5) / (n + 0.5)): at least about 1, so that common terms still count."""
    found = min(max(frequency, 0), max(documents, 0))
    return math.log10(10 + (max(documents, 0) - found + 0.5) / (found + 0.5))


def term_weights(terms: Sequence[QueryTerm], documents: int, frequencies: Mapping[str, int]) -> dict[str, float]:
    """Return each lexeme's share of the question; the shares add up to 1. `frequencies` counts chunks per lexeme."""
    raw = {term.lexeme: term.factor * idf(documents, frequencies.get(term.lexeme, 0)) for term in terms}
    total = sum(raw.values())
    return {lexeme: weight / total for lexeme, weight in raw.items()} if total else {}


def candidates(
    pool: Iterable[Candidate], *, similarity_threshold: float, vector_only_floor: float, top_k: int
) -> list[Candidate]:
    """Return who is ranked (knowledge.md 4.5).

    All lexical hits, unlimited, and of the `top_k` nearest by cosine those above `vector_only_floor`; without any
    lexical hit, the `top_k` nearest whose cosine reaches the threshold.
    """
    found = list({(candidate.document_id, candidate.chunk_id): candidate for candidate in pool}.values())
    lexical = [candidate for candidate in found if candidate.is_lexical]
    floor = max(vector_only_floor, similarity_threshold) if lexical else similarity_threshold
    near = sorted((c for c in found if c.cosine is not None and c.cosine >= floor), key=_nearest_first)[:top_k]
    return lexical + [candidate for candidate in near if not candidate.is_lexical]


def rank(pool: Sequence[Candidate], *, vector_similarity_weight: float, similarity_threshold: float) -> list[Hit]:
    """Return the hits at or above the threshold, best first, ties by chunk id (knowledge.md 4.3).

    The score is (1 - w) * term + w * vector + rank, with w clamped to 0..1. What a chunk lacks of the question's words
    counts as held by synonyms in the measure in which it is near, and a part of its words counts for less than that
    part: term = words^2 + (1 - words^2) * vector. A weight below the usual one takes both back, down to the bare words
    at 0. When every vector similarity is 0, the score is the term similarity alone.
    """
    weight = clamp_weight(vector_similarity_weight)
    if not any(candidate.vector_similarity for candidate in pool):
        weight = 0.0
    trust = min(1.0, weight / USUAL_WEIGHT)
    hits: list[Hit] = []
    for candidate in pool:
        words, vector = candidate.term_similarity, candidate.vector_similarity
        held = max(0.0, words) ** (1 + trust)
        term = held + (1 - held) * min(1.0, max(0.0, vector)) * trust
        similarity = (1 - weight) * term + weight * vector + candidate.rank
        if similarity >= similarity_threshold:
            hits.append(Hit(candidate=candidate, similarity=similarity, term_similarity=term))
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.candidate.chunk_id, hit.candidate.document_id))


def page_of(hits: Sequence[Hit], *, page: int, page_size: int) -> HitPage:
    """Return page `page` (from 1) of a whole ranking."""
    start = (max(page, 1) - 1) * max(page_size, 0)
    return HitPage(
        hits=tuple(hits[start : start + max(page_size, 0)]), total=len(hits), documents=document_counts(hits)
    )


def document_counts(hits: Iterable[Hit]) -> tuple[DocumentCount, ...]:
    """Return hits per document, most first, ties in the order of their best hit."""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for hit in hits:
        counts[hit.candidate.document_id] += 1
        names.setdefault(hit.candidate.document_id, hit.candidate.document_name)
    return tuple(
        DocumentCount(document_id=document_id, document_name=names[document_id], count=count)
        for document_id, count in counts.most_common()
    )


def clamp_weight(weight: float) -> float:
    """Return the weight in 0..1; clients send 10 and expect lexical hits to stay (knowledge.md 4.1)."""
    return 0.0 if math.isnan(weight) else min(1.0, max(0.0, weight))


def _nearest_first(candidate: Candidate) -> tuple[float, str]:
    return (-(candidate.cosine or 0.0), candidate.chunk_id)
