"""Chunks and document counts as answers show them (conversations.md 3.4, knowledge.md 4.9)."""

import math
from collections.abc import Iterable
from typing import Any

from app.domain.references import DocumentCount, Reference


def chunk_7(reference: Reference) -> dict[str, Any]:
    """Return a chunk as session lists show it: seven keys, and the seeds' three names for some of them."""
    return {
        "id": reference.chunk_id,
        "content": reference.content,
        "document_id": reference.document_id,
        "document_name": reference.document_name,
        "dataset_id": reference.dataset_id,
        "image_id": reference.image_id,
        "positions": reference.positions,
        "chunk_id": reference.chunk_id,
        "doc_id": reference.document_id,
        "doc_name": reference.document_name,
    }


def chunk_12(reference: Reference) -> dict[str, Any]:
    """Return a chunk as answers show it: twelve keys, and the seeds' three names for some of them."""
    return chunk_7(reference) | {
        "url": reference.url,
        "similarity": _finite(reference.similarity),
        "vector_similarity": _finite(reference.vector_similarity),
        "term_similarity": _finite(reference.term_similarity),
        "doc_type": reference.doc_type,
    }


def chunk_with_metadata(reference: Reference, fields: frozenset[str] | None) -> dict[str, Any]:
    """Return a chunk with its document's metadata: all of it for no fields, those named, or none for None (5.1)."""
    chunk = chunk_12(reference)
    if fields is None:
        return chunk
    held = reference.metadata
    return chunk | {"document_metadata": {name: held[name] for name in held if not fields or name in fields}}


def doc_aggs(counts: Iterable[DocumentCount]) -> list[dict[str, Any]]:
    """Return the documents an answer rests on, in the order given."""
    return [{"doc_name": each.document_name, "doc_id": each.document_id, "count": each.count} for each in counts]


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
