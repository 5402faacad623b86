"""Documents of one tenant: rows, run states and progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import Document, DocumentFilter, DocumentNameTaken, RunState
from app.domain.ids import DatasetId, DocumentId, TenantId
from repositories.names import free_name

# The clock of a running document goes on; what lists show is never a stale duration.
_COLUMNS = """id, tenant_id, dataset_id, name, location, blob_key, type, suffix, size_bytes, source_type, thumbnail,
    chunk_method, parser_config, meta_fields, is_enabled, run, progress, progress_msg, process_begin_at,
    CASE WHEN run = 'RUNNING' AND process_begin_at IS NOT NULL
         THEN extract(epoch FROM clock_timestamp() - process_begin_at) ELSE process_duration_s
    END::float8 AS process_duration_s, chunk_count, token_count, created_at, updated_at"""

_FREE_NAME = free_name("documents", "t.dataset_id = :dataset_id")

_ADD = text(f"""
    INSERT INTO documents (tenant_id, id, dataset_id, name, location, blob_key, type, suffix, size_bytes, chunk_method,
        parser_config)
    VALUES (:tenant, :id, :dataset_id, :name, :name, :blob_key, :type, :suffix, :size_bytes, :chunk_method,
        CAST(:parser_config AS jsonb))
    ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
""")  # noqa: S608 (a constant)

_MANY = text(f"""
    SELECT {_COLUMNS} FROM documents
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id AND id = ANY(CAST(:ids AS text[]))
""")  # noqa: S608 (a constant)

_LOCK = text(f"""
    SELECT {_COLUMNS} FROM documents
    WHERE tenant_id = :tenant AND dataset_id = :dataset_id AND id = ANY(CAST(:ids AS text[]))
    ORDER BY id FOR NO KEY UPDATE
""")  # noqa: S608 (a constant)

_FIND = text(f"""
    SELECT {_COLUMNS} FROM documents WHERE tenant_id = :tenant AND id = :id AND NOT EXISTS (
        SELECT FROM datasets d WHERE d.tenant_id = :tenant AND d.id = documents.dataset_id AND d.deleted_at IS NOT NULL)
""")  # noqa: S608 (a constant)

_IDS = text("SELECT id FROM documents WHERE tenant_id = :tenant AND dataset_id = :dataset_id ORDER BY id")

_NAMED = text("""
    SELECT EXISTS (SELECT FROM documents WHERE tenant_id = :tenant AND dataset_id = :dataset_id AND name = :name)
""")

_WHERE = """tenant_id = :tenant AND dataset_id = :dataset_id
    AND (CAST(:id AS text) IS NULL OR id = :id)
    AND (CAST(:ids AS text[]) IS NULL OR id = ANY(CAST(:ids AS text[])))
    AND (CAST(:name AS text) IS NULL OR name = :name)
    AND (CAST(:keywords AS text) = '' OR strpos(lower(name), lower(:keywords)) > 0)
    AND (CAST(:suffixes AS text[]) IS NULL OR suffix = ANY(CAST(:suffixes AS text[])))
    AND (CAST(:runs AS text[]) IS NULL OR run = ANY(CAST(:runs AS text[])))"""

_PLACES = text("""
    SELECT d.id, d.dataset_id FROM documents d
    JOIN datasets s ON s.tenant_id = d.tenant_id AND s.id = d.dataset_id AND s.deleted_at IS NULL
    WHERE d.tenant_id = :tenant AND d.id = ANY(CAST(:ids AS text[]))
