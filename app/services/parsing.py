"""Documents are parsed, parsed again, stopped (knowledge.md 2.6, 2.7).

Known documents of a list are served even when others in it are unknown; the refusal follows after the commit.
"""

from collections.abc import Sequence

from app.domain.datasets import Document, DocumentMissing, RunState
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.services.documents import Partial, all_known, drop_chunks, owned, repeated
from repositories.jobs import CHANNEL, PARSE
from repositories.unit_of_work import Database, UnitOfWork

QUEUED = "Task is queued..."


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
        await owned(unit, dataset_id)
        wanted = list(dict.fromkeys(document_ids))
        known = await unit.documents.lock(dataset_id, wanted)
        ready: list[Document] = []
        is_any_running = False
        for document_id in wanted:
            if document_id not in known:
                continue
            if known[document_id].run is RunState.RUNNING:
                is_any_running = True
                break
            ready.append(known[document_id])
        await _queue(unit, dataset_id, ready)
    if is_any_running:
        raise Invalid("Can't parse document that is currently being processed")
    all_known(wanted, list(known))
    return Partial(count=len(ready), errors=repeated(document_ids))


async def _queue(unit: UnitOfWork, dataset_id: DatasetId, documents: Sequence[Document]) -> None:
    ids = [document.id for document in documents]
    await unit.documents.start(ids, QUEUED)
    await unit.jobs.add(PARSE, ids)
    await drop_chunks(unit, dataset_id, documents)
    await unit.notify(CHANNEL, "")


async def restart(unit: UnitOfWork, document: Document) -> None:
    """Begin the parsing of a document anew that is running and locked: what it is made from has changed."""
    await unit.jobs.cancel(PARSE, [document.id])
    await unit.notify(CHANNEL, "cancelled")
    await _queue(unit, document.dataset_id, [document])


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
        await owned(unit, dataset_id)
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
        await drop_chunks(unit, dataset_id, running)
        await unit.notify(CHANNEL, "cancelled")
    if refusal is not None:
        raise refusal
    return Partial(count=len(running), errors=repeated(document_ids))
