"""What an answer rests on: references to chunks, and the documents they come from."""

from collections.abc import Container, Iterable, Sequence
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


GONE = Reference(
    chunk_id=ChunkId(""), content="", document_id=DocumentId(""), document_name="", dataset_id=DatasetId("")
)
"""Stands for a stored reference whose document was deleted since: nothing of it is shown, and it keeps the place, so
that the markers of those after it still name them (openai.md 9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Which documents and datasets are still there, of those that were asked about."""

    documents: Container[DocumentId]
    datasets: Container[DatasetId]

    def has(self, reference: Reference) -> bool:
        """Say whether what the reference was found in is still there; a page of the web always is."""
        if reference.document_id and reference.document_id not in self.documents:
            return False
        return not reference.dataset_id or reference.dataset_id in self.datasets


def without_deleted(references: Iterable[Reference], live: Live) -> tuple[Reference, ...]:
    """Return as many references, `GONE` for each whose document was deleted."""
    return tuple(one if live.has(one) else GONE for one in references)


def shown(references: Sequence[Reference]) -> Sequence[Reference]:
    """Return references as they are listed: the last ones that are `GONE` keep no other's place and are left out."""
    end = len(references)
    while end and references[end - 1] is GONE:
        end -= 1
    return references[:end]


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
    numbers = sorted(set(cited))
    chosen = [references[n] for n in numbers if n < len(references)] if numbers else references
    chosen = [reference for reference in chosen if reference.document_id]
    counts: dict[DocumentId, tuple[str, int]] = {}
    for reference in chosen:
        name, count = counts.get(reference.document_id, (reference.document_name, 0))
        counts[reference.document_id] = (name, count + 1)
    ordered = sorted(counts.items(), key=lambda item: -item[1][1])
    return [DocumentCount(document_id, name, count) for document_id, (name, count) in ordered]
