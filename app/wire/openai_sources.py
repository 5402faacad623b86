"""The sources of an answer as `/v1` tells them: annotations of markers, and the reference object (openai.md 9)."""

from collections.abc import Callable, Sequence
from typing import Any

from app.domain.events import RetrievalDone
from app.domain.references import Reference, count_documents
from app.wire.inline_markers import Span
from app.wire.references import chunk_12, doc_aggs

Link = Callable[[Reference], str]
"""Gives the address of a reference's source."""

_CHUNK_KEYS = (
    "id",
    "content",
    "document_id",
    "document_name",
    "dataset_id",
    "similarity",
    "vector_similarity",
    "term_similarity",
    "positions",
    "image_id",
)


def annotations(spans: Sequence[Span], references: Sequence[Reference], link: Link) -> list[dict[str, Any]]:
    """Return a `url_citation` for each marker shown."""
    return [_annotation(references[span.number], span.start, span.end, link) for span in spans]


def reference_object(found: RetrievalDone, cited: Sequence[int], link: Link) -> dict[str, Any]:
    """Return what the model was given, and its documents: those cited, or all when none was."""
    return {
        "total": found.total,
        "chunks": [_chunk_object(each, link) for each in found.references],
        "doc_aggs": doc_aggs(count_documents(found.references, cited)),
    }


def _annotation(reference: Reference, start: int, end: int, link: Link) -> dict[str, Any]:
    cited = {"url": link(reference), "title": reference.document_name, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": cited}


def _chunk_object(reference: Reference, link: Link) -> dict[str, Any]:
    told = chunk_12(reference)
    return {key: told[key] for key in _CHUNK_KEYS} | {"url": link(reference)}
