"""Routes of documents: upload, list, download, change, delete; parse and stop."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from app.domain.datasets import Document
from app.domain.errors import Invalid, NotTakenIn, WrongType
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.services import documents as service
from app.services.document_changes import DocumentChanges
from app.services.document_lists import listed_documents
from app.services.ingesting import ingest
from app.services.parsing import start_parsing, stop_parsing
from app.services.uploads import UploadCall, Uploads
from app.wire import knowledge
from app.wire.envelope import success
from repositories.unit_of_work import Database
from routers.blobs import Blobs
from routers.deps import Caller, DatabaseDep, Edge, KeyedRoute, OrjsonResponse, Unit
from routers.downloads import send_document
from routers.incoming_documents import FORM, UploadKind, incoming
from routers.repeating import idempotency_key, route_name
from routers.responses import DOCUMENT, ENVELOPE, UPLOADED
from schemas.bodies import UrlText
from schemas.documents import DocumentDeletion, DocumentQuery, DocumentUpdate, IngestBody, ParseBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["documents"], responses=ENVELOPE)

_UNSUPPORTED = "This type of file has not been supported yet!"


@router.post("/datasets/{dataset_id}/documents", openapi_extra=FORM, responses=UPLOADED)
async def upload_documents(
    request: Request,
    dataset_id: UrlText,
    caller: Caller,
    database: DatabaseDep,
    blobs: Blobs,
    edge: Edge,
    kind: Annotated[UploadKind, Query(alias="type")] = "local",
) -> Response:
    """Upload files, each a part named `file`; parse them afterwards. Takes an `Idempotency-Key`.

    `type=web` takes the page at the form's `url` instead, `type=empty` makes a document without bytes.
    """
    key = idempotency_key(request)
    uploads = Uploads(database, blobs, caller.tenant_id, DatasetId(dataset_id))
    if kind == "web":
        await uploads.check_target()  # nothing is fetched for nobody's dataset
    async with incoming(request, edge, kind) as files:
        done = await uploads.take(
            files,
            at_most=edge.upload_max_bytes,
            render=knowledge.document,
            call=UploadCall(key=key, key_id=caller.key_id, route=route_name(request)) if key is not None else None,
        )
    if done.refused:
        message = "\n".join(f"{name}: {_UNSUPPORTED}" for name in done.refused)
        raise NotTakenIn(message, done=done.documents or None)
    return OrjsonResponse(success(done.documents), headers={"Idempotent-Replayed": "true"} if done.is_replay else None)


@router.get("/datasets/{dataset_id}/documents")
async def list_documents(dataset_id: UrlText, unit: Unit, query: Annotated[DocumentQuery, Query()]) -> dict[str, Any]:
    """List documents with their run state and progress; `metadata_condition` is JSON, as for retrieval."""
    total, found = await listed_documents(unit, DatasetId(dataset_id), query.model_dump())
    return success({"total": total, "docs": [knowledge.listed_document(document) for document in found]})


async def _find_any(document_id: UrlText, caller: Caller, database: DatabaseDep) -> Document:
    async with database.unit(caller.tenant_id) as unit:
        return await service.find_file(unit, None, DocumentId(document_id))


AnyDocument = Annotated[Document, Depends(_find_any)]


@router.get("/datasets/{dataset_id}/documents/{document_id}", response_class=Response, responses=DOCUMENT)
async def download_document(
    request: Request, dataset_id: UrlText, document_id: UrlText, database: DatabaseDep, caller: Caller, blobs: Blobs
) -> Response:
    """Download a document, byte for byte as it was uploaded, or the part that `Range` asks for."""
    async with database.unit(caller.tenant_id) as unit:
        found = await service.find_file(unit, DatasetId(dataset_id), DocumentId(document_id))
    return await send_document(request, blobs, found)


@router.get("/documents/{document_id}", response_class=Response, responses=DOCUMENT)
async def download_any_document(request: Request, found: AnyDocument, blobs: Blobs) -> Response:
    """Download a document of any of the tenant's datasets."""
    return await send_document(request, blobs, found)


@router.get("/documents/{document_id}/preview", response_class=Response, responses=DOCUMENT)
async def preview_document(request: Request, found: AnyDocument, blobs: Blobs) -> Response:
    """Show a document: as the download, but under the media type of its extension and without scripts."""
    return await send_document(request, blobs, found, is_preview=True)


