"""The folder tree of one tenant (knowledge.md 6): stored files, and beside them what datasets and documents show."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.files import KNOWLEDGE, KNOWLEDGE_NAME, ROOT_NAME, File, FileId, FileListing, knowledge_id, root_id
from app.domain.ids import TenantId
from repositories.names import free_name

_TREE = f"""(
    SELECT CAST(:root AS text) AS id, CAST(:root AS text) AS parent_id, '{ROOT_NAME}' AS name, 'folder' AS type,
        0::bigint AS size_bytes, NULL AS blob_key, '' AS source_type, created_at, created_at AS updated_at
    FROM tenants WHERE tenant_id = :tenant
    UNION ALL
    SELECT CAST(:knowledge AS text), CAST(:root AS text), '{KNOWLEDGE_NAME}', 'folder', 0, NULL, '{KNOWLEDGE}',
        created_at, created_at
    FROM tenants WHERE tenant_id = :tenant
    UNION ALL
    SELECT id, CAST(:knowledge AS text), name, 'folder', 0, NULL, '{KNOWLEDGE}', created_at, updated_at
    FROM datasets WHERE tenant_id = :tenant AND deleted_at IS NULL
    UNION ALL
    SELECT x.id, x.dataset_id, x.name, x.type, x.size_bytes, x.blob_key, '{KNOWLEDGE}', x.created_at, x.updated_at
    FROM documents x JOIN datasets d ON d.tenant_id = x.tenant_id AND d.id = x.dataset_id AND d.deleted_at IS NULL
    WHERE x.tenant_id = :tenant
    UNION ALL
    SELECT id, parent_id, name, type, size_bytes, blob_key, source_type, created_at, updated_at
    FROM files WHERE tenant_id = :tenant
)"""  # noqa: S608 (constants)

_GET = text(f"SELECT * FROM {_TREE} t WHERE t.id = ANY(CAST(:ids AS text[]))")  # noqa: S608 (constants)

_CHILDREN = f"""FROM {_TREE} t WHERE t.parent_id = :parent_id AND t.id <> t.parent_id
    AND (CAST(:keywords AS text) = '' OR strpos(lower(t.name), lower(:keywords)) > 0)"""

_COUNT = text(f"SELECT count(*) {_CHILDREN}")

ORDERINGS = {
    "create_time": "created_at",
    "create_date": "created_at",
    "update_time": "updated_at",
    "update_date": "updated_at",
    "name": "name",
    "size": "size_bytes",
    "type": "type",
    "source_type": "source_type",
}
"""What a list may be ordered by, as named on the wire."""

_PAGES = {
    (column, desc): text(f"""
        SELECT t.* {_CHILDREN}
        ORDER BY t.{column} {"DESC" if desc else "ASC"}, t.id {"DESC" if desc else "ASC"} LIMIT :most OFFSET :skip
    """)
    for column in set(ORDERINGS.values())
    for desc in (True, False)
}

# Folders that are stored hold only what is stored.
_HELD = text("""
    WITH RECURSIVE below(top, id, is_folder, is_child, size_bytes) AS (
        SELECT f.parent_id, f.id, f.type = 'folder', true, f.size_bytes FROM files f
        WHERE f.tenant_id = :tenant AND f.parent_id = ANY(CAST(:ids AS text[]))
        UNION ALL
        SELECT b.top, f.id, f.type = 'folder', false, f.size_bytes
        FROM below b JOIN files f ON f.tenant_id = :tenant AND f.parent_id = b.id WHERE b.is_folder
    )
    SELECT top, sum(size_bytes)::bigint AS size_bytes, bool_or(is_folder AND is_child) AS has_child_folder
    FROM below GROUP BY top
    UNION ALL
    SELECT x.dataset_id, sum(x.size_bytes)::bigint, false FROM documents x
    WHERE x.tenant_id = :tenant AND x.dataset_id = ANY(CAST(:ids AS text[])) GROUP BY x.dataset_id
    UNION ALL
    SELECT CAST(:knowledge AS text), COALESCE(sum(s.size_bytes), 0)::bigint, count(*) > 0
    FROM datasets d LEFT JOIN LATERAL (
        SELECT sum(x.size_bytes) AS size_bytes FROM documents x
        WHERE x.tenant_id = d.tenant_id AND x.dataset_id = d.id
    ) s ON true
    WHERE d.tenant_id = :tenant AND d.deleted_at IS NULL AND :knowledge = ANY(CAST(:ids AS text[]))
