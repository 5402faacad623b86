"""Documents of a dataset: listed, found, deleted (knowledge.md 2.3 to 2.5)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.datasets import Dataset, DatasetMissing, Document, DocumentFilter, DocumentMissing
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.ingest.blobs import BlobStore
from app.ingest.sweeping import sweep_now
from app.services.graph import forget_documents
from repositories.documents import Removed
from repositories.jobs import CHANNEL, PARSE, RENAME
from repositories.stray_blobs import IMAGE_GRACE_S
from repositories.unit_of_work import Database, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """What a call over a list of ids did; `errors` tells of the ids that stood in it more than once."""

    count: int
    errors: list[str] = field(default_factory=list[str])


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
    if shown.document_id is not None and await unit.documents.get(dataset_id, shown.document_id) is None:
        raise DocumentMissing(f"You don't own the document {shown.document_id}.")
    if shown.name is not None and not await unit.documents.has_name(dataset_id, shown.name):
        raise DocumentMissing(f"You don't own the document {shown.name}.")
    total = await unit.documents.count(dataset_id, shown)
    if not most or skip >= total:
        return total, []
    return total, await unit.documents.page(dataset_id, shown, order_by=order_by, desc=desc, most=most, skip=skip)


async def find_file(unit: UnitOfWork, dataset_id: DatasetId | None, document_id: DocumentId) -> Document:
    """Return the document whose bytes are to be sent, of this dataset or of any (knowledge.md 2.3).

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: there is no such document in it.
        Invalid: it is empty.
    """
    if dataset_id is None:
        document = await unit.documents.find(document_id)
    else:
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
        await owned(unit, dataset_id, ending=" ")
        asked = list(document_ids) if document_ids else await unit.documents.ids(dataset_id)
        wanted = list(dict.fromkeys(asked))
        known = list(await unit.documents.lock(dataset_id, wanted))
        removed = await remove_documents(unit, dataset_id, known)
    await sweep_now(database, blobs, tenant_id)
    all_known(wanted, known)
    return Partial(count=removed.documents, errors=repeated(asked))


async def remove_documents(unit: UnitOfWork, dataset_id: DatasetId, known: Sequence[DocumentId]) -> Removed:
    """Delete locked documents of a dataset with all that was made of them; their bytes are noted as stray."""
    cancelled = [*await unit.jobs.cancel(PARSE, known), *await unit.jobs.cancel(RENAME, known)]
    await forget_documents(unit, dataset_id, known)
    await unit.stray_blobs.add_of_documents(known)
    await unit.stray_blobs.add_images(known)
    await unit.document_contents.drop_chunks(known)
    removed = await unit.documents.delete(dataset_id, known)
    await unit.datasets.add_counts(
        dataset_id, documents=-removed.documents, chunks=-removed.chunks, tokens=-removed.tokens
    )
    if cancelled:
        await unit.notify(CHANNEL, "cancelled")
    return removed


async def drop_chunks(unit: UnitOfWork, dataset_id: DatasetId, documents: Sequence[Document]) -> None:
    """Delete the chunks of documents that are locked, and all that was made of them; counters of the dataset follow.

    The counters of the documents are the caller's.
    """
    if not documents:
        return
    ids = [document.id for document in documents]
    await unit.jobs.cancel(RENAME, ids)
    await forget_documents(unit, dataset_id, ids)
    await unit.stray_blobs.add_images(ids, due_in_s=IMAGE_GRACE_S)
    await unit.document_contents.drop_chunks(ids)
    await unit.datasets.add_counts(
        dataset_id,
        chunks=-sum(document.chunk_count for document in documents),
        tokens=-sum(document.token_count for document in documents),
    )


async def owned(unit: UnitOfWork, dataset_id: DatasetId, *, ending: str = "") -> Dataset:
    """Return the dataset.

    Raises:
        DatasetMissing: there is none; `ending` follows the literal text.
    """
    dataset = await unit.datasets.get(dataset_id)
    if dataset is None:
        raise DatasetMissing(f"You don't own the dataset {dataset_id}.{ending}")
    return dataset


def all_known(wanted: Sequence[DocumentId], known: Sequence[DocumentId]) -> None:
    """Return when all that is wanted is known.

    Raises:
        DocumentMissing: some are not.
    """
    there = frozenset(known)
    if unknown := [str(document_id) for document_id in wanted if document_id not in there]:
        raise DocumentMissing(f"Documents not found: {unknown}")


def repeated(document_ids: Sequence[DocumentId]) -> list[str]:
    """Return a line for every id that stands in the list more than once."""
    counts = Counter(document_ids)
    return [f"Duplicate document ids: {document_id}" for document_id, count in counts.items() if count > 1]
