"""Documents of any of the tenant's datasets parsed, or stopped, by one call (knowledge.md 8, `documents/ingest`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.datasets import DocumentMissing
from app.domain.errors import Invalid, Missing, WrongType
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.services.parsing import start_parsing, stop_parsing
from repositories.unit_of_work import Database

_RUN = {"1": start_parsing, "2": stop_parsing}


async def ingest(database: Database, tenant_id: TenantId, sent: Mapping[str, Any]) -> None:
    """Parse the documents `doc_ids` (`run` 1, the default) or stop parsing them (2), dataset by dataset.

    Raises:
        Invalid: the body is of another shape, or a document is (not) being parsed; the others were seen to.
        DocumentMissing: some are not there; the others were seen to.
    """
    ids, step = _read(sent)
    async with database.unit(tenant_id) as unit:
        places = await unit.documents.places(ids)
    by_dataset: dict[DatasetId, list[DocumentId]] = {}
    for document_id in ids:
        if document_id in places:
            by_dataset.setdefault(places[document_id], []).append(document_id)
    refusal: Invalid | Missing | None = None
    for dataset_id, own in by_dataset.items():
        try:
            await step(database, tenant_id, dataset_id, own)
        except (Invalid, Missing) as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    if unknown := [str(document_id) for document_id in ids if document_id not in places]:
        raise DocumentMissing(f"Documents not found: {unknown}")


def _read(sent: Mapping[str, Any]) -> tuple[Sequence[DocumentId], Any]:
    ids = sent.get("doc_ids", sent.get("document_ids"))
    if not ids:
        raise Invalid("`doc_ids` is required", param="doc_ids")
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise WrongType("`doc_ids` should be a list of strings", param="doc_ids")
    run = sent.get("run", "1")
    step = _RUN.get(str(run)) if not isinstance(run, bool) else None
    if step is None:
        raise Invalid("`run` should be 1 (parse) or 2 (stop)", param="run")
    return [DocumentId(each) for each in dict.fromkeys(ids)], step
