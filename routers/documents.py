"""Routes of documents: upload, list, download, delete; parse and stop."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import UploadFile

from app.domain.datasets import RUN_DIGITS, DocumentFilter, RunState
from app.domain.errors import Invalid, Kind
from app.domain.ids import DatasetId, DocumentId
from app.ingest.blobs import BlobStore
from app.services import documents as service
from app.wire import knowledge
from app.wire.envelope import success
from app.wire.errors import Dialect, refusal
from repositories.documents import ORDERINGS
from routers.deps import Caller, DatabaseDep, Edge, KeyedRoute, OrjsonResponse, Unit
from routers.responses import ERRORS
from routers.uploads import pieces_of, uploaded_files
from schemas.bodies import UrlText
from schemas.documents import DocumentDeletion, ParseBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["documents"], responses=ERRORS)

_MOST = 2**62  # Postgres counts rows in 64 bits
_PAGE_MOST = 2**31
_UNSUPPORTED = "This type of file has not been supported yet!"


def _blobs(request: Request) -> BlobStore:
    blobs: BlobStore = request.app.state.blobs
    return blobs


Blobs = Annotated[BlobStore, Depends(_blobs)]
_FORM = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["file"],
                }
            }
        }
    }
}


@router.post("/datasets/{dataset_id}/documents", openapi_extra=_FORM)
async def upload_documents(
    request: Request, dataset_id: UrlText, caller: Caller, database: DatabaseDep, blobs: Blobs, edge: Edge
) -> Response:
    """Upload files, each a part named `file`; parse them afterwards."""
    async with uploaded_files(request, edge) as files:
        _check_files(files)
        async with database.unit(caller.tenant_id) as unit:
            if await unit.datasets.get(DatasetId(dataset_id)) is None:
                raise service.unknown_dataset(dataset_id)
        named = [(service.clean_name(file.filename or ""), file) for file in files]
        stored: list[service.StoredFile] = []
        try:
            for name, file in named:
                if service.is_supported(name):
                    stored.append(
                        await service.store_file(
                            blobs,
                            caller.tenant_id,
                            DatasetId(dataset_id),
                            name,
                            pieces_of(file),
                            at_most=edge.upload_max_bytes,
                        )
                    )
        except BaseException:
            await service.forget_files(blobs, stored)
            raise
    added = await service.add_documents(database, blobs, caller.tenant_id, DatasetId(dataset_id), stored)
    told = [knowledge.document(document) for document in added]
    refused = [f"{name}: {_UNSUPPORTED}" for name, _ in named if not service.is_supported(name)]
    if refused:
        failure = refusal(Kind.INVALID, Dialect.NATIVE)
        body = {"code": failure.code, "message": "\n".join(refused), "data": told or None}
        return OrjsonResponse(body, failure.status)
    return OrjsonResponse(success(told))


def _check_files(files: Sequence[UploadFile]) -> None:
    if not files:
        raise Invalid("No file part!")
    for file in files:
        service.check_name(file.filename or "")
        service.check_name(service.clean_name(file.filename or ""))


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
) -> dict[str, Any]:
    """List documents with their run state and progress."""
    if orderby not in ORDERINGS:
        raise Invalid(f"Input should be one of {', '.join(ORDERINGS)}", param="orderby")
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
            created_from_ms=_whole("create_time_from", create_time_from),
            created_to_ms=_whole("create_time_to", create_time_to),
        ),
        order_by=orderby,
        desc=desc.strip().lower() != "false",
        most=most,
        skip=min((max(1, _whole("page", page)) - 1) * most, _MOST),
    )
    return success({"total": total, "docs": [knowledge.listed_document(document) for document in found]})


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
        raise Invalid(f"{name}: Input should be a valid integer, unable to parse string as an integer", param=name)
    number = int(digits) if len(digits) <= 18 else _MOST
    return -number if value.strip().startswith("-") else number


@router.get("/datasets/{dataset_id}/documents/{document_id}", response_class=Response)
async def download_document(dataset_id: UrlText, document_id: UrlText, unit: Unit, blobs: Blobs) -> Response:
    """Download a document, byte for byte as it was uploaded."""
    found = await service.find_file(unit, DatasetId(dataset_id), DocumentId(document_id))
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
        "Content-Length": str(found.size_bytes),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(blobs.stream(found.blob_key), media_type="application/octet-stream", headers=headers)


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
async def start_parsing(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> dict[str, Any]:
    """Parse documents, again if they were parsed before; lists tell the progress."""
    ids = _needed_ids(body)
    return _done(await service.start_parsing(database, caller.tenant_id, DatasetId(dataset_id), ids), "started")


@router.delete("/datasets/{dataset_id}/chunks")
async def stop_parsing(
    dataset_id: UrlText, caller: Caller, database: DatabaseDep, body: Annotated[ParseBody | None, Body()] = None
) -> dict[str, Any]:
    """Stop the parsing of documents."""
    ids = _needed_ids(body)
    return _done(await service.stop_parsing(database, caller.tenant_id, DatasetId(dataset_id), ids), "stopped")


def _needed_ids(body: ParseBody | None) -> list[DocumentId]:
    ids = _ids(body.document_ids, "document_ids") if body is not None else None
    if not ids:
        raise Invalid("`document_ids` is required", param="document_ids")
    return ids


def _ids(value: Any, name: str) -> list[DocumentId] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid(f"`{name}` should be a list of strings", param=name)
    return [DocumentId(each) for each in value]


def _done(done: service.Partial, verb: str) -> dict[str, Any]:
    if not done.errors:
        return success()
    message = f"Partially {verb} {done.count} documents with {len(done.errors)} errors"
    return success({"success_count": done.count, "errors": done.errors}, message=message)
