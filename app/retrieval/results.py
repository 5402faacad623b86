"""What was found, on its way to a page of hits (knowledge.md 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.ids import DatasetId, DocumentId
from app.domain.references import DocumentCount, Reference
from app.domain.retrieval import GraphHit, ModelCall, SearchHit, SearchRequest, SearchResult
from app.retrieval.highlight import highlight
from app.retrieval.scoring import Candidate, Hit, HitPage, page_of, rank
from app.retrieval.search import Question, key_of
from app.retrieval.text_index import token_stream
from repositories.chunk_search import ChunkBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Candidates, in which dataset each document is, and the texts of those that are shown, by document and chunk.

    `shown` is the page of them, where it was made already.
    """

    candidates: list[Candidate]
    dataset_of: Mapping[str, DatasetId]
    bodies: Mapping[tuple[str, str], ChunkBody]
    shown: HitPage | None = None


def ranked(candidates: list[Candidate], request: SearchRequest) -> list[Hit]:
    """Return all that reaches the threshold of a request, best first."""
    return rank(
        candidates,
        vector_similarity_weight=request.vector_similarity_weight,
        similarity_threshold=request.similarity_threshold,
    )


def page(candidates: list[Candidate], request: SearchRequest) -> HitPage:
    """Return the page a request asks for, of the ranking of all candidates."""
    return page_of(ranked(candidates, request), page=request.page, page_size=request.page_size)


def result(
    found: Found, request: SearchRequest, question: Question, graph: GraphHit | None, calls: list[ModelCall]
) -> SearchResult:
    """Return the page with its texts; a chunk deleted meanwhile is left out."""
    shown = found.shown or page(found.candidates, request)
    wanted = frozenset(term.lexeme for term in question.terms)
    return SearchResult(
        hits=[
            _search_hit(hit, found, marked=wanted if request.highlight else None, has_tokens=request.has_tokens)
            for hit in shown.hits
            if key_of(hit.candidate) in found.bodies
        ],
        total=shown.total,
        documents=[
            DocumentCount(DocumentId(each.document_id), each.document_name, each.count) for each in shown.documents
        ],
        graph=graph,
        calls=calls,
    )


def _search_hit(hit: Hit, found: Found, *, marked: frozenset[str] | None, has_tokens: bool) -> SearchHit:
    candidate = hit.candidate
    document_id, chunk_id = key_of(candidate)
    body = found.bodies[document_id, chunk_id]
    return SearchHit(
        reference=Reference(
            chunk_id=chunk_id,
            content=body.content,
            document_id=document_id,
            document_name=candidate.document_name,
            dataset_id=found.dataset_of[document_id],
            positions=body.positions,
            image_id=body.image_id,
            doc_type=body.doc_type,
            similarity=hit.similarity,
            vector_similarity=candidate.vector_similarity,
            term_similarity=hit.term_similarity,
        ),
        content_ltks=token_stream(body.content) if has_tokens else "",
        important_keywords=body.important_keywords,
        questions=body.questions,
        highlight=highlight(body.content, marked) if marked is not None else None,
        document_metadata=body.document_metadata,
    )
