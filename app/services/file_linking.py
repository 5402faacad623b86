"""Documents made of files (knowledge.md 6 `convert`).

Each document has its own copy of the bytes: a file and the documents made of it are deleted apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.errors import NotFound, Unsuitable
from app.domain.files import File, FileId, FileLink
from app.domain.ids import DatasetId, DocumentId, TenantId, new_id
from app.ingest.blobs import BlobStore, blob_key
from app.ingest.sweeping import forget_blobs, sweep_now
from app.services.file_changes import remove_of_datasets
from app.services.file_names import is_supported
from app.services.uploads import StoredFile, add_document
from repositories.stray_blobs import UPLOAD_GRACE_S
from repositories.unit_of_work import Database, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """A document to be made."""

    file: File
    dataset_id: DatasetId
    stored: StoredFile


class FileLinker:
    """Links files to datasets."""

    def __init__(self, database: Database, blobs: BlobStore, tenant_id: TenantId) -> None:
        self._database = database
        self._blobs = blobs
        self._tenant_id = tenant_id

    async def link(self, file_ids: Sequence[str], dataset_ids: Sequence[DatasetId]) -> list[FileLink]:
        """Link files, and those in folders, to exactly these datasets; the links, file by file.

        A document of a dataset that is no longer linked goes; one that was linked already stays as it is.

        Raises:
            NotFound: a file or dataset is not there; nothing was changed.
            Unsuitable: a file belongs to a dataset, or is of a type no dataset takes in; nothing was changed.
        """
        wanted_ids = list(dict.fromkeys(dataset_ids))
        async with self._database.unit(self._tenant_id) as unit:
            files = await self._files(unit, file_ids)
            await self._check_datasets(unit, wanted_ids)
            copies = self._copies(files, wanted_ids, await unit.file_links.of([file.id for file in files]))
            keys = [copy.stored.blob_key for copy in copies]
            await unit.stray_blobs.add(keys, due_in_s=UPLOAD_GRACE_S)
        try:
            for copy in copies:
                if copy.file.blob_key is not None:
                    await self._blobs.put(copy.stored.blob_key, self._blobs.stream(copy.file.blob_key))
            links = await self._store(file_ids, wanted_ids, copies)
        except BaseException:
            await forget_blobs(self._database, self._blobs, self._tenant_id, keys)
            raise
        await sweep_now(self._database, self._blobs, self._tenant_id)
        return links

    async def _files(self, unit: UnitOfWork, file_ids: Sequence[str]) -> list[File]:
        ids = list(dict.fromkeys(file_ids))
        known = await unit.files.many(ids)
        if len(known) < len(ids):
            raise NotFound("File not found!")
        if any(file.is_root or file.is_of_dataset for file in known.values()):
            raise Unsuitable("What belongs to datasets, and the root, can't be linked.")
        found = await unit.files.below([known[each].id for each in ids])
        files = [file for file in found if file.blob_key is not None]
        if unfit := next((file for file in files if not is_supported(file.name)), None):
            raise Unsuitable(f"{unfit.name}: This type of file has not been supported yet!")
        return files

    async def _check_datasets(self, unit: UnitOfWork, dataset_ids: Sequence[DatasetId]) -> None:
        if len(await unit.datasets.many(dataset_ids)) < len(dataset_ids):
            raise NotFound("Can't find this knowledgebase!")

    def _copies(
        self, files: Sequence[File], dataset_ids: Sequence[DatasetId], links: Sequence[FileLink]
    ) -> list[_Copy]:
        linked = {(link.file_id, link.dataset_id) for link in links}
        return [
            self._copy(file, dataset_id)
            for file in files
            for dataset_id in dataset_ids
            if (file.id, dataset_id) not in linked
        ]

    def _copy(self, file: File, dataset_id: DatasetId) -> _Copy:
        document_id = DocumentId(new_id())
        key = blob_key(self._tenant_id, dataset_id, document_id)
        stored = StoredFile(
            document_id=document_id, name=file.name, blob_key=key, size_bytes=file.size_bytes, sha256=b""
        )
        return _Copy(file=file, dataset_id=dataset_id, stored=stored)

    async def _store(
        self, file_ids: Sequence[str], dataset_ids: Sequence[DatasetId], copies: Sequence[_Copy]
    ) -> list[FileLink]:
        async with self._database.unit(self._tenant_id) as unit:
            await unit.files.lock()
            files = await self._files(unit, file_ids)
            ids = [file.id for file in files]
            links = await unit.file_links.of(ids)
            dropped = [(link.dataset_id, link.document_id) for link in links if link.dataset_id not in dataset_ids]
            await remove_of_datasets(unit, dropped)
            linked = {(link.file_id, link.dataset_id) for link in links}
            current = {file.id: file for file in files}
            used: list[str] = []
            for dataset_id in sorted(dataset_ids):
                new = [
                    copy
                    for copy in copies
                    if copy.dataset_id == dataset_id
                    and copy.file.id in current
                    and (copy.file.id, dataset_id) not in linked
                ]
                used += await self._add(unit, dataset_id, new, current)
            await unit.stray_blobs.clear(used)
            await unit.stray_blobs.add([copy.stored.blob_key for copy in copies if copy.stored.blob_key not in used])
            order = {file_id: place for place, file_id in enumerate(ids)}
            places = {dataset_id: place for place, dataset_id in enumerate(dataset_ids)}
            found = await unit.file_links.of(ids)
            return sorted(found, key=lambda link: (order[link.file_id], places[link.dataset_id]))

    async def _add(
        self, unit: UnitOfWork, dataset_id: DatasetId, copies: Sequence[_Copy], current: dict[FileId, File]
    ) -> list[str]:
        """Make the documents of one dataset; the keys of their bytes."""
        dataset = await unit.datasets.get(dataset_id)
        if dataset is None or not await unit.datasets.add_counts(dataset_id, documents=len(copies)):
            raise NotFound("Can't find this knowledgebase!")
        for copy in copies:
            document = await add_document(unit, dataset, replace(copy.stored, name=current[copy.file.id].name))
            await unit.file_links.add(copy.file.id, document.id)
        return [copy.stored.blob_key for copy in copies]
