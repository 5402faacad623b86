"""The sources of an answer as `/v1` tells them: annotations of markers, and the reference object (openai.md 9)."""

from collections.abc import Callable, Sequence
from typing import Any

from app.domain.events import RetrievalDone
from app.domain.references import GONE, Reference, count_documents, shown
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


_LINK_KEYS = ("url", "link", "source_url", "source")  # of a document's metadata, whatever their case
_LINK_CHARS = 2000


def own_link(reference: Reference) -> str | None:
    """Return where a page of the web is, or where the metadata of a document says it is; None when nothing does."""
    if reference.url:
        return reference.url
    told = {name.lower(): value for name, value in reference.metadata.items()}
    return next((link for name in _LINK_KEYS if (link := _web_address(told.get(name))) is not None), None)


def _web_address(value: Any) -> str | None:
    value = value[0] if isinstance(value, list) and value else value
    is_one = isinstance(value, str) and value.lower().startswith(("http://", "https://")) and len(value) <= _LINK_CHARS
    return value if is_one else None


def annotations(spans: Sequence[Span], references: Sequence[Reference], link: Link) -> list[dict[str, Any]]:
    """Return a `url_citation` for each marker shown; none for what was deleted since."""
    cited = [(references[span.number], span) for span in spans]
    return [_annotation(one, span.start, span.end, link) for one, span in cited if one is not GONE]


def reference_object(found: RetrievalDone, cited: Sequence[int], link: Link) -> dict[str, Any]:
    """Return what the model was given, and its documents: those cited, or all when none was."""
    return {
        "total": found.total,
        "chunks": [_chunk_object(each, link) for each in shown(found.references)],
        "doc_aggs": doc_aggs(count_documents(found.references, cited)),
    }


def _annotation(reference: Reference, start: int, end: int, link: Link) -> dict[str, Any]:
    cited = {"url": link(reference), "title": reference.document_name, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": cited}


def _chunk_object(reference: Reference, link: Link) -> dict[str, Any]:
    told = chunk_12(reference)
    return {key: told[key] for key in _CHUNK_KEYS} | {"url": link(reference) if reference is not GONE else None}
