"""Rules of documents in a dataset: upload, delete, parse, stop (knowledge.md 2).

Known documents of a list are served even when others in it are unknown; the refusal follows after the commit.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.domain.datasets import (
    Dataset,
    DatasetMissing,
    Document,
    DocumentFilter,
    DocumentMissing,
    RunState,
    StoredChunk,
    free_names,
)
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId, TenantId, new_id
from app.ingest.blobs import BlobStore, blob_key
from app.ingest.file_types import DocumentType, chunk_method_for, document_type, suffix
from app.retrieval.highlight import highlight
from app.retrieval.query import query_terms
from app.services.datasets import forget_blobs
from repositories.jobs import CHANNEL, PARSE
from repositories.unit_of_work import Database, UnitOfWork

MAX_NAME_BYTES = 255
QUEUED = "Task is queued..."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """An uploaded file whose bytes are stored, and which is no document yet."""

    document_id: DocumentId
    name: str
    blob_key: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPage:
    """A page of a document's chunks; `highlights` are snippets, by place on the page, of those found by words."""

    document: Document
    total: int
    chunks: list[StoredChunk]
    highlights: list[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """What a call over a list of ids did; `errors` tells of the ids that stood in it more than once."""

    count: int
    errors: list[str] = field(default_factory=list[str])


def check_name(name: str) -> None:
    """Return when a file may have this name.

    Raises:
        Invalid: it is empty, too long, or cannot be stored.
    """
    if not name:
        raise Invalid("No file selected!")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise Invalid("File name must be 255 bytes or less.")


def clean_name(name: str) -> str:
    """Return `name` as it can be stored and shown: no folders, no control characters, no lone surrogates."""
    last = name.replace("\\", "/").rpartition("/")[2].encode("utf-8", "replace").decode()
    return "".join(character for character in last if character.isprintable() or character == "\u3000").strip()


def is_supported(name: str) -> bool:
    """Tell whether files of this name are taken in."""
    return document_type(name) is not DocumentType.OTHER


async def store_file(
    blobs: BlobStore,
    tenant_id: TenantId,
    dataset_id: DatasetId,
    name: str,
    pieces: AsyncIterator[bytes],
    *,
    at_most: int,
) -> StoredFile:
    """Store the bytes of one uploaded file.

    Raises:
        TooLarge: there are more than `at_most`.
    """
    document_id = DocumentId(new_id())
    key = blob_key(tenant_id, dataset_id, document_id)
    size_bytes = await blobs.put(key, pieces, at_most=at_most)
    return StoredFile(document_id=document_id, name=name, blob_key=key, size_bytes=size_bytes)


async def forget_files(blobs: BlobStore, files: Sequence[StoredFile]) -> None:
    """Remove the bytes of files that will be no documents."""
    await forget_blobs(blobs, [file.blob_key for file in files])


async def add_documents(
    database: Database, blobs: BlobStore, tenant_id: TenantId, dataset_id: DatasetId, files: Sequence[StoredFile]
) -> list[Document]:
    """Make documents of stored files, in order, all or none; without them the bytes are removed again.

    Raises:
        DatasetMissing: there is no such dataset (any more).
    """
    try:
        async with database.unit(tenant_id) as unit:
            dataset = await unit.datasets.get(dataset_id)
            if dataset is None or not await unit.datasets.add_counts(dataset_id, documents=len(files)):
                raise unknown_dataset(dataset_id)
            return [await _add_document(unit, dataset, file) for file in files]
    except BaseException:
        await forget_files(blobs, files)
        raise


def unknown_dataset(dataset_id: str) -> DatasetMissing:
    """Return the refusal of an upload to a dataset that is not there."""
    return DatasetMissing(f"Can't find the dataset with ID {dataset_id}!")


async def _add_document(unit: UnitOfWork, dataset: Dataset, file: StoredFile) -> Document:
    now = datetime.now(UTC)
    document = Document(
        id=file.document_id,
        dataset_id=dataset.id,
        tenant_id=dataset.tenant_id,
        name=file.name,
        location=file.name,
        blob_key=file.blob_key,
        type=document_type(file.name).value,
        suffix=suffix(file.name),
        size_bytes=file.size_bytes,
        chunk_method=chunk_method_for(file.name, dataset.chunk_method),
        parser_config=dataset.parser_config,
        created_at=now,
        updated_at=now,
    )
    stored = await unit.documents.add(document, free_names(file.name))
    if stored is None:
        raise Invalid(f"{file.name}: too many documents of this name.")
    return stored


async def list_documents(
    unit: UnitOfWork,
    dataset_id: DatasetId,
    shown: DocumentFilter,
    *,
    order_by: str,
    desc: bool,
    most: int,
    skip: int,
) -> tuple[int, list[Document]]:
    """Return how many documents match, and a page of them (knowledge.md 2.4).

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: the id or name that was asked for is not in it.
    """
    await _own(unit, dataset_id, ending=" ")
    if shown.document_id is not None and await unit.documents.get(dataset_id, shown.document_id) is None:
        raise DocumentMissing(f"You don't own the document {shown.document_id}.")
    if shown.name is not None and not await unit.documents.has_name(dataset_id, shown.name):
        raise DocumentMissing(f"You don't own the document {shown.name}.")
    total = await unit.documents.count(dataset_id, shown)
    if not most or skip >= total:
        return total, []
    return total, await unit.documents.page(dataset_id, shown, order_by=order_by, desc=desc, most=most, skip=skip)


async def list_chunks(
    unit: UnitOfWork,
    dataset_id: DatasetId,
    document_id: DocumentId,
    *,
    chunk_id: str | None,
    keywords: str,
    most: int,
    skip: int,
) -> ChunkPage:
    """Return a page of a document's chunks, all or those that hold one of the keywords (knowledge.md 3.2).

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it, or no chunk `chunk_id` in the document.
    """
    await _own(unit, dataset_id)
    document = await unit.documents.get(dataset_id, document_id)
    if document is None:
        raise DocumentMissing(f"You don't own the document {document_id}.")
    lexemes = [term.lexeme for term in query_terms(keywords)]
    if keywords.strip() and not lexemes:
        return ChunkPage(document=document, total=0, chunks=[], highlights=[])
    total = await unit.chunks.count(document_id, chunk_id=chunk_id, lexemes=lexemes)
    if chunk_id is not None and not total:
        raise DocumentMissing(f"Chunk not found: {dataset_id}/{chunk_id}")
    chunks = await unit.chunks.page(document_id, chunk_id=chunk_id, lexemes=lexemes, most=most, skip=skip)
    marked = frozenset(lexemes)
    return ChunkPage(
        document=document,
        total=total,
        chunks=chunks,
        highlights=[highlight(chunk.content, marked) if marked else None for chunk in chunks],
    )


async def find_file(unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId) -> Document:
    """Return the document whose bytes are to be sent (knowledge.md 2.3).

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it.
        Invalid: it is empty.
    """
    if await unit.datasets.get(dataset_id) is None:
        raise DatasetMissing(f"You do not own the dataset {dataset_id}.")
    document = await unit.documents.get(dataset_id, document_id)
    if document is None:
        raise DocumentMissing(f"The dataset not own the document {document_id}.")
    if document.size_bytes == 0:
        raise Invalid("This file is empty.")
    return document


async def delete_documents(
    database: Database,
    blobs: BlobStore,
    tenant_id: TenantId,
    dataset_id: DatasetId,
    document_ids: Sequence[DocumentId] | None,
) -> Partial:
    """Delete these documents, or all for None or none named, with their chunks, jobs and bytes.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: some are not there; the others were deleted.
    """
    async with database.unit(tenant_id) as unit:
        await _own(unit, dataset_id, ending=" ")
        asked = list(document_ids) if document_ids else await unit.documents.ids(dataset_id)
        wanted = list(dict.fromkeys(asked))
        known = list(await unit.documents.lock(dataset_id, wanted))
        cancelled = await unit.jobs.cancel(PARSE, known)
        removed = await unit.documents.delete(dataset_id, known)
        await unit.datasets.add_counts(
            dataset_id, documents=-removed.documents, chunks=-removed.chunks, tokens=-removed.tokens
        )
        if cancelled:
            await unit.notify(CHANNEL, "cancelled")
    await forget_blobs(blobs, removed.blob_keys)
    _all_known(wanted, known)
    return Partial(count=removed.documents, errors=_repeated(asked))


async def start_parsing(
    database: Database, tenant_id: TenantId, dataset_id: DatasetId, document_ids: Sequence[DocumentId]
) -> Partial:
    """Queue documents to be parsed, from the beginning; their old chunks go now (knowledge.md 2.6).

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: some are not there; the others were queued.
        Invalid: one is being parsed; those before it in the list were queued.
    """
    async with database.unit(tenant_id) as unit:
        await _own(unit, dataset_id)
        wanted = list(dict.fromkeys(document_ids))
        known = await unit.documents.lock(dataset_id, wanted)
        ready: list[DocumentId] = []
        is_any_running = False
        for document_id in wanted:
            if document_id not in known:
                continue
            if known[document_id].run is RunState.RUNNING:
                is_any_running = True
                break
            ready.append(document_id)
        await unit.documents.start(ready, QUEUED)
        await unit.jobs.add(PARSE, ready)
        await _drop_chunks(unit, dataset_id, [known[document_id] for document_id in ready])
        await unit.notify(CHANNEL, "")
    if is_any_running:
        raise Invalid("Can't parse document that is currently being processed")
    _all_known(wanted, list(known))
    return Partial(count=len(ready), errors=_repeated(document_ids))


async def stop_parsing(
    database: Database, tenant_id: TenantId, dataset_id: DatasetId, document_ids: Sequence[DocumentId]
) -> Partial:
    """Cancel the parsing of documents; a worker that is at it hears of it at once (knowledge.md 2.7).

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: one is not there; those before it in the list were stopped.
        Invalid: one is not being parsed; those before it were stopped.
    """
    async with database.unit(tenant_id) as unit:
        await _own(unit, dataset_id)
        wanted = list(dict.fromkeys(document_ids))
        known = await unit.documents.lock(dataset_id, wanted)
        running: list[Document] = []
        refusal: Invalid | DocumentMissing | None = None
        for document_id in wanted:
            if document_id not in known:
                refusal = DocumentMissing(f"You don't own the document {document_id}.")
                break
            if known[document_id].run is not RunState.RUNNING:
                refusal = Invalid("Can't stop parsing document with progress at 0 or 1")
                break
            running.append(known[document_id])
        ids = [document.id for document in running]
        await unit.documents.cancel(ids)
        await unit.jobs.cancel(PARSE, ids)
        await _drop_chunks(unit, dataset_id, running)
        await unit.notify(CHANNEL, "cancelled")
    if refusal is not None:
        raise refusal
    return Partial(count=len(running), errors=_repeated(document_ids))


async def _drop_chunks(unit: UnitOfWork, dataset_id: DatasetId, documents: Sequence[Document]) -> None:
    if not documents:
        return
    await unit.chunks.delete_of([document.id for document in documents])
    await unit.datasets.add_counts(
        dataset_id,
        chunks=-sum(document.chunk_count for document in documents),
        tokens=-sum(document.token_count for document in documents),
    )


async def _own(unit: UnitOfWork, dataset_id: DatasetId, *, ending: str = "") -> Dataset:
    dataset = await unit.datasets.get(dataset_id)
    if dataset is None:
        raise DatasetMissing(f"You don't own the dataset {dataset_id}.{ending}")
    return dataset


def _all_known(wanted: Sequence[DocumentId], known: Sequence[DocumentId]) -> None:
    if unknown := [document_id for document_id in wanted if document_id not in known]:
        raise DocumentMissing(f"Documents not found: {[str(each) for each in unknown]}")


def _repeated(document_ids: Sequence[DocumentId]) -> list[str]:
    counts = Counter(document_ids)
    return [f"Duplicate document ids: {document_id}" for document_id, count in counts.items() if count > 1]
