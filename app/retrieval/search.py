"""Hybrid search in Postgres: who is a candidate, and in which order they stand (knowledge.md 4.3 to 4.5).

All of it happens inside one unit; models are asked before and after (`app/retrieval/service.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.ids import ChunkId, DatasetId, DocumentId
from app.retrieval.query import QueryTerm, minimum_matches
from app.retrieval.scoring import Candidate, candidates, term_weights
from repositories.chunk_search import ChunkSearch, FoundChunk, SearchScope

_RETRY_SHARE = 0.1  # of a short question's terms that are enough when the usual share finds nothing
_COMMON_SHARE = 0.1  # of a large dataset's chunks: a word in that many is common


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How far a search goes.

    Up to `exact_chunks` chunks the vectors are compared one by one, beyond it through the index. `vector_only_floor`
    is the least cosine of a chunk without the question's words when others have them. `most_lexical` and
    `most_beside_lexical` bound how many candidates are ranked, `most_counted` how far frequencies are counted.
    `most_reranked` passages go to a rerank model.
    """

    vector_only_floor: float = 0.75
    exact_chunks: int = 20_000
    most_lexical: int = 4096
    most_beside_lexical: int = 128
    most_counted: int = 10_000
    most_reranked: int = 64
    embed_timeout_s: float = 30.0
    rerank_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for: terms for the text search, a vector for the other."""

    text: str
    terms: Sequence[QueryTerm]
    vector: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The candidates; `dataset_of` tells where each is, by document."""

    candidates: list[Candidate]
    dataset_of: dict[str, DatasetId]


async def gather(
    chunks: ChunkSearch,
    question: Question,
    scope: SearchScope,
    *,
    chunk_count: int,
    pageranks: Mapping[DatasetId, int],
    similarity_threshold: float,
    top_k: int,
    config: SearchConfig,
    is_iterative: bool,
) -> Pool:
    """Return who is ranked: what holds the question's words, and what is near to it (knowledge.md 4.5)."""
    lexical = await _lexical(chunks, question, scope, chunk_count=chunk_count, config=config)
    is_exact = chunk_count <= config.exact_chunks
    most = min(top_k, config.most_beside_lexical) if lexical else top_k
    if not is_exact:
        await chunks.tune(ef_search=min(1000, max(40, most // 4)), is_iterative=is_iterative)
    least = max(similarity_threshold, config.vector_only_floor) if lexical else similarity_threshold
    near = await chunks.find_near(scope, vector=question.vector, least=least, most=most, is_exact=is_exact)
    found = {chunk.id: _candidate(chunk, pageranks, is_lexical=False) for chunk in near}
    found |= {chunk.id: _candidate(chunk, pageranks, is_lexical=True) for chunk in lexical}
    ranked = candidates(
        found.values(),
        similarity_threshold=similarity_threshold,
        vector_only_floor=config.vector_only_floor,
        top_k=top_k,
    )
    return Pool(candidates=ranked, dataset_of={chunk.document_id: chunk.dataset_id for chunk in (*near, *lexical)})


async def _lexical(
    chunks: ChunkSearch, question: Question, scope: SearchScope, *, chunk_count: int, config: SearchConfig
) -> list[FoundChunk]:
    if not question.terms:
        return []
    lexemes = [term.lexeme for term in question.terms]
    frequencies = await chunks.frequencies(scope.dataset_ids, lexemes, most=config.most_counted)
    weights = term_weights(question.terms, chunk_count, frequencies)
    found = await chunks.find_lexical(
        scope,
        lexemes=_telling(frequencies, chunk_count, config),
        weights=weights,
        vector=question.vector,
        most=config.most_lexical,
    )
    least = minimum_matches(question.text, len(lexemes))
    enough = [chunk for chunk in found if chunk.matched >= least]
    if not enough:
        looser = max(1, round(_RETRY_SHARE * len(lexemes)))
        enough = [chunk for chunk in found if chunk.matched >= looser]
    return enough


def _telling(frequencies: Mapping[str, int], chunk_count: int, config: SearchConfig) -> list[str]:
    """Return the lexemes that make a chunk a candidate.

    In a large dataset a word of every tenth chunk does not, if there are rarer ones in the question: it would bring
    a crowd of chunks that score by it next to nothing. It counts in the scores all the same.
    """
    if chunk_count <= config.exact_chunks:
        return list(frequencies)
    common = min(config.most_counted, chunk_count * _COMMON_SHARE)
    rare = [lexeme for lexeme, frequency in frequencies.items() if frequency < common]
    return rare if any(frequencies[lexeme] for lexeme in rare) else list(frequencies)


def _candidate(chunk: FoundChunk, pageranks: Mapping[DatasetId, int], *, is_lexical: bool) -> Candidate:
    return Candidate(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        document_name=chunk.document_name,
        term_similarity=min(1.0, chunk.weight),
        vector_similarity=min(1.0, max(0.0, chunk.cosine or 0.0)),
        rank=float(pageranks.get(chunk.dataset_id, 0)),
        is_lexical=is_lexical,
        cosine=chunk.cosine,
    )


def key_of(candidate: Candidate) -> tuple[DocumentId, ChunkId]:
    """Return document and chunk id: what names a chunk, since equal texts of two documents differ in both."""
    return DocumentId(candidate.document_id), ChunkId(candidate.chunk_id)
