"""The tenant's folder tree: files, folders, and the links between files and documents (knowledge.md 6).

The root, `.knowledgebase`, the folders of datasets and the files in them are not stored: they are told from the tenant,
its datasets and their documents, and so are always right. A dataset's folder has the dataset's id, a document's file
the document's.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType

from app.domain.ids import DatasetId, DocumentId, TenantId

FileId = NewType("FileId", str)

ROOT_NAME = "/"
KNOWLEDGE_NAME = ".knowledgebase"
KNOWLEDGE = "knowledgebase"
"""The `source_type` of what stands in `.knowledgebase`, and of that folder."""

FOLDER = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file or folder. The root is its own parent; `blob_key` is None for what holds no bytes."""

    id: FileId
    parent_id: FileId
    tenant_id: TenantId
    name: str
    type: str
    size_bytes: int = 0
    blob_key: str | None = None
    source_type: str = ""
    created_at: datetime
    updated_at: datetime

    @property
    def is_folder(self) -> bool:
        """Whether it holds files."""
        return self.type == FOLDER

    @property
    def is_root(self) -> bool:
        """Whether it is the tenant's root folder."""
        return self.id == self.parent_id

    @property
    def is_of_dataset(self) -> bool:
        """Whether it is told from datasets and documents, and changed through them."""
        return self.source_type == KNOWLEDGE


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """A document that was made of a file."""

    id: str
    file_id: FileId
    document_id: DocumentId
    dataset_id: DatasetId
    dataset_name: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file as lists show it: the datasets it is linked to, and what a folder holds in all."""

    file: File
    datasets: list[tuple[DatasetId, str]] = field(default_factory=list[tuple[DatasetId, str]])
    size_bytes: int = 0
    has_child_folder: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileListing:
    """Which files of a folder a list shows; `order_by` is a key of `repositories.files.ORDERINGS`."""

    keywords: str = ""
    order_by: str = "create_time"
    is_descending: bool = True
    most: int = 15
    skip: int = 0


def root_id(tenant_id: TenantId) -> FileId:
    """Return the id of the tenant's root folder."""
    return _fixed_id(tenant_id, ROOT_NAME)


def knowledge_id(tenant_id: TenantId) -> FileId:
    """Return the id of the tenant's `.knowledgebase`."""
    return _fixed_id(tenant_id, KNOWLEDGE_NAME)


def _fixed_id(*parts: Any) -> FileId:
    """Like other ids a version 1 UUID, but the same every time."""
    digits = hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest()
    return FileId(f"{digits[:12]}1{digits[13:16]}8{digits[17:]}")
