"""Routes of the metadata of documents, and of switching many documents at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from app.domain.errors import Invalid, WrongType
from app.domain.ids import DatasetId, DocumentId
from app.services import metadata_config
from app.services.document_status import switch_documents
from app.services.metadata import read_update, summarise, update_metadata
from app.wire import knowledge
from app.wire.envelope import success
from routers.deps import KeyedRoute, Unit
from routers.responses import ENVELOPE
from schemas.bodies import UrlText
from schemas.documents import MetadataBody, MetadataConfigBody, StatusBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["documents"], responses=ENVELOPE)

_IDS_MOST = 100


@router.get("/datasets/{dataset_id}/metadata/summary")
async def summarise_metadata(dataset_id: UrlText, unit: Unit, doc_ids: UrlText = "") -> dict[str, Any]:
    """Count the values of every metadata key over the documents, or over those of the comma list `doc_ids`."""
    ids = [DocumentId(each.strip()) for each in doc_ids.split(",") if each.strip()]
    if len(ids) > _IDS_MOST:
        raise Invalid(f"At most {_IDS_MOST} doc_ids.", param="doc_ids")
    return success({"summary": await summarise(unit, DatasetId(dataset_id), ids or None)})


@router.post("/datasets/{dataset_id}/metadata/update")
async def change_metadata(
    dataset_id: UrlText, unit: Unit, body: Annotated[MetadataBody | None, Body()] = None
) -> dict[str, Any]:
    """Replace and delete metadata of the selected documents, all or none; an empty selector means all of them."""
    wanted = read_update(body.sent() if body is not None else {})
    done = await update_metadata(unit, DatasetId(dataset_id), wanted)
    return success({"updated": done.updated, "matched_docs": done.matched})


@router.get("/datasets/{dataset_id}/metadata/config")
async def show_metadata_config(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Tell which metadata the dataset's new documents are to have."""
    return success(await metadata_config.dataset_config(unit, DatasetId(dataset_id)))


@router.put("/datasets/{dataset_id}/metadata/config")
async def change_metadata_config(
    dataset_id: UrlText, unit: Unit, body: Annotated[MetadataConfigBody | None, Body()] = None
) -> dict[str, Any]:
    """Set which metadata documents that are uploaded from now on are to have."""
    sent = body.sent() if body is not None else {}
    return success(await metadata_config.change_dataset_config(unit, DatasetId(dataset_id), sent))


@router.put("/datasets/{dataset_id}/documents/{document_id}/metadata/config")
async def change_document_metadata_config(
    dataset_id: UrlText, document_id: UrlText, unit: Unit, body: Annotated[MetadataConfigBody | None, Body()] = None
) -> dict[str, Any]:
    """Set which metadata one document is to have when it is parsed next."""
    sent = body.sent() if body is not None else {}
    changed = await metadata_config.change_document_config(unit, DatasetId(dataset_id), DocumentId(document_id), sent)
    return success(knowledge.document(changed))


@router.patch("/datasets/{dataset_id}/documents/metadatas")
async def patch_metadata(
    dataset_id: UrlText, unit: Unit, body: Annotated[MetadataBody | None, Body()] = None
) -> dict[str, Any]:
    """Change metadata, as `POST …/metadata/update`."""
    return await change_metadata(dataset_id, unit, body)


@router.post("/datasets/{dataset_id}/documents/batch-update-status")
async def switch_status(
    dataset_id: UrlText, unit: Unit, body: Annotated[StatusBody | None, Body()] = None
) -> dict[str, Any]:
    """Enable or disable documents with all their chunks, all or none."""
    sent = body.sent() if body is not None else {}
    ids, status = sent.get("doc_ids"), sent.get("status")
    if not isinstance(ids, list) or not ids or not all(isinstance(each, str) for each in ids):
        raise WrongType("`doc_ids` should be a list of strings", param="doc_ids")
    if str(status) not in ("0", "1") or isinstance(status, bool):
        raise Invalid('`status` should be "0" or "1"', param="status")
    wanted = [DocumentId(each) for each in ids]
    switched = await switch_documents(unit, DatasetId(dataset_id), wanted, is_enabled=str(status) == "1")
    return success({document_id: {"status": str(status)} for document_id in switched})