""")

_COUNT = text(f"SELECT count(*) FROM documents WHERE {_WHERE}")  # noqa: S608 (a constant)

# Times are compared in whole milliseconds: that is what clients were shown.
_IN_TIME = """AND (CAST(:from_ms AS bigint) <= 0 OR floor(extract(epoch FROM created_at) * 1000) >= :from_ms)
    AND (CAST(:to_ms AS bigint) <= 0 OR floor(extract(epoch FROM created_at) * 1000) <= :to_ms)"""

ORDERINGS = {
    "create_time": "created_at",
    "update_time": "updated_at",
    "create_date": "created_at",
    "update_date": "updated_at",
    "name": "name",
    "size": "size_bytes",
    "type": "type",
    "suffix": "suffix",
    "run": "run",
    "progress": "progress",
    "chunk_count": "chunk_count",
    "token_count": "token_count",
    "process_begin_at": "process_begin_at",
    "process_duration": "process_duration_s",
}
"""What a list may be ordered by, as named on the wire."""

_PAGES = {
    (column, desc): text(f"""
        SELECT {_COLUMNS} FROM documents WHERE {_WHERE} {_IN_TIME}
        ORDER BY documents.{column} {"DESC" if desc else "ASC"}, id {"DESC" if desc else "ASC"} LIMIT :most OFFSET :skip
    """)  # noqa: S608 (constants)
    for column in set(ORDERINGS.values())
    for desc in (True, False)
}

_IS_NAME_TAKEN = text("""
    SELECT EXISTS (SELECT FROM documents WHERE tenant_id = :tenant AND dataset_id = :dataset_id
                   AND lower(name) = lower(:name) AND id <> :but)
""")

_SETTABLE = ("name", "is_enabled", "chunk_method")
_SETTABLE_JSON = ("parser_config", "meta_fields")

_UNSTARTED = """run = 'UNSTART', progress = 0, progress_msg = '', process_begin_at = NULL, process_duration_s = 0,
    chunk_count = 0, token_count = 0"""

_DELETE = text("""
    DELETE FROM documents WHERE tenant_id = :tenant AND dataset_id = :dataset_id AND id = ANY(CAST(:ids AS text[]))
    RETURNING chunk_count, token_count
""")

_START = text(f"""
    UPDATE documents SET run = 'RUNNING', progress = 0.001 + random() * 0.009, progress_msg = :message,
        process_begin_at = clock_timestamp(), process_duration_s = 0, chunk_count = 0, token_count = 0,
        updated_at = clock_timestamp()
    WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[])) RETURNING {_COLUMNS}
""")  # noqa: S608 (a constant)

_CANCEL = text("""
    UPDATE documents SET run = 'CANCEL', progress = 0, chunk_count = 0, token_count = 0,
        progress_msg = progress_msg || E'\n' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'HH24:MI:SS')
            || ' Task has been canceled. [Canceled]',
        process_duration_s = COALESCE(extract(epoch FROM clock_timestamp() - process_begin_at), 0),
        updated_at = clock_timestamp()
    WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))
""")

# Only the job that holds the lease may write: fence and state are checked by the statement that writes.
_PROGRESS = text("""
    UPDATE documents SET progress = GREATEST(progress, :progress), updated_at = clock_timestamp(),
        progress_msg = CASE WHEN progress_msg = '' OR CAST(:restart AS boolean) THEN :line
                            ELSE progress_msg || E'\n' || :line END
    WHERE tenant_id = :tenant AND id = :id AND run = 'RUNNING'
""")

_END = text("""
    UPDATE documents SET run = :run, progress = :progress, progress_msg = progress_msg || E'\n' || :line,
        chunk_count = chunk_count + :chunks, token_count = token_count + :tokens, updated_at = clock_timestamp(),
        thumbnail = COALESCE(NULLIF(:thumbnail, ''), thumbnail),
        process_duration_s = GREATEST(0.001, extract(epoch FROM clock_timestamp() - process_begin_at))
    WHERE tenant_id = :tenant AND id = :id AND run = 'RUNNING' RETURNING dataset_id
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """By how much a deletion lowers the counters of the dataset."""

    documents: int
    chunks: int
    tokens: int


