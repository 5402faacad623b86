"""What an answer rests on: references to chunks, and the documents they come from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.ids import ChunkId, DatasetId, DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A chunk that was given to the model; its place in the list, from 0, is the n of `[ID:n]`.

    The three similarities are in 0..1 (rank boosts may lift `similarity` above); None where unknown.
    `positions` are lists of five integers: page from 1, left, right, top, bottom. `metadata` is that of the document
    when the chunk was found; it is not stored with the answer.
    """

    chunk_id: ChunkId
    content: str
    document_id: DocumentId
    document_name: str
    dataset_id: DatasetId
    positions: list[list[int]] = field(default_factory=list[list[int]])
    image_id: str = ""
    url: str | None = None
    doc_type: str = ""
    similarity: float | None = None
    vector_similarity: float | None = None
    term_similarity: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class DocumentCount:
    """A document and how many of the references come from it."""

    document_id: DocumentId
    document_name: str
    count: int


def count_documents(references: Sequence[Reference], cited: Iterable[int] = ()) -> list[DocumentCount]:
    """Count the documents of the cited references, or of all when none was cited (conversations.md 10.7 step 10).

    Most references first, then in order of first appearance. What comes from no document is not counted.
    """
    chosen = [references[n] for n in sorted(set(cited)) if n < len(references)] or list(references)
    chosen = [reference for reference in chosen if reference.document_id]
    counts: dict[DocumentId, tuple[str, int]] = {}
    for reference in chosen:
        name, count = counts.get(reference.document_id, (reference.document_name, 0))
        counts[reference.document_id] = (name, count + 1)
    ordered = sorted(counts.items(), key=lambda item: -item[1][1])
    return [DocumentCount(document_id, name, count) for document_id, (name, count) in ordered]
