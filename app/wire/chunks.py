"""Chunks as JSON values (knowledge.md 3.1, 3.2)."""

from typing import Any

from app.domain.datasets import StoredChunk
from app.ingest.images import image_id
from app.services.chunk_editing import AddedChunk


def listed(stored: StoredChunk, document_name: str, highlight: str | None = None) -> dict[str, Any]:
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
        "doc_type_kwd": stored.doc_type or "text",
        "tag_kwd": stored.tags,
        "tag_feas": stored.tag_weights,
    }


def added(chunk: AddedChunk) -> dict[str, Any]:
    """Return a chunk as it was added."""
    told: dict[str, Any] = {
        "id": chunk.id,
        "content": chunk.fields.content,
        "dataset_id": chunk.dataset_id,
        "document_id": chunk.document_id,
        "important_keywords": chunk.fields.important_keywords,
        "questions": chunk.fields.questions,
        "create_time": chunk.created_at.strftime("%Y-%m-%d %H:%M:%S"),
        "create_timestamp": chunk.created_at.timestamp(),
    }
    if chunk.fields.tags:
        told["tag_kwd"] = chunk.fields.tags
    if chunk.fields.tag_weights:
        told["tag_feas"] = chunk.fields.tag_weights
    if chunk.fields.picture is not None:
        told["image_id"] = image_id(chunk.dataset_id, chunk.id)
    return told
