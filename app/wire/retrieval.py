"""What a search found, as JSON values (knowledge.md 4.2, 4.7, 4.8)."""

from typing import Any

from app.domain.retrieval import GRAPH_TITLE, GraphHit, SearchHit, SearchResult


def search_result(result: SearchResult) -> dict[str, Any]:
    """Return a page of hits. A search that was never made has `{}` for `doc_aggs` (knowledge.md 4.2)."""
    is_marked = any(hit.highlight is not None for hit in result.hits)
    graph = [_graph_chunk(result.graph, is_marked=is_marked)] if result.graph is not None else []
    counts = [
        {"doc_name": each.document_name, "doc_id": each.document_id, "count": each.count} for each in result.documents
    ]
    return {
        "total": result.total,
        "chunks": [*graph, *(_chunk(hit, is_marked=is_marked) for hit in result.hits)],
        "doc_aggs": counts if result.is_searched else {},
    }


def dify_records(result: SearchResult) -> dict[str, Any]:
    """Return a page of hits as Dify reads them. Our own keys win over metadata of the same name."""
    records = [
        {
            "content": hit.reference.content,
            "score": hit.reference.similarity,
            "title": hit.reference.document_name,
            "metadata": {
                **hit.document_metadata,
                "doc_id": hit.reference.document_id,
                "document_id": hit.reference.document_id,
            },
        }
        for hit in result.hits
    ]
    if result.graph is not None:
        about = {"doc_id": "", "document_id": ""}
        records.insert(0, {"content": result.graph.content, "score": 1.0, "title": GRAPH_TITLE, "metadata": about})
    return {"records": records}


def _chunk(hit: SearchHit, *, is_marked: bool) -> dict[str, Any]:
    found = hit.reference
    told = {
        "id": found.chunk_id,
        "content": found.content,
        "content_ltks": hit.content_ltks,
        "document_id": found.document_id,
        "document_keyword": found.document_name,
        "document_name": found.document_name,
        "dataset_id": found.dataset_id,
        "important_keywords": hit.important_keywords,
        "questions": hit.questions,
        "image_id": found.image_id,
        "positions": found.positions,
        "doc_type_kwd": found.doc_type,
        "similarity": found.similarity,
        "vector_similarity": found.vector_similarity,
        "term_similarity": found.term_similarity,
    }
    if is_marked:
        told["highlight"] = hit.highlight if hit.highlight is not None else found.content
    return told


def _graph_chunk(graph: GraphHit, *, is_marked: bool) -> dict[str, Any]:
    told = {
        "id": graph.id,
        "content": graph.content,
        "content_ltks": "",
        "document_id": "",
        "document_keyword": GRAPH_TITLE,
        "document_name": GRAPH_TITLE,
        "dataset_id": list(graph.dataset_ids),
        "important_keywords": [],
        "questions": [],
        "image_id": "",
        "positions": [],
        "doc_type_kwd": "",
        "similarity": 1.0,
        "vector_similarity": 1.0,
        "term_similarity": 0,
    }
    return told | ({"highlight": graph.content} if is_marked else {})
