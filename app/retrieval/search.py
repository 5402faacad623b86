"""Hybrid search in Postgres: who is a candidate, and in which order they stand (knowledge.md 4.3 to 4.5).

All of it happens inside one unit; models are asked before and after (`app/retrieval/service.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.domain.ids import ChunkId, DatasetId, DocumentId
from app.retrieval.common_words import CommonWords
from app.retrieval.query import QueryTerm, minimum_matches
from app.retrieval.scoring import Candidate, candidates, term_weights
from repositories.chunk_search import ChunkKey, ChunkSearch, FoundChunk, Holding, SearchScope

_RETRY_SHARE = 0.1  # of a short question's terms that are enough when the usual share finds nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How far a search goes.

    Up to `counted_chunks` chunks every word is counted, every chunk that holds one is ranked and every vector compared,
    in one statement. Beyond it a sample says which words are common; chunks are looked for by the `most_leading`
    rarest, `most_held` by each and by none that more than `most_scanned` hold while there is a rarer one;
    `most_lexical` of them are ranked. Vectors are compared one by one up to `exact_chunks` chunks, beyond it the index
    is asked. `vector_only_floor` is the least cosine of a chunk without the question's words when others have them;
    beside those, `most_near` of the nearest are ranked. `most_reranked` passages go to a rerank model.
    """

    vector_only_floor: float = 0.75
    counted_chunks: int = 2000
    exact_chunks: int = 20_000
    most_lexical: int = 256
    most_near: int = 64
    most_held: int = 1000
    most_scanned: int = 5000
    most_leading: int = 4
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
    common_words: CommonWords | None = None,
) -> Pool:
    """Return who is ranked: what holds the question's words, and what is near to it (knowledge.md 4.5).

    `common_words` remembers from search to search what is common in large datasets.
    """
    search = _Search(chunks, question, scope, chunk_count, config, is_iterative, common_words or CommonWords())
    beside = min(top_k, config.most_near)
    found = await search.found(beside)
    least = _least_matches(question, found.chunks)
    if beside < top_k and not any(len(chunk.words) >= least for chunk in found.chunks):
        found = await search.nearest(top_k, found.weights)
    weights = [found.weights[term.lexeme] for term in question.terms]
    ranked = candidates(
        [_candidate(chunk, weights, pageranks, least) for chunk in found.chunks],
        similarity_threshold=similarity_threshold,
        vector_only_floor=config.vector_only_floor,
        top_k=top_k,
    )
    return Pool(candidates=ranked, dataset_of={chunk.document_id: chunk.dataset_id for chunk in found.chunks})


