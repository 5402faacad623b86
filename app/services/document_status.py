"""Many documents enabled or disabled at once (knowledge.md 2.9, Δ0.27)."""

from collections.abc import Sequence

from app.domain.ids import DatasetId, DocumentId
from app.services.documents import all_known, owned
from repositories.unit_of_work import UnitOfWork


async def switch_documents(
    unit: UnitOfWork, dataset_id: DatasetId, document_ids: Sequence[DocumentId], *, is_enabled: bool
) -> list[DocumentId]:
    """Enable or disable documents with all their chunks, all in this unit; their ids, each once.

    Raises:
        DatasetMissing: there is no such dataset.
        DocumentMissing: one is not in it; nothing was changed.
    """
    await owned(unit, dataset_id)
    wanted = list(dict.fromkeys(document_ids))
    known = await unit.documents.lock(dataset_id, wanted)
    all_known(wanted, list(known))
    for document_id in wanted:
        await unit.documents.update(document_id, {"is_enabled": is_enabled})
    await unit.document_contents.switch_chunks(wanted, is_available=is_enabled)
    return wanted
