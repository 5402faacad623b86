"""Rules of the folder tree: shown, folders made, files taken in (knowledge.md 6)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.datasets import free_names
from app.domain.errors import NotFound, Taken, Unsuitable
from app.domain.files import FOLDER, File, FileId, FileListing, ListedFile, root_id
from app.domain.ids import DatasetId, TenantId, new_id
from app.ingest.blobs import BlobStore, blob_key
from app.ingest.file_types import document_type
from app.ingest.sweeping import forget_blobs
from app.services.file_names import MAX_NAME_BYTES, clean_name
from repositories.stray_blobs import UPLOAD_GRACE_S
from repositories.unit_of_work import Database, UnitOfWork

MOST_FOLDERS = 32  # that one uploaded name may open, one in the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A page of what a folder holds."""

    folder: File
    total: int
    files: list[ListedFile]


async def list_files(unit: UnitOfWork, folder_id: str, asked: FileListing) -> Folder:
    """Return a page of a folder, the root for an empty id.

    Raises:
        NotFound: there is no such folder.
    """
    folder = await unit.files.get(folder_id or root_id(unit.tenant_id))
    if folder is None or not folder.is_folder:
        raise NotFound("Folder not found!")
    total = await unit.files.count(folder.id, asked.keywords)
    found = await unit.files.page(folder.id, asked) if asked.most and asked.skip < total else []
    held = await unit.files.held([file.id for file in found if file.is_folder])
    linked = await _linked(unit, found)
    listed = [
        ListedFile(
            file=file,
            datasets=linked.get(file.id, []),
            size_bytes=held.get(file.id, (0, False))[0] if file.is_folder else file.size_bytes,
            has_child_folder=file.is_folder and held.get(file.id, (0, False))[1],
        )
        for file in found
    ]
    return Folder(folder=folder, total=total, files=listed)


async def _linked(unit: UnitOfWork, files: Sequence[File]) -> dict[FileId, list[tuple[DatasetId, str]]]:
    """Return id and name of the datasets each file is in, by file."""
    found: dict[FileId, list[tuple[DatasetId, str]]] = {}
    for link in await unit.file_links.of([file.id for file in files if not file.is_of_dataset]):
        found.setdefault(link.file_id, []).append((link.dataset_id, link.dataset_name))
    of_datasets = [file for file in files if file.is_of_dataset and not file.is_folder]
    datasets = await unit.datasets.many([DatasetId(file.parent_id) for file in of_datasets])
    for file in of_datasets:
        if (dataset := datasets.get(DatasetId(file.parent_id))) is not None:
            found[file.id] = [(dataset.id, dataset.name)]
    return found


async def root_folder(unit: UnitOfWork) -> File:
    """Return the tenant's root folder.

    Raises:
        NotFound: the tenant itself is gone.
    """
    root = await unit.files.get(root_id(unit.tenant_id))
    if root is None:
        raise NotFound("Folder not found!")
    return root


async def folders_of(unit: UnitOfWork, file_id: str) -> list[File]:
    """Return the file and the folders it is in, the root last.

    Raises:
        NotFound: there is no such file.
    """
    file = await unit.files.get(file_id)
    if file is None:
        raise NotFound("Folder not found!")
    return await unit.files.ancestors(file)


async def folder_of(unit: UnitOfWork, file_id: str) -> File:
    """Return the folder a file is in; the root's is the root. Raises as `folders_of`."""
    found = await folders_of(unit, file_id)
    return found[min(1, len(found) - 1)]


async def find_bytes(unit: UnitOfWork, file_id: str) -> tuple[File, str]:
    """Return a file and the key of its bytes.

    Raises:
        NotFound: there is no such file, or it holds no bytes.
    """
    file = await unit.files.get(file_id)
    if file is None or file.blob_key is None:
        raise NotFound("Document not found!")
    return file, file.blob_key


def checked_name(name: str) -> str:
    """Return the name a file or folder gets.

    Raises:
        Unsuitable: it is empty, too long, or names another place.
    """
    clean = clean_name(name)
    if not clean or clean in (".", "..") or "/" in name:
        raise Unsuitable("That is no name of a file or folder.", param="name")
    if len(clean.encode()) > MAX_NAME_BYTES:
        raise Unsuitable(f"File name must be {MAX_NAME_BYTES} bytes or less.", param="name")
    return clean


async def create_file(unit: UnitOfWork, *, folder_id: str, name: str, kind: str) -> File:
    """Make a folder, or for any other kind a file without bytes, in a folder; the root for an empty id.

    Raises:
        Unsuitable: the folder does not exist or belongs to datasets, or the name cannot be one.
        Taken: something of that name is there.
    """
    await unit.files.lock()
    folder = await unit.files.get(folder_id or root_id(unit.tenant_id))
    if folder is None or not folder.is_folder:
        raise Unsuitable("Parent Folder Doesn't Exist!", param="parent_id")
    _refuse_datasets(folder)
    made = await unit.files.add(
        _new(unit.tenant_id, folder.id, FOLDER if kind == FOLDER else "virtual"), [checked_name(name)]
    )
    if made is None:
        raise Taken("Duplicated folder name in the same folder.", param="name")
    return made


