"""What lifts chunks above their similarity: tags they share with the question, and tables of contents.

knowledge.md 4.3, 5.12. Both add to a chunk's rank, unscaled.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from app.domain.datasets import Dataset
from app.domain.ids import ChunkId, DocumentId
from app.retrieval.results import Found
from app.retrieval.scoring import Candidate, Hit
from app.retrieval.search import Question, key_of
from app.retrieval.tags import tag_similarity
from app.retrieval.toc import ContentsBoosts
from repositories.chunk_search import ChunkKey
from repositories.unit_of_work import UnitOfWork


async def lifted_by_tags(
    unit: UnitOfWork, candidates: Sequence[Candidate], query_tags: Mapping[str, float]
) -> list[Candidate]:
    """Return the candidates with what their tags add; untouched when the question has none."""
    if not query_tags or not candidates:
        return list(candidates)
    tags = await unit.tags.weights([key_of(candidate) for candidate in candidates])
    return [
        replace(each, rank=each.rank + tag_similarity(query_tags, tags[key_of(each)])) if key_of(each) in tags else each
        for each in candidates
    ]


def similarities(hits: Iterable[Hit]) -> list[tuple[DocumentId, float]]:
    """Return document and similarity of each hit: what a table of contents is chosen by."""
    return [(DocumentId(hit.candidate.document_id), hit.similarity) for hit in hits]


async def lifted_by_contents(
    unit: UnitOfWork, found: Found, question: Question, datasets: Sequence[Dataset], boosts: ContentsBoosts
) -> Found:
    """Return what was found with the boosts; chunks a heading speaks for and nothing else does are fetched.

    A fetched chunk has the cosine it has, and no words of the question.
    """
    present = {key_of(candidate) for candidate in found.candidates}
    absent = [chunk_id for chunk_id in boosts.scores if (boosts.document_id, chunk_id) not in present]
    pageranks = {dataset.id: float(dataset.pagerank) for dataset in datasets}
    fetched = [
        Candidate(
            chunk_id=chunk.id,
            document_id=chunk.document_id,
            document_name=chunk.document_name,
            term_similarity=0.0,
            vector_similarity=min(1.0, max(0.0, chunk.cosine or 0.0)),
            rank=pageranks.get(chunk.dataset_id, 0.0),
            cosine=chunk.cosine,
        )
        for chunk in await unit.chunk_search.measure(
            [ChunkKey(boosts.document_id, chunk_id) for chunk_id in absent], lexemes=(), vector=question.vector
        )
    ]
    return replace(found, shown=None, candidates=[_lifted(each, boosts) for each in (*found.candidates, *fetched)])


def _lifted(candidate: Candidate, boosts: ContentsBoosts) -> Candidate:
    if candidate.document_id != boosts.document_id:
        return candidate
    return replace(candidate, rank=candidate.rank + boosts.scores.get(ChunkId(candidate.chunk_id), 0.0))
