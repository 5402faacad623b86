"""Routes of files below `/files`, as later RAGFlow versions have them (knowledge.md 6); the services are the same."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import ValidationError

from app.domain.errors import BadArgument, WrongType
from app.services import file_changes, files
from app.wire import files as wire
from app.wire.envelope import success
from routers.blobs import Blobs
from routers.deps import Caller, DatabaseDep, Edge, KeyedRoute, Unit
from routers.file_uploads import FORM, take_files
from routers.files import folder_page, make_folder, read_listing
from routers.responses import ENVELOPE
from schemas.bodies import UrlText
from schemas.files import FileDeletion, FolderBody, MoveBody, needed_ids, optional_text

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["files"], responses=ENVELOPE)

_LISTED = frozenset({"parent_id", "keywords", "page", "page_size", "orderby", "desc"})


@router.post("/files", openapi_extra=FORM)
async def add_files(
    request: Request, caller: Caller, database: DatabaseDep, blobs: Blobs, edge: Edge
) -> dict[str, Any]:
    """Upload files (multipart), or make a folder (JSON `{"name", "parent_id", "type"}`)."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        taken = await take_files(request, database, blobs, caller.tenant_id, edge)
        return success([wire.file(file) for file in taken])
    body = _folder_body(await request.body())
    async with database.unit(caller.tenant_id) as unit:
        return success(wire.file(await make_folder(unit, body)))


def _folder_body(sent: bytes) -> FolderBody:
    try:
        return FolderBody.model_validate(sent or b"{}")
    except ValidationError as error:
        raise WrongType("The body must be a JSON object.") from error


@router.get("/files")
async def list_files(
    request: Request,
    unit: Unit,
    parent_id: UrlText = "",
    keywords: UrlText = "",
    page: UrlText = "1",
    page_size: UrlText = "15",
    orderby: UrlText = "create_time",
    desc: UrlText = "true",
) -> dict[str, Any]:
    """List what a folder holds; without `parent_id` the root."""
    if unknown := sorted(set(request.query_params) - _LISTED):
        raise BadArgument(f"Extra inputs are not permitted: {', '.join(unknown)}", param=unknown[0])
    asked = read_listing(keywords, page, page_size, orderby, desc)
    return success(folder_page(await files.list_files(unit, parent_id, asked)))


@router.delete("/files")
async def delete_files(
    caller: Caller, database: DatabaseDep, blobs: Blobs, body: Annotated[FileDeletion | None, Body()] = None
) -> dict[str, Any]:
    """Delete files, and folders with all they hold; the documents made of them go too."""
    count = await file_changes.delete_files(database, blobs, caller.tenant_id, needed_ids(body, "ids", least=1))
    return success({"success_count": count})


@router.post("/files/move")
async def move_or_rename(unit: Unit, body: Annotated[MoveBody | None, Body()] = None) -> dict[str, Any]:
    """Move files and folders into another folder, rename one, or both."""
    wanted = needed_ids(body, "src_file_ids", least=1)
    folder_id, name = optional_text(body, "dest_file_id"), optional_text(body, "new_name")
    if not folder_id and not name:
        raise BadArgument("`dest_file_id` or `new_name` is required.", param="dest_file_id")
    if name and len(set(wanted)) > 1:
        raise BadArgument("`new_name` needs exactly one file.", param="new_name")
    await file_changes.move_files(unit, wanted, folder_id or None, name or None)
    return success(data=True)


@router.get("/files/{file_id}/parent")
async def get_parent(file_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Return the folder a file is in."""
    return success({"parent_folder": wire.file(await files.folder_of(unit, file_id))})


@router.get("/files/{file_id}/ancestors")
async def get_ancestors(file_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Return a file and the folders it is in, the root last."""
    return success({"parent_folders": [wire.file(file) for file in await files.folders_of(unit, file_id)]})
