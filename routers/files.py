"""Routes of files below `/file`, as RAGFlow 0.22 has them (knowledge.md 6)."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from app.domain.errors import NotFound, WrongType
from app.domain.files import FileListing
from app.domain.ids import DatasetId
from app.services import file_changes, files
from app.services.file_linking import FileLinker
from app.services.listing import OFFSET_MOST, count_of
from app.wire import files as wire
from app.wire.envelope import success
from repositories.files import ORDERINGS
from routers.blobs import Blobs, send_file
from routers.deps import Caller, DatabaseDep, Edge, KeyedRoute, Unit
from routers.file_uploads import FORM, take_files
from routers.responses import ENVELOPE, FILE
from schemas.bodies import UrlText
from schemas.files import (
    FileIdsBody,
    FolderBody,
    LinkBody,
    MoveBody,
    RenameBody,
    needed_ids,
    needed_text,
    optional_text,
)

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["files"], responses=ENVELOPE)

_PAGE_MOST = 1000


@router.post("/file/upload", openapi_extra=FORM)
async def upload_files(
    request: Request, caller: Caller, database: DatabaseDep, blobs: Blobs, edge: Edge
) -> dict[str, Any]:
    """Upload files into a folder, each a part named `file`; slashes in a name open folders."""
    taken = await take_files(request, database, blobs, caller.tenant_id, edge)
    return success([wire.file(file) for file in taken])


@router.post("/file/create")
async def create_folder(unit: Unit, body: Annotated[FolderBody | None, Body()] = None) -> dict[str, Any]:
    """Make a folder, or a file without bytes."""
    return success(wire.file(await make_folder(unit, body)))


async def make_folder(unit: Unit, body: FolderBody | None) -> Any:
    """Make what a body tells of."""
    name = needed_text(body, "name")
    folder_id, kind = optional_text(body, "parent_id") or "", optional_text(body, "type") or ""
    return await files.create_file(unit, folder_id=folder_id, name=name, kind=kind)


@router.get("/file/list")
async def list_folder(
    unit: Unit,
    parent_id: UrlText = "",
    keywords: UrlText = "",
    page: UrlText = "1",
    page_size: UrlText = "15",
    orderby: UrlText = "create_time",
    desc: UrlText = "true",
) -> dict[str, Any]:
    """List what a folder holds; without `parent_id` the root."""
    asked = read_listing(keywords, page, page_size, orderby, desc)
    return success(folder_page(await files.list_files(unit, parent_id, asked)))


def folder_page(found: files.Folder) -> dict[str, Any]:
    """Return a page of a folder as a JSON value."""
    return {
        "total": found.total,
        "files": [wire.listed(file) for file in found.files],
        "parent_folder": wire.file(found.folder),
    }


def read_listing(keywords: str, page: str, page_size: str, orderby: str, desc: str) -> FileListing:
    """Return what a query asks for; page 0 is page 1.

    Raises:
        WrongType: a number is none, or there is no such order.
    """
    if orderby not in ORDERINGS:
        raise WrongType(f"`orderby` should be one of {', '.join(ORDERINGS)}", param="orderby")
    most = min(_whole("page_size", page_size), _PAGE_MOST)
    return FileListing(
        keywords=keywords,
        order_by=orderby,
        is_descending=desc.strip().lower() not in ("false", "0"),
        most=most,
        skip=min((max(1, _whole("page", page)) - 1) * most, OFFSET_MOST),
    )


def _whole(name: str, value: str) -> int:
    number = count_of(value.strip())
    if number is None:
        raise WrongType(f"`{name}` should be a non-negative integer", param=name)
    return number


@router.get("/file/root_folder")
async def get_root_folder(unit: Unit) -> dict[str, Any]:
    """Return the root folder; it is its own parent."""
    return success({"root_folder": wire.file(await files.root_folder(unit))})


@router.get("/file/parent_folder")
async def get_parent_folder(unit: Unit, file_id: UrlText = "") -> dict[str, Any]:
    """Return the folder a file is in."""
    return success({"parent_folder": wire.file(await files.folder_of(unit, file_id))})


@router.get("/file/all_parent_folder")
async def get_all_parent_folders(unit: Unit, file_id: UrlText = "") -> dict[str, Any]:
    """Return a file and the folders it is in, the root last."""
    return success({"parent_folders": [wire.file(file) for file in await files.folders_of(unit, file_id)]})


@router.post("/file/rm")
async def remove_files(
    caller: Caller, database: DatabaseDep, blobs: Blobs, body: Annotated[FileIdsBody | None, Body()] = None
) -> dict[str, Any]:
    """Delete files, and folders with all they hold; the documents made of them go too."""
    await file_changes.delete_files(database, blobs, caller.tenant_id, needed_ids(body, "file_ids"))
    return success(data=True)


@router.post("/file/rename")
async def rename_file(unit: Unit, body: Annotated[RenameBody | None, Body()] = None) -> dict[str, Any]:
    """Rename a file or folder, and the documents made of it."""
    await file_changes.rename_file(unit, needed_text(body, "file_id"), needed_text(body, "name"))
    return success(data=True)


@router.get("/files/{file_id}", response_class=Response, responses=FILE)
@router.get("/file/get/{file_id}", response_class=Response, responses=FILE)
async def download_file(
    request: Request, file_id: UrlText, caller: Caller, database: DatabaseDep, blobs: Blobs
) -> Response:
    """Download a file, byte for byte as it was uploaded."""
    async with database.unit(caller.tenant_id) as unit:
        file, key = await files.find_bytes(unit, file_id)
    return await send_file(request, blobs, file, key)


@router.post("/file/mv")
async def move_files(unit: Unit, body: Annotated[MoveBody | None, Body()] = None) -> dict[str, Any]:
    """Move files and folders into another folder."""
    wanted = needed_ids(body, "src_file_ids")
    folder_id = optional_text(body, "dest_file_id")
    if not folder_id:
        raise NotFound("Parent Folder not found!", param="dest_file_id")
    await file_changes.move_files(unit, wanted, folder_id)
    return success(data=True)


@router.post("/files/link-to-datasets")
@router.post("/file/convert")
async def link_files(
    caller: Caller, database: DatabaseDep, blobs: Blobs, body: Annotated[LinkBody | None, Body()] = None
) -> dict[str, Any]:
    """Make documents of files in exactly these datasets; older links to other datasets go, with their documents."""
    file_ids, dataset_ids = needed_ids(body, "file_ids"), needed_ids(body, "kb_ids")
    linker = FileLinker(database, blobs, caller.tenant_id)
    links = await linker.link(file_ids, [DatasetId(each) for each in dataset_ids])
    return success([wire.link(each) for each in links])
