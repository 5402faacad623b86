"""Routes of documents: upload, list, download, change, delete; parse and stop."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Request, Response

from app.domain.datasets import RUN_DIGITS, DocumentFilter, RunState
from app.domain.errors import BadArgument, Invalid, NotTakenIn, WrongType
from app.domain.ids import DatasetId, DocumentId
from app.retrieval.metadata import MetadataFilter, read_filter
from app.services import documents as service
from app.services.document_changes import DocumentChanges
from app.services.ingesting import ingest
from app.services.metadata import find_by_condition
from app.services.parsing import start_parsing, stop_parsing
from app.services.uploads import UploadCall, Uploads
from app.wire import knowledge
from app.wire.envelope import success
from repositories.documents import ORDERINGS
from routers.blobs import Blobs
from routers.deps import Caller, DatabaseDep, Edge, KeyedRoute, OrjsonResponse, Unit, route_name
from routers.downloads import send_document
from routers.incoming_documents import FORM, UploadKind, incoming
from routers.responses import ERRORS, UPLOADED
from schemas.bodies import UrlText
from schemas.documents import DocumentDeletion, DocumentUpdate, IngestBody, ParseBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["documents"], responses=ERRORS)

_MOST = 2**62  # Postgres counts rows in 64 bits
_PAGE_MOST = 2**31
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
    key = _idempotency_key(request)
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


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Invalid("Idempotency-Key must have 1 to 255 characters.")
    return key


@router.get("/datasets/{dataset_id}/documents")
async def list_documents(
    dataset_id: UrlText,
    unit: Unit,
    document_id: Annotated[UrlText, Query(alias="id")] = "",
    name: UrlText = "",
    keywords: UrlText = "",
    page: UrlText = "1",
    page_size: UrlText = "30",
    orderby: UrlText = "create_time",
    desc: UrlText = "true",
    suffix: Annotated[list[UrlText] | None, Query()] = None,
    run: Annotated[list[UrlText] | None, Query()] = None,
    create_time_from: UrlText = "0",
    create_time_to: UrlText = "0",
    metadata_condition: UrlText = "",
) -> dict[str, Any]:
    """List documents with their run state and progress; `metadata_condition` is JSON, as for retrieval."""
    await service.owned(unit, DatasetId(dataset_id), ending=" ")
    if orderby not in ORDERINGS:
        raise BadArgument(f"Input should be one of {', '.join(ORDERINGS)}", param="orderby")
    condition = _condition(metadata_condition)
    most = min(max(0, _whole("page_size", page_size)), _PAGE_MOST)
    total, found = await service.list_documents(
        unit,
        DatasetId(dataset_id),
        DocumentFilter(
            document_id=DocumentId(document_id) if document_id else None,
            name=name or None,
            keywords=keywords,
            suffixes=suffix or (),
            runs=_runs(run),
            document_ids=await find_by_condition(unit, DatasetId(dataset_id), condition),
            created_from_ms=_whole("create_time_from", create_time_from),
            created_to_ms=_whole("create_time_to", create_time_to),
        ),
        order_by=orderby,
        desc=desc.strip().lower() != "false",
        most=most,
        skip=min((max(1, _whole("page", page)) - 1) * most, _MOST),
    )
    return success({"total": total, "docs": [knowledge.listed_document(document) for document in found]})


def _condition(sent: str) -> MetadataFilter | None:
    if not sent.strip():
        return None
    try:
        condition = orjson.loads(sent)
    except orjson.JSONDecodeError as error:
        raise Invalid("metadata_condition must be valid JSON.", param="metadata_condition") from error
    if condition is not None and not isinstance(condition, dict):
        raise Invalid("metadata_condition must be an object.", param="metadata_condition")
    return read_filter(condition)


def _runs(words: list[str] | None) -> list[RunState] | None:
    """Return the states asked for; unknown ones match nothing."""
    if not words:
        return None
    known = {**RUN_DIGITS, **{state.value: state for state in RunState}}
    return [known[word] for word in words if word in known]


def _whole(name: str, value: str) -> int:
    """Read a number of any size; what Postgres cannot count to becomes the most it can."""
    digits = value.strip().removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise WrongType(f"{name}: Input should be a valid integer, unable to parse string as an integer", param=name)
    number = int(digits) if len(digits) <= 18 else _MOST
    return -number if value.strip().startswith("-") else number


@router.get("/datasets/{dataset_id}/documents/{document_id}", response_class=Response)
async def download_document(
    request: Request, dataset_id: UrlText, document_id: UrlText, database: DatabaseDep, caller: Caller, blobs: Blobs
) -> Response:
    """Download a document, byte for byte as it was uploaded, or the part that `Range` asks for."""
    async with database.unit(caller.tenant_id) as unit:
        found = await service.find_file(unit, DatasetId(dataset_id), DocumentId(document_id))
    return await send_document(request, blobs, found)


@router.get("/documents/{document_id}", response_class=Response)
async def download_any_document(
    request: Request, document_id: UrlText, database: DatabaseDep, caller: Caller, blobs: Blobs
) -> Response:
    """Download a document of any of the tenant's datasets."""
    async with database.unit(caller.tenant_id) as unit:
        found = await service.find_file(unit, None, DocumentId(document_id))
    return await send_document(request, blobs, found)


