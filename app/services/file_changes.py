"""Rules of the folder tree: files and folders renamed, moved and deleted (knowledge.md 6)."""

from collections.abc import Sequence

from app.domain.errors import NotFound, Taken, Unsuitable
from app.domain.files import File, FileId
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.ingest.blobs import BlobStore
from app.ingest.file_types import suffix
from app.ingest.sweeping import sweep_now
from app.services.document_changes import rename_locked
from app.services.documents import remove_documents
from app.services.files import checked_name
from repositories.unit_of_work import Database, UnitOfWork


async def delete_files(database: Database, blobs: BlobStore, tenant_id: TenantId, file_ids: Sequence[str]) -> int:
    """Delete files, and folders with all that is in them; the documents made of them go too. How many those were.

    Raises:
        NotFound: one of them is not there; nothing was deleted.
        Unsuitable: one is the root, or a folder of datasets; nothing was deleted.
    """
    async with database.unit(tenant_id) as unit:
        await unit.files.lock()
        wanted = await _wanted(unit, file_ids)
        if folder := next((file for file in wanted if file.is_root or (file.is_of_dataset and file.is_folder)), None):
            raise Unsuitable(f"The folder {folder.name} can't be deleted.")
        stored = await unit.files.below([file.id for file in wanted if not file.is_of_dataset])
        links = await unit.file_links.of([file.id for file in stored])
        documents = [(link.dataset_id, link.document_id) for link in links]
        documents += [(DatasetId(file.parent_id), DocumentId(file.id)) for file in wanted if file.is_of_dataset]
        keys = await unit.files.delete([file.id for file in stored])
        await unit.stray_blobs.add(keys)
        await remove_of_datasets(unit, documents)
    await sweep_now(database, blobs, tenant_id)
    return len(stored) + len(documents) - len(links)


async def remove_of_datasets(unit: UnitOfWork, documents: Sequence[tuple[DatasetId, DocumentId]]) -> None:
    """Delete documents, dataset by dataset in the order of their ids."""
    for dataset_id in sorted({dataset_id for dataset_id, _ in documents}):
        ids = sorted({document_id for own_id, document_id in documents if own_id == dataset_id})
        await remove_documents(unit, dataset_id, list(await unit.documents.lock(dataset_id, ids)))


async def _wanted(unit: UnitOfWork, file_ids: Sequence[str]) -> list[File]:
    ids = list(dict.fromkeys(file_ids))
    known = await unit.files.many(ids)
    if len(known) < len(ids):
        raise NotFound("File or Folder not found!")
    return [known[each] for each in ids]


async def rename_file(unit: UnitOfWork, file_id: str, name: str) -> None:
    """Rename a file or folder, and the documents made of it, all or none.

    Raises:
        NotFound: there is no such file.
        Unsuitable: its extension would change, the name cannot be one, or it is a folder that has its name for good.
        Taken: its folder, or a dataset it is linked to, has something of that name.
    """
    await unit.files.lock()
    file = await unit.files.get(file_id)
    if file is None:
        raise NotFound("File not found!")
    new_name = _new_name(file, name)
    if file.is_of_dataset:
        await _rename_document(unit, DatasetId(file.parent_id), DocumentId(file.id), new_name)
    else:
        await _place(unit, file, file.parent_id, new_name)
        await _rename_linked(unit, file.id, new_name)


def _new_name(file: File, name: str) -> str:
    if file.is_root or (file.is_of_dataset and file.is_folder):
        raise Unsuitable(f"The folder {file.name} can't be renamed.")
    new_name = checked_name(name)
    if not file.is_folder and suffix(new_name) != suffix(file.name):
        raise Unsuitable("The extension of file can't be changed", param="name")
    return new_name


async def _rename_linked(unit: UnitOfWork, file_id: FileId, name: str) -> None:
    for link in await unit.file_links.of([file_id]):
        await _rename_document(unit, link.dataset_id, link.document_id, name)


async def _rename_document(unit: UnitOfWork, dataset_id: DatasetId, document_id: DocumentId, name: str) -> None:
    document = (await unit.documents.lock(dataset_id, [document_id])).get(document_id)
    if document is None or document.name == name:
        return
    if await unit.documents.is_name_taken(dataset_id, name, but=document_id):
        raise Taken("Duplicated document name in the same dataset.", param="name")
    await rename_locked(unit, document, name)


async def move_files(
    unit: UnitOfWork, file_ids: Sequence[str], folder_id: str | None, new_name: str | None = None
) -> None:
    """Move files and folders into a folder, all or none, the only one of them under a new name if one is given.

    Without a folder they stay where they are.

    Raises:
        NotFound: the folder, or one of the files, is not there.
        Unsuitable: a folder would be moved into itself, or something belongs to datasets; see `rename_file`.
        Taken: the folder has something of that name; see `rename_file`.
    """
    await unit.files.lock()
    folder = await _destination(unit, folder_id) if folder_id is not None else None
    files = await _wanted(unit, file_ids)
    if folder is None:
        if new_name is not None:
            await rename_file(unit, files[0].id, new_name)
        return
    await _check_move(unit, files, folder)
    for file in files:
        name = _new_name(file, new_name) if new_name is not None else file.name
        await _place(unit, file, folder.id, name)
        if name != file.name:
            await _rename_linked(unit, file.id, name)


async def _destination(unit: UnitOfWork, folder_id: str) -> File:
    folder = await unit.files.get(folder_id)
    if folder is None or not folder.is_folder:
        raise NotFound("Parent Folder not found!")
    return folder


async def _check_move(unit: UnitOfWork, files: Sequence[File], folder: File) -> None:
    if folder.is_of_dataset or any(file.is_root or file.is_of_dataset for file in files):
        raise Unsuitable("What belongs to datasets, and the root, can't be moved.")
    inside = {each.id for each in await unit.files.ancestors(folder)}
    if any(file.id in inside for file in files):
        raise Unsuitable("A folder can't be moved into itself or into a folder below it.")


async def _place(unit: UnitOfWork, file: File, folder_id: FileId, name: str) -> None:
    if await unit.files.is_taken(folder_id, name, but=file.id):
        raise Taken("Duplicated file name in the same folder.", param="name")
    await unit.files.place(file.id, folder_id=folder_id, name=name)
