"""Search apps, what they find and what they draw, as JSON values (conversations.md 7.6, 7.8)."""

from collections.abc import Sequence
from typing import Any

from app.domain.retrieval import GRAPH_TITLE, GraphHit, SearchHit, SearchResult
from app.domain.search_apps import SearchApp
from app.services.mindmap import Node
from app.wire.envelope import times
from app.wire.references import doc_aggs


def search_app_object(app: SearchApp) -> dict[str, Any]:
    """Return the search app."""
    return {
        "id": app.id,
        "tenant_id": app.tenant_id,
        "created_by": app.tenant_id,
        "name": app.name,
        "description": app.description,
        "avatar": app.avatar,
        "search_config": app.search_config,
        **times(app.created_at, app.updated_at),
    }


def search_app_list(total: int, apps: Sequence[SearchApp], owner: str) -> dict[str, Any]:
    """Return a stretch of search apps; `owner` is the name of the tenant whose they all are."""
    shown = {"status": "1", "nickname": owner, "tenant_avatar": ""}
    return {"search_apps": [search_app_object(app) | shown for app in apps], "total": total}


def raw_result(result: SearchResult, *, metadata_fields: Sequence[str] | None) -> dict[str, Any]:
    """Return a page of hits under the names the index has for them.

    `metadata_fields` are those of each document's metadata to show; empty is all of them, None is none.
    """
    is_marked = any(hit.highlight is not None for hit in result.hits)
    graph = [_graph_chunk(result.graph, is_marked=is_marked)] if result.graph is not None else []
    found = [_chunk(hit, is_marked=is_marked, metadata_fields=metadata_fields) for hit in result.hits]
    return {
        "total": result.total,
        "labels": {},
        "doc_aggs": doc_aggs(result.documents),
        "chunks": [*graph, *found],
    }


def _chunk(hit: SearchHit, *, is_marked: bool, metadata_fields: Sequence[str] | None) -> dict[str, Any]:
    found = hit.reference
    told: dict[str, Any] = {
        "chunk_id": found.chunk_id,
        "content_with_weight": found.content,
        "content_ltks": hit.content_ltks,
        "doc_id": found.document_id,
        "docnm_kwd": found.document_name,
        "kb_id": found.dataset_id,
        "important_kwd": hit.important_keywords,
        "image_id": found.image_id,
        "similarity": found.similarity,
        "vector_similarity": found.vector_similarity,
        "term_similarity": found.term_similarity,
        "positions": found.positions,
        "doc_type_kwd": found.doc_type,
    }
    if is_marked:
        told["highlight"] = hit.highlight if hit.highlight is not None else found.content
    if metadata_fields is not None:
        held = hit.document_metadata
        told["document_metadata"] = {
            name: value for name, value in held.items() if not metadata_fields or name in metadata_fields
        }
    return told


def _graph_chunk(graph: GraphHit, *, is_marked: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "chunk_id": graph.id,
        "content_with_weight": graph.content,
        "content_ltks": "",
        "doc_id": "",
        "docnm_kwd": GRAPH_TITLE,
        "kb_id": list(graph.dataset_ids),
        "important_kwd": [],
        "image_id": "",
        "similarity": 1.0,
        "vector_similarity": 1.0,
        "term_similarity": 0,
        "positions": [],
        "doc_type_kwd": "",
    }
    return told | ({"highlight": graph.content} if is_marked else {})


def mindmap(node: Node) -> dict[str, Any]:
    """Return a node of a mind map with all below it."""
    return {"id": node.text, "children": [mindmap(child) for child in node.children]}
