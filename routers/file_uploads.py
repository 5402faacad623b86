"""Reading what is uploaded into folders: the files with their paths, and the folder they go to (knowledge.md 6)."""

from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from app.domain.errors import Unsuitable
from app.domain.files import File
from app.domain.ids import TenantId
from app.ingest.blobs import BlobStore
from app.services.files import FileIntake, NamedUpload, upload_path
from repositories.unit_of_work import Database
from routers.deps import EdgeConfig
from routers.uploads import pieces_of, uploaded_form

FORM: dict[str, Any] = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "parent_id": {"type": "string", "description": "The folder; the root if absent."},
                    },
                    "required": ["file"],
                }
            }
        }
    }
}


async def take_files(
    request: Request, database: Database, blobs: BlobStore, tenant_id: TenantId, edge: EdgeConfig
) -> list[File]:
    """Store what a multipart body holds, all or none.

    Raises:
        Unsuitable: there is no file in it, or one without a name; see also `FileIntake.take`.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Unsuitable("No file part!")
    async with uploaded_form(request, edge) as form:
        uploads = _uploads(form)
        intake = FileIntake(database, blobs, tenant_id, at_most=edge.upload_max_bytes)
        return await intake.take(_folder_id(form), uploads)


def _uploads(form: FormData) -> list[NamedUpload]:
    parts = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
    if not parts:
        raise Unsuitable("No file part!")
    named = [(part, *upload_path(part.filename or "")) for part in parts]
    return [NamedUpload(name=name, folders=folders, pieces=pieces_of(part)) for part, folders, name in named]


def _folder_id(form: FormData) -> str:
    value = form.get("parent_id")
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else ""