""")

_ANCESTORS = text("""
    WITH RECURSIVE up(id, parent_id, depth) AS (
        SELECT f.id, f.parent_id, 0 FROM files f WHERE f.tenant_id = :tenant AND f.id = :id
        UNION ALL
        SELECT f.id, f.parent_id, up.depth + 1 FROM up
        JOIN files f ON f.tenant_id = :tenant AND f.id = up.parent_id
    )
    SELECT id, parent_id FROM up ORDER BY depth
""")

_BELOW = text("""
    WITH RECURSIVE below(id) AS (
        SELECT f.id FROM files f WHERE f.tenant_id = :tenant AND f.id = ANY(CAST(:ids AS text[]))
        UNION
        SELECT f.id FROM below b JOIN files f ON f.tenant_id = :tenant AND f.parent_id = b.id
    )
    SELECT f.* FROM below b JOIN files f ON f.tenant_id = :tenant AND f.id = b.id ORDER BY f.created_at, f.id
""")

_LOCK_TREE = text("SELECT pg_advisory_xact_lock(hashtextextended('files ' || :tenant, 0))")

_FREE = free_name(
    "files",
    "t.parent_id = :parent_id AND t.id <> :but",
    also="NOT (CAST(:parent_id AS text) = :root AND lower(c.name) = :reserved)",
)

_NAMED = text("SELECT * FROM files WHERE tenant_id = :tenant AND parent_id = :parent_id AND lower(name) = lower(:name)")

_ADD = text("""
    INSERT INTO files (tenant_id, id, parent_id, name, type, size_bytes, blob_key)
    VALUES (:tenant, :id, :parent_id, :name, :type, :size_bytes, :blob_key) RETURNING *
""")

_PLACE = text("""
    UPDATE files SET parent_id = :parent_id, name = :name, updated_at = clock_timestamp()
    WHERE tenant_id = :tenant AND id = :id
