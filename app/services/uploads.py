"""Taking files in (knowledge.md 2.1).

Bytes are announced before they are written (`stray_blobs`), and the announcement goes in the transaction that makes
the documents: whatever dies in between, no document is half there, and no bytes stay that nobody names.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.domain.datasets import Dataset, Document, UploadTargetMissing, free_names
from app.domain.errors import Invalid
from app.domain.ids import DatasetId, DocumentId, KeyId, TenantId, new_id
from app.ingest.blobs import BlobStore, blob_key
from app.ingest.file_types import DocumentType, chunk_method_for, document_type, suffix
from app.ingest.sweeping import forget_blobs
from app.services.file_names import is_supported
from repositories.stray_blobs import UPLOAD_GRACE_S
from repositories.unit_of_work import Database, UnitOfWork

VIRTUAL = "virtual"
"""The type of a document that has no bytes, and a name of no sort of file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingFile:
    """A file that was sent: its clean name, and how to read its bytes.

    A virtual one is a document without bytes, whose name may have any extension or none.
    """

    name: str
    pieces: Callable[[], AsyncIterator[bytes]]
    is_virtual: bool = False

    @property
    def is_taken_in(self) -> bool:
        """Whether files of its sort become documents."""
        return self.is_virtual or is_supported(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file whose bytes are stored, and which is no document yet."""

    document_id: DocumentId
    name: str
    blob_key: str
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCall:
    """What makes an upload recognisable when it comes again: the `Idempotency-Key`, and whose it is."""

    key: str
    key_id: KeyId
    route: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload did: documents in the order of the files, names of files that are not taken in."""

    documents: list[dict[str, Any]]
    refused: list[str]
    is_replay: bool = False


class Uploads:
    """Takes files of one tenant into one dataset."""

    def __init__(self, database: Database, blobs: BlobStore, tenant_id: TenantId, dataset_id: DatasetId) -> None:
        self._database = database
        self._blobs = blobs
        self._tenant_id = tenant_id
        self._dataset_id = dataset_id

    async def check_target(self) -> None:
        """Return when the dataset is there.

        Raises:
            UploadTargetMissing: it is not.
        """
        async with self._database.unit(self._tenant_id) as unit:
            if await unit.datasets.get(self._dataset_id) is None:
                raise self._unknown()

    async def take(
        self,
        files: Sequence[IncomingFile],
        *,
        at_most: int,
        render: Callable[[Document], dict[str, Any]],
        call: UploadCall | None = None,
    ) -> Uploaded:
        """Store the files that are of a supported sort, and make documents of them, all or none.

        A `call` that came before gets what it got then; nothing is stored again.

        Raises:
            UploadTargetMissing: there is no such dataset (any more).
            TooLarge: a file has more than `at_most` bytes.
            KeyReused: the call's key came with other files before.
        """
        wanted = [file for file in files if file.is_taken_in]
        refused = [file.name for file in files if not file.is_taken_in]
        ids = [DocumentId(new_id()) for _ in wanted]
        keys = await self._announce(ids)
        try:
            stored = [
                await self._store(file, document_id, key, at_most)
                for file, document_id, key in zip(wanted, ids, keys, strict=True)
            ]
            done = await self._commit(stored, refused, render, call)
        except BaseException:
            await forget_blobs(self._database, self._blobs, self._tenant_id, keys)
            raise
        if done.is_replay:
            await forget_blobs(self._database, self._blobs, self._tenant_id, keys)
        return done

    async def _announce(self, ids: Sequence[DocumentId]) -> list[str]:
        async with self._database.unit(self._tenant_id) as unit:
            if await unit.datasets.get(self._dataset_id) is None:
                raise self._unknown()
            keys = [blob_key(self._tenant_id, self._dataset_id, each) for each in ids]
            await unit.stray_blobs.add(keys, due_in_s=UPLOAD_GRACE_S)
        return keys

    async def _store(self, file: IncomingFile, document_id: DocumentId, key: str, at_most: int) -> StoredFile:
        digest = hashlib.sha256()

        async def hashed() -> AsyncIterator[bytes]:
            async for piece in file.pieces():
                digest.update(piece)
                yield piece

        size_bytes = await self._blobs.put(key, hashed(), at_most=at_most)
        return StoredFile(
            document_id=document_id, name=file.name, blob_key=key, size_bytes=size_bytes, sha256=digest.digest()
        )

    async def _commit(
        self,
        files: Sequence[StoredFile],
        refused: list[str],
        render: Callable[[Document], dict[str, Any]],
        call: UploadCall | None,
    ) -> Uploaded:
        async with self._database.unit(self._tenant_id) as unit:
            if call is not None:
                kept = await unit.idempotency.claim(
                    api_key_id=call.key_id, key=call.key, route=call.route, body_hash=_hash(files, refused)
                )
                if kept is not None and kept.body is not None:
                    before = orjson.loads(kept.body)
                    return Uploaded(documents=before["documents"], refused=before["refused"], is_replay=True)
            documents = [render(each) for each in await self._add(unit, files)]
            if call is not None:
                body = orjson.dumps({"documents": documents, "refused": refused})
                await unit.idempotency.keep(api_key_id=call.key_id, key=call.key, status=200, body=body)
        return Uploaded(documents=documents, refused=refused)

    async def _add(self, unit: UnitOfWork, files: Sequence[StoredFile]) -> list[Document]:
        dataset = await unit.datasets.get(self._dataset_id)
        if dataset is None or not await unit.datasets.add_counts(self._dataset_id, documents=len(files)):
            raise self._unknown()
        added = [await add_document(unit, dataset, file) for file in files]
        await unit.stray_blobs.clear([file.blob_key for file in files])
        return added

    def _unknown(self) -> UploadTargetMissing:
        return UploadTargetMissing(f"Can't find the dataset with ID {self._dataset_id}!")


def _hash(files: Sequence[StoredFile], refused: Sequence[str]) -> bytes:
    """Return what is the same when the same files are sent again, whatever the multipart boundary is then."""
    told = [[file.name, file.size_bytes, file.sha256.hex()] for file in files]
    return hashlib.sha256(orjson.dumps([told, list(refused)])).digest()


def _type(name: str) -> str:
    """Return the type of a document; one that is made without bytes may have a name of no sort."""
    kind = document_type(name)
    return VIRTUAL if kind is DocumentType.OTHER else kind.value


async def add_document(unit: UnitOfWork, dataset: Dataset, file: StoredFile) -> Document:
    """Make a document of a stored file, under another name if its own is taken; counters are the caller's.

    Raises:
        Invalid: the name and a thousand others like it are taken.
    """
    now = datetime.now(UTC)
    document = Document(
        id=file.document_id,
        dataset_id=dataset.id,
        tenant_id=dataset.tenant_id,
        name=file.name,
        location=file.name,
        blob_key=file.blob_key,
        type=_type(file.name),
        suffix=suffix(file.name),
        size_bytes=file.size_bytes,
        chunk_method=chunk_method_for(file.name, dataset.chunk_method),
        parser_config=dataset.parser_config,
        created_at=now,
        updated_at=now,
    )
    stored = await unit.documents.add(document, free_names(file.name))
    if stored is None:
        raise Invalid(f"{file.name}: too many documents of this name.")
    return stored
