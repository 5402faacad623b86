"""A search over datasets, and what it finds."""

from dataclasses import dataclass, field
from typing import Any

from app.domain.ids import DatasetId, DocumentId
from app.domain.models import Usage
from app.domain.references import DocumentCount, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """What to look for, and where. Weight and threshold are in 0..1; `page` starts at 1 (knowledge.md 4.1)."""

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
    metadata_condition: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A chunk that was found. `content_ltks` is our token stream of it, space separated."""

    reference: Reference
    content_ltks: str
    important_keywords: list[str] = field(default_factory=list[str])
    questions: list[str] = field(default_factory=list[str])
    highlight: str | None = None
    document_metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A line for the ledger: one model call and what it cost."""

    kind: str  # chat | embedding | rerank
    purpose: str  # answer | query | quote | …
    model: str
    provider: str
    attempt: int = 1
    usage: Usage
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One page of hits, best first; `total` counts all over the threshold; `calls` are for the ledger."""

    hits: list[SearchHit]
    total: int
    documents: list[DocumentCount]
    calls: list[ModelCall] = field(default_factory=list[ModelCall])