def _refuse_datasets(folder: File) -> None:
    if folder.is_of_dataset:
        raise Unsuitable("What is in this folder is changed through its dataset.")


def _new(
    tenant_id: TenantId,
    folder_id: FileId,
    kind: str,
    *,
    file_id: FileId | None = None,
    size: int = 0,
    key: str | None = None,
) -> File:
    now = datetime.now(UTC)
    return File(
        id=file_id or FileId(new_id()),
        parent_id=folder_id,
        tenant_id=tenant_id,
        name="",
        type=kind,
        size_bytes=size,
        blob_key=key,
        created_at=now,
        updated_at=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedUpload:
    """A file on its way in; `folders` are the names of those it lies in, from the outside."""

    name: str
    folders: tuple[str, ...]
    pieces: AsyncIterator[bytes]


def upload_path(filename: str) -> tuple[tuple[str, ...], str]:
    """Return the folders that an uploaded name opens, and the file's own name.

    Raises:
        Unsuitable: there is no name, or it cannot be one.
    """
    if not filename:
        raise Unsuitable("No selected file!")
    *outer, name = filename.replace("\\", "/").split("/")
    folders = [part for part in outer if part.strip() not in ("", ".", "..")]
    if not clean_name(name):
        raise Unsuitable("No selected file!")
    if len(folders) > MOST_FOLDERS:
        raise Unsuitable(f"A file's name may open at most {MOST_FOLDERS} folders.")
    return tuple(checked_name(part) for part in folders), checked_name(name)


class FileIntake:
    """Takes uploaded files in: all of a call or none."""

    def __init__(self, database: Database, blobs: BlobStore, tenant_id: TenantId, *, at_most: int) -> None:
        self._database = database
        self._blobs = blobs
        self._tenant_id = tenant_id
        self._at_most = at_most

    async def take(self, folder_id: str, uploads: Sequence[NamedUpload]) -> list[File]:
        """Store the files in a folder, the root for an empty id; a taken name is counted on.

        Raises:
            NotFound: there is no such folder.
            Unsuitable: the folder belongs to datasets.
            Taken: a file stands where a name opens a folder.
            TooLarge: a file is over the size limit.
        """
        ids = [FileId(new_id()) for _ in uploads]
        keys = [blob_key(self._tenant_id, "files", file_id) for file_id in ids]
        async with self._database.unit(self._tenant_id) as unit:
            await self._folder(unit, folder_id)
            await unit.stray_blobs.add(keys, due_in_s=UPLOAD_GRACE_S)
        try:
            sizes = [
                await self._blobs.put(key, upload.pieces, at_most=self._at_most)
                for key, upload in zip(keys, uploads, strict=True)
            ]
            async with self._database.unit(self._tenant_id) as unit:
                await unit.files.lock()
                folder = await self._folder(unit, folder_id)
                made = [
                    await self._add(unit, folder, upload, file_id=file_id, key=key, size=size)
                    for upload, file_id, key, size in zip(uploads, ids, keys, sizes, strict=True)
                ]
                await unit.stray_blobs.clear(keys)
                return made
        except BaseException:
            await forget_blobs(self._database, self._blobs, self._tenant_id, keys)
            raise

    async def _folder(self, unit: UnitOfWork, folder_id: str) -> File:
        folder = await unit.files.get(folder_id or root_id(unit.tenant_id))
        if folder is None or not folder.is_folder:
            raise NotFound("Can't find this folder!")
        _refuse_datasets(folder)
        return folder

    async def _add(
        self, unit: UnitOfWork, folder: File, upload: NamedUpload, *, file_id: FileId, key: str, size: int
    ) -> File:
        inner = folder.id
        for name in upload.folders:
            inner = await self._opened(unit, inner, name)
        kind = document_type(upload.name).value
        made = await unit.files.add(
            _new(unit.tenant_id, inner, kind, file_id=file_id, size=size, key=key), free_names(upload.name)
        )
        if made is None:
            raise Taken("Duplicated file name in the same folder.")
        return made

    async def _opened(self, unit: UnitOfWork, folder_id: FileId, name: str) -> FileId:
        """Return the folder of that name, made if it is not there."""
        known = await unit.files.named(folder_id, name)
        made = known or await unit.files.add(_new(unit.tenant_id, folder_id, FOLDER), [name])
        if made is None or not made.is_folder:
            raise Taken("Duplicated folder name in the same folder.")
        return made.id