class DocumentRepository:
    """Documents of one tenant. Never commits; the dataset's counters are the caller's to change."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, document: Document, names: Sequence[str]) -> Document | None:
        """Insert `document` under the first of `names` that is free in its dataset; None when all are taken."""
        values = {
            "tenant": self._tenant_id,
            "id": document.id,
            "dataset_id": document.dataset_id,
            "blob_key": document.blob_key,
            "type": document.type,
            "suffix": document.suffix,
            "size_bytes": document.size_bytes,
            "chunk_method": document.chunk_method,
            "parser_config": orjson.dumps(document.parser_config).decode(),
        }
        own = {"tenant": self._tenant_id, "dataset_id": document.dataset_id, "names": list(names)}
        while True:
            name = (await self._connection.execute(_FREE_NAME, own)).scalar_one_or_none()
            if name is None:
                return None
            row = (await self._connection.execute(_ADD, {**values, "name": name})).one_or_none()
            if row is not None:  # else another call took the name in between
                return _document(row)

    async def get(self, dataset_id: DatasetId, document_id: DocumentId) -> Document | None:
        """Return the document, if it is in that dataset."""
        return next(iter(await self.many(dataset_id, [document_id])), None)

    async def find(self, document_id: DocumentId) -> Document | None:
        """Return the document, whatever its dataset."""
        row = (await self._connection.execute(_FIND, {"tenant": self._tenant_id, "id": document_id})).one_or_none()
        return _document(row) if row is not None else None

    async def many(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> list[Document]:
        """Return those of `document_ids` that are in the dataset, in no order."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "ids": list(document_ids)}
        return [_document(row) for row in await self._connection.execute(_MANY, values)]

    async def lock(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> dict[DocumentId, Document]:
        """Return those of `document_ids` that are in the dataset, kept from others until this unit ends."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "ids": list(document_ids)}
        return {DocumentId(row.id): _document(row) for row in await self._connection.execute(_LOCK, values)}

    async def places(self, document_ids: Sequence[DocumentId]) -> dict[DocumentId, DatasetId]:
        """Return the dataset of each of these documents that is there and in nobody's deleted dataset."""
        values = {"tenant": self._tenant_id, "ids": list(document_ids)}
        rows = await self._connection.execute(_PLACES, values)
        return {DocumentId(row.id): DatasetId(row.dataset_id) for row in rows}

    async def ids(self, dataset_id: DatasetId) -> list[DocumentId]:
        """Return the ids of all documents of the dataset."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id}
        return [DocumentId(row.id) for row in await self._connection.execute(_IDS, values)]

    async def has_name(self, dataset_id: DatasetId, name: str) -> bool:
        """Tell whether a document of the dataset has exactly this name."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "name": name}
        return bool((await self._connection.execute(_NAMED, values)).scalar_one())

    async def count(self, dataset_id: DatasetId, shown: DocumentFilter) -> int:
        """Return how many documents match, whenever they were made (knowledge.md 2.4: `total` ignores times)."""
        return int((await self._connection.execute(_COUNT, self._filtered(dataset_id, shown))).scalar_one())

    async def page(
        self, dataset_id: DatasetId, shown: DocumentFilter, *, order_by: str, desc: bool, most: int, skip: int
    ) -> list[Document]:
        """Return a page of the documents that match; `order_by` is a key of `ORDERINGS`."""
        values = {
            **self._filtered(dataset_id, shown),
            "from_ms": shown.created_from_ms,
            "to_ms": shown.created_to_ms,
            "most": most,
            "skip": skip,
        }
        statement = _PAGES[ORDERINGS[order_by], desc]
        return [_document(row) for row in await self._connection.execute(statement, values)]

    def _filtered(self, dataset_id: DatasetId, shown: DocumentFilter) -> dict[str, Any]:
        return {
            "tenant": self._tenant_id,
            "dataset_id": dataset_id,
            "id": shown.document_id,
            "ids": list(shown.document_ids) if shown.document_ids is not None else None,
            "name": shown.name,
            "keywords": shown.keywords,
            "suffixes": list(shown.suffixes) or None,
            "runs": [run.value for run in shown.runs] if shown.runs is not None else None,
        }

    async def is_name_taken(self, dataset_id: DatasetId, name: str, *, but: DocumentId) -> bool:
        """Tell whether another document of the dataset than `but` has this name, ignoring case."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "name": name, "but": but}
        return bool((await self._connection.execute(_IS_NAME_TAKEN, values)).scalar_one())

    async def update(
        self, document_id: DocumentId, changes: Mapping[str, Any], *, is_unstarted: bool = False
    ) -> Document:
        """Set the named columns of a document that is locked; `is_unstarted` makes it one that was never parsed.

        Raises:
            DocumentNameTaken: another one got the name meanwhile.
        """
        values: dict[str, Any] = {"tenant": self._tenant_id, "id": document_id}
        values |= {key: changes[key] for key in _SETTABLE if key in changes}
        values |= {key: orjson.dumps(changes[key]).decode() for key in _SETTABLE_JSON if key in changes}
        parts = [f"{key} = :{key}" for key in _SETTABLE if key in changes]
        parts += [f"{key} = CAST(:{key} AS jsonb)" for key in _SETTABLE_JSON if key in changes]
        parts += [_UNSTARTED] if is_unstarted else []
        parts.append("updated_at = clock_timestamp()")
        statement = (
            f"UPDATE documents SET {', '.join(parts)} WHERE tenant_id = :tenant AND id = :id RETURNING {_COLUMNS}"  # noqa: S608 (names come from _SETTABLE)
        )
        try:
            return _document((await self._connection.execute(text(statement), values)).one())
        except IntegrityError as error:
            if "uq_documents_name" in str(error.orig):
                raise DocumentNameTaken("Duplicated document name in the same dataset.", param="name") from error
            raise

    async def delete(self, dataset_id: DatasetId, document_ids: Sequence[DocumentId]) -> Removed:
        """Delete documents with their sections; their chunks were deleted before, in short statements."""
        values = {"tenant": self._tenant_id, "dataset_id": dataset_id, "ids": list(document_ids)}
        rows = (await self._connection.execute(_DELETE, values)).all()
        return Removed(
            documents=len(rows),
            chunks=sum(row.chunk_count for row in rows),
            tokens=sum(row.token_count for row in rows),
        )

    async def start(self, document_ids: Sequence[DocumentId], message: str) -> None:
        """Set documents running, with no chunks and a fresh log (knowledge.md 2.6)."""
        values = {"tenant": self._tenant_id, "ids": list(document_ids), "message": message}
        await self._connection.execute(_START, values)

    async def cancel(self, document_ids: Sequence[DocumentId]) -> None:
        """Set documents cancelled, with no chunks (knowledge.md 2.7)."""
        await self._connection.execute(_CANCEL, {"tenant": self._tenant_id, "ids": list(document_ids)})

    async def report(self, document_id: DocumentId, *, progress: float, line: str, is_restart: bool = False) -> None:
        """Add a line to the log of a running document; progress never goes back. `is_restart` drops the old lines."""
        values = {
            "tenant": self._tenant_id,
            "id": document_id,
            "progress": progress,
            "line": line,
            "restart": is_restart,
        }
        await self._connection.execute(_PROGRESS, values)

    async def end(
        self,
        document_id: DocumentId,
        *,
        run: RunState,
        progress: float,
        line: str,
        chunks: int = 0,
        tokens: int = 0,
        thumbnail: str = "",
    ) -> DatasetId | None:
        """End a running document; its dataset, or None when it was not running: nothing was written.

        `chunks` and `tokens` come on top of what was added through the API while it ran; an empty `thumbnail` leaves
        the one it has.
        """
        values = {
            "tenant": self._tenant_id,
            "id": document_id,
            "run": run.value,
            "progress": progress,
            "line": line,
            "chunks": chunks,
            "tokens": tokens,
            "thumbnail": thumbnail,
        }
        dataset_id = (await self._connection.execute(_END, values)).scalar_one_or_none()
        return DatasetId(dataset_id) if dataset_id is not None else None


def _document(row: Row[Any]) -> Document:
    return Document(
        id=DocumentId(row.id),
        dataset_id=DatasetId(row.dataset_id),
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        location=row.location,
        blob_key=row.blob_key,
        type=row.type,
        suffix=row.suffix,
        size_bytes=row.size_bytes,
        source_type=row.source_type,
        thumbnail=row.thumbnail,
        chunk_method=row.chunk_method,
        parser_config=row.parser_config,
        meta_fields=row.meta_fields,
        is_enabled=row.is_enabled,
        run=RunState(row.run),
        progress=row.progress,
        progress_msg=row.progress_msg,
        process_begin_at=row.process_begin_at,
        process_duration_s=row.process_duration_s,
        chunk_count=row.chunk_count,
        token_count=row.token_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
