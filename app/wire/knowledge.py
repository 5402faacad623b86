"""Datasets, documents, chunks and search results as JSON values (knowledge.md 1.8, 2.8, 3.2, 4.2)."""

from typing import Any

from app.domain.datasets import Dataset, Document, StoredChunk
from app.domain.retrieval import SearchHit, SearchResult
from app.wire.envelope import http_date, times


def dataset(stored: Dataset) -> dict[str, Any]:
    """Return the dataset object."""
    return {
        "id": stored.id,
        "tenant_id": stored.tenant_id,
        "created_by": stored.tenant_id,
        "name": stored.name,
        "avatar": stored.avatar,
        "description": stored.description,
        "language": stored.language,
        "permission": stored.permission,
        "status": "1",
        "embedding_model": stored.embedding_model,
        "chunk_method": stored.chunk_method,
        "pipeline_id": None,
        "parser_config": stored.parser_config,
        "pagerank": stored.pagerank,
        "document_count": stored.document_count,
        "chunk_count": stored.chunk_count,
        "token_num": stored.token_count,
        "similarity_threshold": 0.2,
        "vector_similarity_weight": 0.3,
        "graphrag_task_id": None,
        "graphrag_task_finish_at": None,
        "raptor_task_id": None,
        "raptor_task_finish_at": None,
        "mindmap_task_id": None,
        "mindmap_task_finish_at": None,
        **times(stored.created_at, stored.updated_at),
    }


def document(stored: Document) -> dict[str, Any]:
    """Return the document object."""
    began = stored.process_begin_at
    return {
        "id": stored.id,
        "dataset_id": stored.dataset_id,
        "name": stored.name,
        "location": stored.location,
        "type": stored.type,
        "suffix": stored.suffix,
        "size": stored.size_bytes,
        "source_type": stored.source_type,
        "thumbnail": stored.thumbnail,
        "chunk_method": stored.chunk_method,
        "pipeline_id": None,
        "parser_config": stored.parser_config,
        "created_by": stored.tenant_id,
        "meta_fields": stored.meta_fields,
        "status": "1" if stored.is_enabled else "0",
        "chunk_count": stored.chunk_count,
        "token_count": stored.token_count,
        "run": stored.run.value,
        "progress": stored.progress,
        "progress_msg": stored.progress_msg,
        "process_begin_at": http_date(began) if began is not None else None,
        "process_duration": stored.process_duration_s,
        **times(stored.created_at, stored.updated_at),
    }


def listed_document(stored: Document) -> dict[str, Any]:
    """Return the document object as lists show it."""
    return {**document(stored), "title": None}


def chunk(stored: StoredChunk, document_name: str, highlight: str | None = None) -> dict[str, Any]:
    """Return a chunk as lists show it; `highlight` takes the place of the content."""
    return {
        "id": stored.id,
        "content": stored.content if highlight is None else highlight,
        "document_id": stored.document_id,
        "docnm_kwd": document_name,
        "dataset_id": stored.dataset_id,
        "important_keywords": stored.important_keywords,
        "questions": stored.questions,
        "image_id": stored.image_id,
        "available": stored.is_available,
        "positions": stored.positions,
    }


def search_result(result: SearchResult) -> dict[str, Any]:
    """Return a page of hits. A search that was never made has `{}` for `doc_aggs` (knowledge.md 4.2)."""
    is_marked = any(hit.highlight is not None for hit in result.hits)
    return {
        "total": result.total,
        "chunks": [_hit(hit, is_marked=is_marked) for hit in result.hits],
        "doc_aggs": [
            {"doc_name": each.document_name, "doc_id": each.document_id, "count": each.count}
            for each in result.documents
        ],
    }


NOTHING_SEARCHED: dict[str, Any] = {"total": 0, "chunks": [], "doc_aggs": {}}
"""The answer to an empty question, and to a metadata condition no document meets."""


def _hit(hit: SearchHit, *, is_marked: bool) -> dict[str, Any]:
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