@router.get("/documents/{document_id}/preview", response_class=Response)
async def preview_document(
    request: Request, document_id: UrlText, database: DatabaseDep, caller: Caller, blobs: Blobs
) -> Response:
    """Show a document: as the download, but under the media type of its extension and without scripts."""
    async with database.unit(caller.tenant_id) as unit:
        found = await service.find_file(unit, None, DocumentId(document_id))
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


@router.post("/datasets/{dataset_id}/chunks")
async def start_parsing_documents(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> dict[str, Any]:
    """Parse documents, again if they were parsed before; lists tell the progress."""
    ids = _needed_ids(body)
    return _done(await start_parsing(database, caller.tenant_id, DatasetId(dataset_id), ids), "started")


@router.post("/datasets/{dataset_id}/documents/parse")
async def parse_documents(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> dict[str, Any]:
    """Parse documents, as `POST …/chunks`; the answer tells how many."""
    done = await start_parsing(database, caller.tenant_id, DatasetId(dataset_id), _needed_ids(body))
    return success(_counted(done))


@router.post("/documents/ingest")
async def ingest_documents(
    caller: Caller, database: DatabaseDep, body: Annotated[IngestBody | None, Body()] = None
) -> dict[str, Any]:
    """Parse documents of any of the tenant's datasets, or stop parsing them (`run` 2)."""
    await ingest(database, caller.tenant_id, body.sent() if body is not None else {})
    return success(data=True)


@router.delete("/datasets/{dataset_id}/chunks")
async def stop_parsing_documents(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> dict[str, Any]:
    """Stop the parsing of documents."""
    ids = _needed_ids(body)
    return _done(await stop_parsing(database, caller.tenant_id, DatasetId(dataset_id), ids), "stopped")


@router.post("/datasets/{dataset_id}/documents/stop")
async def stop_documents(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> dict[str, Any]:
    """Stop the parsing of documents, as `DELETE …/chunks`; the answer tells how many."""
    done = await stop_parsing(database, caller.tenant_id, DatasetId(dataset_id), _needed_ids(body))
    return success(_counted(done))


def _counted(done: service.Partial) -> dict[str, Any]:
    return {"success_count": done.count, **({"errors": done.errors} if done.errors else {})}


def _needed_ids(body: ParseBody | None) -> list[DocumentId]:
    ids = _ids(body.document_ids, "document_ids") if body is not None else None
    if not ids:
        raise Invalid("`document_ids` is required", param="document_ids")
    return ids


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
