"""A search over datasets, and what it finds."""

from dataclasses import dataclass, field
from typing import Any

from app.domain.ids import ChunkId, DatasetId, DocumentId
from app.domain.models import Usage
from app.domain.references import DocumentCount, Reference

GRAPH_TITLE = "Related content in Knowledge Graph"
"""Name of the document the knowledge graph's chunk seems to come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What to look for, and where (knowledge.md 4.1).

    The weight is in 0..1, the threshold is one of final scores; `page` starts at 1. `meta_data_filter` is the filter
    that an assistant keeps (conversations.md 10.6); documents must meet it and `metadata_condition`. `chat_model` is
    the wire name of the model that helps with keywords, languages, filters, graph and tables of contents; None is the
    default one. `has_tokens` asks for the token stream of each hit.
    """

    question: str
    dataset_ids: tuple[DatasetId, ...]
    document_ids: tuple[DocumentId, ...] = ()
    page: int = 1
    page_size: int = 30
    similarity_threshold: float = 0.2
    vector_similarity_weight: float = 0.3
    top_k: int = 1024
    rerank_id: str | None = None
    highlight: bool = False
    has_tokens: bool = False
    metadata_condition: dict[str, Any] | None = None
    meta_data_filter: dict[str, Any] | None = None
    cross_languages: tuple[str, ...] = ()
    keyword: bool = False
    use_kg: bool = False
    toc_enhance: bool = False
    chat_model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A chunk that was found. `content_ltks` is our token stream of it, space separated, where it was asked for."""

    reference: Reference
    content_ltks: str = ""
    important_keywords: list[str] = field(default_factory=list[str])
    questions: list[str] = field(default_factory=list[str])
    highlight: str | None = None
    document_metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphHit:
    """What the knowledge graph says, as one chunk that no document holds (knowledge.md 4.7). `id` is random."""

    id: str
    content: str
    dataset_ids: tuple[DatasetId, ...]

    def reference(self) -> Reference:
        """Return it as a reference that answers rest on; of several datasets the first is named."""
        return Reference(
            chunk_id=ChunkId(self.id),
            content=self.content,
            document_id=DocumentId(""),
            document_name=GRAPH_TITLE,
            dataset_id=self.dataset_ids[0],
            similarity=1.0,
            vector_similarity=1.0,
            term_similarity=0.0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A line for the ledger: one model call and what it cost; `user_id` is the end user, if the caller names one."""

    kind: str  # chat | embedding | rerank
    purpose: str  # answer | query | quote | …
    model: str
    provider: str
    attempt: int = 1
    usage: Usage
    duration_ms: float
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One page of hits, best first; `total` and `documents` count all over the threshold, on every page.

    `is_searched` is false when there was nothing to search for, or no document to search in. `calls` are for the
    ledger. The graph's chunk, if one was asked for and it has something to say, is in none of the counts.
    """

    hits: list[SearchHit]
    total: int
    documents: list[DocumentCount]
    graph: GraphHit | None = None
    is_searched: bool = True
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