""")

_DELETE = text("DELETE FROM files WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[])) RETURNING blob_key")


class FileRepository:
    """Files and folders of one tenant. Never commits; who changes the tree holds it (`lock`) from the start."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._own: dict[str, Any] = {
            "tenant": tenant_id,
            "root": root_id(tenant_id),
            "knowledge": knowledge_id(tenant_id),
        }

    async def lock(self) -> None:
        """Keep others from changing the tree until this unit ends; taken before any row."""
        await self._connection.execute(_LOCK_TREE, {"tenant": self._tenant_id})

    async def get(self, file_id: str) -> File | None:
        """Return the file or folder, told ones included."""
        return (await self.many([file_id])).get(file_id)

    async def many(self, file_ids: Sequence[str]) -> dict[str, File]:
        """Return those that exist, by id."""
        rows = await self._connection.execute(_GET, {**self._own, "ids": list(file_ids)})
        return {row.id: self._file(row) for row in rows}

    async def count(self, folder_id: FileId, keywords: str) -> int:
        """Return how many files and folders of the folder have `keywords` in their names."""
        values = {**self._own, "parent_id": folder_id, "keywords": keywords}
        return int((await self._connection.execute(_COUNT, values)).scalar_one())

    async def page(self, folder_id: FileId, asked: FileListing) -> list[File]:
        """Return a page of what the folder holds."""
        values = {
            **self._own,
            "parent_id": folder_id,
            "keywords": asked.keywords,
            "most": asked.most,
            "skip": asked.skip,
        }
        statement = _PAGES[ORDERINGS[asked.order_by], asked.is_descending]
        return [self._file(row) for row in await self._connection.execute(statement, values)]

    async def held(self, folder_ids: Sequence[FileId]) -> Mapping[str, tuple[int, bool]]:
        """Return the size of all that each folder holds at any depth, and whether a folder is among its own files."""
        if not folder_ids:
            return {}
        rows = await self._connection.execute(_HELD, {**self._own, "ids": list(folder_ids)})
        return {row.top: (row.size_bytes, row.has_child_folder) for row in rows}

    async def ancestors(self, file: File) -> list[File]:
        """Return the file itself and its folders, the root last."""
        rows = (await self._connection.execute(_ANCESTORS, {"tenant": self._tenant_id, "id": file.id})).all()
        root, knowledge = self._own["root"], self._own["knowledge"]
        if rows:
            ids = [*(row.id for row in rows), root]
        else:
            ids = list(dict.fromkeys([file.id, file.parent_id, *([knowledge] if file.is_of_dataset else ()), root]))
        found = await self.many(ids)
        return [found[each] for each in ids if each in found]

    async def below(self, file_ids: Sequence[FileId]) -> list[File]:
        """Return these stored files and folders and all that is in them at any depth, each once, the oldest first."""
        rows = await self._connection.execute(_BELOW, {"tenant": self._tenant_id, "ids": list(file_ids)})
        return [self._file(row) for row in rows]

    async def named(self, folder_id: FileId, name: str) -> File | None:
        """Return what the folder holds under this name, ignoring case; told ones not included."""
        values = {"tenant": self._tenant_id, "parent_id": folder_id, "name": name}
        row = (await self._connection.execute(_NAMED, values)).one_or_none()
        return self._file(row) if row is not None else None

    async def is_taken(self, folder_id: FileId, name: str, *, but: FileId) -> bool:
        """Tell whether the folder has something else than `but` of this name, ignoring case; told ones included."""
        return await self._free(folder_id, [name], but=but) is None

    async def add(self, file: File, names: Sequence[str]) -> File | None:
        """Insert `file` under the first of `names` that is free in its folder; None when all are taken."""
        name = await self._free(file.parent_id, names)
        if name is None:
            return None
        values = {
            "tenant": self._tenant_id,
            "id": file.id,
            "parent_id": file.parent_id,
            "name": name,
            "type": file.type,
            "size_bytes": file.size_bytes,
            "blob_key": file.blob_key,
        }
        return self._file((await self._connection.execute(_ADD, values)).one())

    async def place(self, file_id: FileId, *, folder_id: FileId, name: str) -> None:
        """Put a stored file or folder into a folder under a name that is free there."""
        values = {"tenant": self._tenant_id, "id": file_id, "parent_id": folder_id, "name": name}
        await self._connection.execute(_PLACE, values)

    async def delete(self, file_ids: Sequence[FileId]) -> list[str]:
        """Delete stored files and folders; the keys of their blobs."""
        values = {"tenant": self._tenant_id, "ids": list(file_ids)}
        return [row.blob_key for row in await self._connection.execute(_DELETE, values) if row.blob_key is not None]

    async def _free(self, folder_id: FileId, names: Sequence[str], *, but: str = "") -> str | None:
        values = {
            "tenant": self._tenant_id,
            "parent_id": folder_id,
            "names": list(names),
            "root": self._own["root"],
            "reserved": KNOWLEDGE_NAME,
            "but": but,
        }
        name: str | None = (await self._connection.execute(_FREE, values)).scalar_one_or_none()
        return name

    def _file(self, row: Row[Any]) -> File:
        return File(
            id=FileId(row.id),
            parent_id=FileId(row.parent_id),
            tenant_id=self._tenant_id,
            name=row.name,
            type=row.type,
            size_bytes=row.size_bytes,
            blob_key=row.blob_key,
            source_type=row.source_type,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
