"""Chunks of a document: listed, switched and deleted (knowledge.md 3.2, 3.4)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio.to_thread

from app.domain.datasets import ChunkedDocumentMissing, Dataset, DatasetMissing, Document, DocumentMissing, StoredChunk
from app.domain.errors import Missing, NotFound
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.ingest.blobs import BlobStore
from app.ingest.images import image_key
from app.ingest.sweeping import sweep_now
from app.retrieval.highlight import highlight
from app.retrieval.query import query_terms
from repositories.chunks import ChunkFilter
from repositories.unit_of_work import Database, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkQuery:
    """What a list of chunks is asked for. A `chunk_id` is looked up alone, whatever else is asked."""

    chunk_id: str | None = None
    keywords: str = ""
    chunk_ids: Sequence[str] | None = None
    is_available: bool | None = None
    most: int = 30
    skip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPage:
    """A page of a document's chunks; `highlights` are snippets, by place on the page, of those found by words."""

    document: Document
    total: int
    chunks: list[StoredChunk]
    highlights: list[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedChunks:
    """How many chunks went; `errors` tells of the ids that were named more than once."""

    count: int
    errors: list[str] = field(default_factory=list[str])


async def own_document(unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId) -> tuple[Dataset, Document]:
    """Return the dataset and its document.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it.
    """
    dataset = await unit.datasets.get(dataset_id)
    if dataset is None:
        raise DatasetMissing(f"You don't own the dataset {dataset_id}.")
    document = await unit.documents.get(dataset_id, document_id)
    if document is None:
        raise document_missing(document_id)
    return dataset, document


def document_missing(document_id: DocumentId) -> DocumentMissing:
    """Return the refusal for a document that is not in the dataset."""
    return DocumentMissing(f"You don't own the document {document_id}.")


async def list_chunks(
    database: Database, tenant_id: TenantId, dataset_id: DatasetId, document_id: DocumentId, asked: ChunkQuery
) -> ChunkPage:
    """Return a page of a document's chunks, all or those that hold one of the keywords.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it.
        NotFound: there is no chunk `asked.chunk_id` in the document.
    """
    lexemes = [term.lexeme for term in query_terms(asked.keywords)]
    async with database.unit(tenant_id) as unit:
        _, document = await own_document(unit, dataset_id, document_id)
        if asked.chunk_id is not None:
            chunk = await _chunk(unit, document, asked.chunk_id)
            return ChunkPage(document=document, total=1, chunks=[chunk], highlights=[None])
        if asked.keywords.strip() and not lexemes:
            return ChunkPage(document=document, total=0, chunks=[], highlights=[])
        shown = ChunkFilter(ids=asked.chunk_ids, lexemes=lexemes, is_available=asked.is_available)
        total = await unit.chunks.count(document_id, shown)
        chunks = await unit.chunks.page(document_id, shown, most=asked.most, skip=asked.skip)
    if not lexemes:
        return ChunkPage(document=document, total=total, chunks=chunks, highlights=[None] * len(chunks))
    marked = frozenset(lexemes)
    snippets = await anyio.to_thread.run_sync(lambda: [highlight(chunk.content, marked) for chunk in chunks])
    return ChunkPage(document=document, total=total, chunks=chunks, highlights=snippets)


async def get_chunk(
    unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId, chunk_id: str
) -> tuple[Document, StoredChunk]:
    """Return a chunk and its document. Raises as `list_chunks`."""
    _, document = await own_document(unit, dataset_id, document_id)
    return document, await _chunk(unit, document, chunk_id)


async def _chunk(unit: UnitOfWork, document: Document, chunk_id: str) -> StoredChunk:
    chunk = await unit.chunks.get(document.id, chunk_id)
    if chunk is None:
        raise NotFound(f"Chunk not found: {document.dataset_id}/{chunk_id}")
    return chunk


async def switch_chunks(
    unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId, chunk_ids: Sequence[str], *, is_available: bool
) -> None:
    """Make chunks of the document available to search or not, all or none of them.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it.
        NotFound: one of the chunks is not in the document; nothing was switched.
    """
    await own_document(unit, dataset_id, document_id)
    if document_id not in await unit.documents.lock(dataset_id, [document_id]):
        raise document_missing(document_id)
    known = await unit.chunk_edits.switch(document_id, chunk_ids, is_available=is_available)
    if unknown := next((each for each in chunk_ids if each not in known), None):
        raise NotFound(f"Chunk not found: {dataset_id}/{unknown}")


async def delete_chunks(
    database: Database,
    blobs: BlobStore,
    tenant_id: TenantId,
    dataset_id: DatasetId,
    document_id: DocumentId,
    chunk_ids: Sequence[str] | None,
) -> DeletedChunks:
    """Delete chunks of this document with their pictures, all for None or none named.

    Raises:
        DatasetMissing: there is no such dataset.
        ChunkedDocumentMissing: there is no such document in it.
        Missing: some are not there; the others were deleted.
    """
    async with database.unit(tenant_id) as unit:
        if await unit.datasets.get(dataset_id) is None:
            raise DatasetMissing(f"You don't own the dataset {dataset_id}.")
        if document_id not in await unit.documents.lock(dataset_id, [document_id]):
            raise ChunkedDocumentMissing(f"Can't find the document with ID {document_id}!")
        wanted = list(dict.fromkeys(chunk_ids or ()))
        removed = await unit.chunk_edits.remove(document_id, wanted or None)
        names = [each.partition("-")[2] for each in removed.image_ids]
        await unit.stray_blobs.add([image_key(tenant_id, dataset_id, name) for name in names])
        await unit.chunk_edits.add_counts(document_id, chunks=-removed.additions, tokens=-removed.tokens)
    if names:
        await sweep_now(database, blobs, tenant_id)
    if wanted and removed.rows != len(wanted):
        raise Missing(f"rm_chunk deleted chunks {removed.rows}, expect {len(wanted)}")
    counts = Counter(chunk_ids or ())
    return DeletedChunks(
        count=removed.rows, errors=[f"Duplicate chunk ids: {each}" for each, count in counts.items() if count > 1]
    )
