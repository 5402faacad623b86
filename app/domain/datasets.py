"""Datasets, the documents in them, their stored sections and chunks, and the jobs that parse them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.domain.errors import Invalid, Missing, NotPermitted, WrongType
from app.domain.ids import ChunkId, DatasetId, DocumentId, JobId, SectionId, TenantId


class RunState(StrEnum):
    """Where a document's parsing is (knowledge.md 2.8)."""

    UNSTART = "UNSTART"
    RUNNING = "RUNNING"
    CANCEL = "CANCEL"
    DONE = "DONE"
    FAIL = "FAIL"


RUN_DIGITS = {
    "0": RunState.UNSTART,
    "1": RunState.RUNNING,
    "2": RunState.CANCEL,
    "3": RunState.DONE,
    "4": RunState.FAIL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A set of documents that share an embedding model. `embedding_model` is `name@provider`."""

    id: DatasetId
    tenant_id: TenantId
    name: str
    avatar: str | None = None
    description: str | None = None
    language: str = "English"
    embedding_model: str
    permission: str = "me"
    chunk_method: str = "naive"
    parser_config: dict[str, Any]
    pagerank: int = 0
    document_count: int = 0
    chunk_count: int = 0
    token_count: int = 0
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file in a dataset. `progress` is 0 to 1, or -1 when it failed; `process_duration_s` grows while it runs."""

    id: DocumentId
    dataset_id: DatasetId
    tenant_id: TenantId
    name: str
    location: str
    blob_key: str
    type: str
    suffix: str
    size_bytes: int
    source_type: str = "local"
    thumbnail: str = ""
    chunk_method: str
    parser_config: dict[str, Any]
    meta_fields: dict[str, Any] = field(default_factory=dict[str, Any])
    is_enabled: bool = True
    run: RunState = RunState.UNSTART
    progress: float = 0.0
    progress_msg: str = ""
    process_begin_at: datetime | None = None
    process_duration_s: float = 0.0
    chunk_count: int = 0
    token_count: int = 0
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFilter:
    """Which documents of a dataset a list shows; empty fields do not filter (knowledge.md 2.4)."""

    document_id: DocumentId | None = None
    name: str | None = None
    keywords: str = ""
    suffixes: Sequence[str] = ()
    runs: Sequence[RunState] | None = None
    document_ids: Sequence[DocumentId] | None = None
    created_from_ms: int = 0
    created_to_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSection:
    """A section of a document's outline; `path` holds the titles from the root, its own last."""

    id: SectionId
    position: int
    level: int
    title: str
    path: tuple[str, ...]
    parent_id: SectionId | None
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChunk:
    """A chunk to be stored. `lexemes` is text for a tsvector, `embedding` L2-normalised.

    `tags` are those of a row of a tag dataset, `tag_weights` scores by tag, `cells` the typed cells of a table row;
    `layer` is 0 for the document's own text and counts summaries from 1. `doc_type` is `image`, `table`, `video` or
    empty; `image_id` names the chunk's picture (`app/ingest/images.py`), empty for none.
    """

    id: ChunkId
    section_id: SectionId | None
    ordinal: int
    content: str
    lexemes: str
    embedding: Sequence[float]
    positions: Sequence[Sequence[int]]
    token_count: int
    important_keywords: Sequence[str] = ()
    questions: Sequence[str] = ()
    is_available: bool = True
    tags: Sequence[str] = ()
    tag_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    cells: Mapping[str, Any] | None = None
    layer: int = 0
    doc_type: str = ""
    image_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A chunk as lists show it, without vector and lexemes.

    `ordinal` is its place in the document from 0; -1 when it came through the API: such a chunk is not found by the
    words of its file's name.
    """

    id: ChunkId
    document_id: DocumentId
    dataset_id: DatasetId
    content: str
    important_keywords: list[str]
    questions: list[str]
    positions: list[list[int]]
    image_id: str
    is_available: bool
    created_at: datetime
    ordinal: int = 0
    doc_type: str = ""
    tags: list[str] = field(default_factory=list[str])
    tag_weights: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job this process has the lease of. Whoever writes for it names the fence, or is refused."""

    tenant_id: TenantId
    id: JobId
    kind: str
    subject_id: str
    attempts: int
    fence: int


class DatasetMissing(Missing):
    """The dataset does not exist, or belongs to another tenant."""


class DatasetNotPermitted(DatasetMissing, NotPermitted):
    """The dataset is not among those the caller may list, change or delete."""


class DatasetNameTaken(Invalid):
    """Another dataset of the tenant has that name."""


class UploadTargetMissing(DatasetMissing, WrongType):
    """The dataset that files were sent to is not there."""


class DocumentMissing(Missing):
    """The document does not exist, is not in that dataset, or belongs to another tenant."""


class ChunkedDocumentMissing(DocumentMissing, WrongType):
    """The document whose chunks are to be deleted is missing; RAGFlow 0.22 falls over it (knowledge.md 3.4)."""


class DocumentNameTaken(Invalid):
    """Another document of the dataset has that name."""


class LeaseLost(Exception):
    """Another process has the job now, or it was cancelled: this one must not write for it any more."""


def free_names(name: str, *, most: int = 1000) -> list[str]:
    """Return `name` and what it is renamed to when taken: `stem(1).ext`, `stem(2).ext`, … (knowledge.md 1.4, 2.1).

    The number goes before a dot-extension; one that is there already is counted on.
    """
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    first = 1
    head, bracket, tail = stem.rpartition("(")
    if bracket and head and tail.endswith(")") and tail[:-1].isascii() and tail[:-1].isdigit() and len(tail) < 8:
        stem, first = head, int(tail[:-1]) + 1
    return [name, *(f"{stem}({number}){dot}{extension}" for number in range(first, first + most))]