@dataclass(frozen=True, slots=True)
class _Found:
    """Chunks that a search came across, measured; and what share of the question each of its lexemes is."""

    chunks: list[FoundChunk]
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Search:
    """The steps of one search."""

    chunks: ChunkSearch
    question: Question
    scope: SearchScope
    chunk_count: int
    config: SearchConfig
    is_iterative: bool
    common_words: CommonWords

    @property
    def _is_small(self) -> bool:
        """Whether every word is counted, and no chunk that holds one is left out."""
        return self.chunk_count <= self.config.counted_chunks

    async def found(self, most_near: int) -> _Found:
        """Return chunks that hold words of the question, and the `most_near` nearest."""
        if self._is_small:
            return await self._all(most_near)
        held, weights = await self._holding()
        near = await self._near(most_near)
        return _Found(await self._measured([*held, *near]), weights)

    async def nearest(self, most: int, weights: Mapping[str, float]) -> _Found:
        """Return at least the `most` nearest, for a question whose words next to no chunk holds."""
        if self._is_small:
            return await self._all(most)
        return _Found(await self._measured(await self._near(most)), weights)

    async def _all(self, most_near: int) -> _Found:
        terms = self.question.terms
        lexemes = [term.lexeme for term in terms]
        chunks = await self.chunks.find_small(self.scope, lexemes, vector=self.question.vector, most_near=most_near)
        counted = Counter(number for chunk in chunks for number in chunk.words)
        counts = {lexeme: counted[number] for number, lexeme in enumerate(lexemes, start=1)}
        return _Found(chunks, term_weights(terms, self.chunk_count, counts))

    async def _holding(self) -> tuple[list[ChunkKey], dict[str, float]]:
        """Return chunks that hold words of the question, the rarest words first, and what each word weighs.

        Chunks are not looked for by words that very many hold: next to nothing tells those chunks apart, so the ones
        near to the question are candidates. Such a word counts in the scores all the same. Where the rarest words are
        in no chunk the next ones lead, of common ones the rarest.
        """
        terms = self.question.terms
        factors = {term.lexeme: term.factor for term in terms}
        shares = await self.common_words.shares(self.chunks, self.scope.dataset_ids, list(factors)) if factors else {}
        frequencies = {lexeme: round(share * self.chunk_count) for lexeme, share in shares.items()}
        leading = self._leading(factors, frequencies)
        held = await self._held({one: factors[one] for one in leading})
        others = [one for one in factors if one not in leading]
        if not held.chunks and others:
            rarest = min(others, key=lambda one: frequencies.get(one, 0))
            leading = self._leading(others, frequencies) or [rarest]
            held = await self._held({one: factors[one] for one in leading})
        return held.chunks, term_weights(terms, self.chunk_count, held.counted | frequencies)

    def _leading(self, lexemes: Iterable[str], frequencies: Mapping[str, int]) -> list[str]:
        known = sorted((frequencies.get(one, 0), at, one) for at, one in enumerate(lexemes))
        return [one for count, _, one in known if count <= self.config.most_scanned][: self.config.most_leading]

    async def _held(self, factors: Mapping[str, float]) -> Holding:
        if not factors:
            return Holding(chunks=[], counted={})
        return await self.chunks.find_holding(
            self.scope,
            factors,
            chunk_count=self.chunk_count,
            most_each=self.config.most_held,
            most=self.config.most_lexical,
        )

    async def _near(self, most: int) -> list[ChunkKey]:
        vector = self.question.vector
        if self.chunk_count <= self.config.exact_chunks:
            return await self.chunks.find_nearest(self.scope, vector=vector, most=most)
        return await self.chunks.find_near(
            self.scope,
            vector=vector,
            most=most,
            ef_search=min(1000, max(40, most)),
            is_iterative=self.is_iterative,
        )

    async def _measured(self, keys: Sequence[ChunkKey]) -> list[FoundChunk]:
        """Return the measures of these chunks, each once."""
        wanted = list(dict.fromkeys(keys))
        lexemes = [term.lexeme for term in self.question.terms]
        return await self.chunks.measure(wanted, lexemes=lexemes, vector=self.question.vector) if wanted else []


def _least_matches(question: Question, found: Sequence[FoundChunk]) -> int:
    """Return how many of the question's terms make a chunk a lexical hit; fewer when no chunk has the usual share."""
    terms = len(question.terms)
    least = max(1, minimum_matches(question.text, terms))
    if any(len(chunk.words) >= least for chunk in found):
        return least
    return min(least, max(1, round(_RETRY_SHARE * terms)))


def _candidate(
    chunk: FoundChunk, weights: Sequence[float], pageranks: Mapping[DatasetId, int], least: int
) -> Candidate:
    """Return a chunk with what it holds of the question: `weights` are the shares of its lexemes, in their order."""
    words = 0.0
    for number, share in zip(chunk.words, chunk.shares, strict=True):
        words += weights[number - 1] * share
    cosine = chunk.cosine
    return Candidate(
        chunk_id=chunk.id,
        document_id=chunk.document_id,
        document_name=chunk.document_name,
        term_similarity=min(1.0, words),
        vector_similarity=min(1.0, max(0.0, cosine or 0.0)),
        rank=float(pageranks.get(chunk.dataset_id, 0)),
        is_lexical=len(chunk.words) >= least,
        cosine=cosine,
    )


def key_of(candidate: Candidate) -> tuple[DocumentId, ChunkId]:
    """Return document and chunk id: what names a chunk, since equal texts of two documents differ in both."""
    return DocumentId(candidate.document_id), ChunkId(candidate.chunk_id)