@router.put("/datasets/{dataset_id}/documents/{document_id}")
@router.patch("/datasets/{dataset_id}/documents/{document_id}")
async def update_document(
    request: Request,
    dataset_id: UrlText,
    document_id: UrlText,
    caller: Caller,
    database: DatabaseDep,
    body: Annotated[DocumentUpdate, Body()],
) -> dict[str, Any]:
    """Change a document; what is not sent stays. All of it is checked before any of it is stored."""
    changes = DocumentChanges(database, request.app.state.catalogue, caller.tenant_id, caller.key_id)
    changed = await changes.change(DatasetId(dataset_id), DocumentId(document_id), body.sent())
    return success(knowledge.document(changed))


@router.delete("/datasets/{dataset_id}/documents")
async def delete_documents(
    dataset_id: UrlText,
    caller: Caller,
    database: DatabaseDep,
    blobs: Blobs,
    body: Annotated[DocumentDeletion | None, Body()] = None,
) -> dict[str, Any]:
    """Delete documents with their chunks; all of the dataset when no ids are named."""
    ids = _ids(body.ids, "ids") if body is not None else None
    if not ids and body is not None and "delete_all" in body.model_fields_set and body.delete_all is not True:
        raise Invalid(f"should either provide doc ids or set delete_all(true), dataset: {dataset_id}. ")
    done = await service.delete_documents(database, blobs, caller.tenant_id, DatasetId(dataset_id), ids)
    return _done(done, "deleted")


@dataclass(frozen=True, slots=True)
class _Named:
    """Documents of a dataset that a body names."""

    database: Database
    tenant_id: TenantId
    dataset_id: DatasetId
    ids: list[DocumentId]

    async def start(self) -> service.Partial:
        return await start_parsing(self.database, self.tenant_id, self.dataset_id, self.ids)

    async def stop(self) -> service.Partial:
        return await stop_parsing(self.database, self.tenant_id, self.dataset_id, self.ids)


async def _named(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> _Named:
    ids = _ids(body.document_ids, "document_ids") if body is not None else None
    if not ids:
        raise Invalid("`document_ids` is required", param="document_ids")
    return _Named(database, caller.tenant_id, DatasetId(dataset_id), ids)


Named = Annotated[_Named, Depends(_named)]


@router.post("/datasets/{dataset_id}/chunks")
async def start_parsing_documents(named: Named) -> dict[str, Any]:
    """Parse documents, again if they were parsed before; lists tell the progress."""
    return _done(await named.start(), "started")


@router.post("/datasets/{dataset_id}/documents/parse")
async def parse_documents(named: Named) -> dict[str, Any]:
    """Parse documents, as `POST …/chunks`; the answer tells how many."""
    return success(_counted(await named.start()))


@router.post("/documents/ingest")
async def ingest_documents(
    caller: Caller, database: DatabaseDep, body: Annotated[IngestBody | None, Body()] = None
) -> dict[str, Any]:
    """Parse documents of any of the tenant's datasets, or stop parsing them (`run` 2)."""
    await ingest(database, caller.tenant_id, body.sent() if body is not None else {})
    return success(data=True)


@router.delete("/datasets/{dataset_id}/chunks")
async def stop_parsing_documents(named: Named) -> dict[str, Any]:
    """Stop the parsing of documents."""
    return _done(await named.stop(), "stopped")


@router.post("/datasets/{dataset_id}/documents/stop")
async def stop_documents(named: Named) -> dict[str, Any]:
    """Stop the parsing of documents, as `DELETE …/chunks`; the answer tells how many."""
    return success(_counted(await named.stop()))


def _counted(done: service.Partial) -> dict[str, Any]:
    return {"success_count": done.count, **({"errors": done.errors} if done.errors else {})}


def _ids(value: Any, name: str) -> list[DocumentId] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise WrongType(f"`{name}` should be a list of strings", param=name)
    return [DocumentId(each) for each in value]


def _done(done: service.Partial, verb: str) -> dict[str, Any]:
    if not done.errors:
        return success()
    message = f"Partially {verb} {done.count} documents with {len(done.errors)} errors"
    return success({"success_count": done.count, "errors": done.errors}, message=message)
