"""Datasets of one tenant, with their counters."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.datasets import Dataset, DatasetNameTaken
from app.domain.ids import DatasetId, TenantId
from repositories.names import free_name
from repositories.statements import Driver, Statement

_COLUMNS = """id, tenant_id, name, avatar, description, language, embedding_model, permission, chunk_method,
    parser_config, pagerank, document_count, chunk_count, token_count, created_at, updated_at"""

_FREE_NAME = free_name("datasets", "true")

_ADD = text(f"""
    INSERT INTO datasets (tenant_id, id, name, avatar, description, language, embedding_model, permission, chunk_method,
        parser_config)
    VALUES (:tenant, :id, :name, :avatar, :description, :language, :embedding_model, :permission, :chunk_method,
        CAST(:parser_config AS jsonb))
    ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
""")  # noqa: S608 (a constant)

_GET = text(f"""
    SELECT {_COLUMNS} FROM datasets WHERE tenant_id = :tenant AND id = :id AND (deleted_at IS NOT NULL) = :is_deleted
""")  # noqa: S608 (a constant)

_LOCK = text(f"""
    SELECT {_COLUMNS} FROM datasets WHERE tenant_id = :tenant AND id = :id AND deleted_at IS NULL FOR NO KEY UPDATE
""")  # noqa: S608 (a constant)

_MANY = Statement(f"""
    SELECT {_COLUMNS} FROM datasets WHERE tenant_id = :tenant AND id = ANY(CAST(:ids AS text[]))
      AND deleted_at IS NULL
""")  # noqa: S608 (a constant)

_IS_NAME_TAKEN = text("""
    SELECT EXISTS (SELECT FROM datasets WHERE tenant_id = :tenant AND lower(name) = lower(:name) AND id <> :but)
""")

_WHERE = """tenant_id = :tenant AND deleted_at IS NULL AND (CAST(:id AS text) IS NULL OR id = :id)
    AND (CAST(:name AS text) IS NULL OR lower(name) = lower(:name))"""

_COUNT = text(f"SELECT count(*) FROM datasets WHERE {_WHERE}")  # noqa: S608 (a constant)

_PAGES = {
    (column, desc): text(f"""
        SELECT {_COLUMNS} FROM datasets WHERE {_WHERE}
        ORDER BY {column} {"DESC" if desc else "ASC"}, id {"DESC" if desc else "ASC"} LIMIT :most OFFSET :skip
    """)  # noqa: S608 (constants)
    for column in ("created_at", "updated_at")
    for desc in (True, False)
}

_SETTABLE = ("name", "avatar", "description", "embedding_model", "permission", "chunk_method", "pagerank")

# Always after the rows of its documents, so that two transactions never wait for each other.
_ADD_COUNTS = text("""
    UPDATE datasets SET document_count = document_count + :documents, chunk_count = chunk_count + :chunks,
        token_count = token_count + :tokens, updated_at = clock_timestamp()
    WHERE tenant_id = :tenant AND id = :id AND deleted_at IS NULL RETURNING id
""")

_LAY_OVER_CONFIG = text("""
    UPDATE datasets SET parser_config = parser_config || CAST(:keys AS jsonb), updated_at = clock_timestamp()
    WHERE tenant_id = :tenant AND id = :id AND deleted_at IS NULL RETURNING parser_config
""")

_ADD_FIELDS = text("""
    UPDATE datasets SET parser_config = jsonb_set(
        parser_config, '{field_map}',
        CASE WHEN jsonb_typeof(parser_config->'field_map') = 'object' THEN parser_config->'field_map' ELSE '{}' END
            || CAST(:fields AS jsonb))
    WHERE tenant_id = :tenant AND id = :id
""")

_SIZE = text("""
    SELECT COALESCE(sum(size_bytes), 0) AS size_bytes FROM documents WHERE tenant_id = :tenant AND dataset_id = :id
""")

_ALL_IDS = text("SELECT id FROM datasets WHERE tenant_id = :tenant AND deleted_at IS NULL")


class DatasetRepository:
    """Datasets of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, driver: Driver, tenant_id: TenantId) -> None:
        self._connection = connection
        self._driver = driver
        self._tenant_id = tenant_id

    async def add(self, dataset: Dataset, names: Sequence[str]) -> Dataset | None:
        """Insert `dataset` under the first of `names` that is free, ignoring case; None when all are taken."""
        values = {
            "tenant": self._tenant_id,
            "id": dataset.id,
            "avatar": dataset.avatar,
            "description": dataset.description,
            "language": dataset.language,
            "embedding_model": dataset.embedding_model,
            "permission": dataset.permission,
            "chunk_method": dataset.chunk_method,
            "parser_config": orjson.dumps(dataset.parser_config).decode(),
        }
        while True:
            free = await self._connection.execute(_FREE_NAME, {"tenant": self._tenant_id, "names": list(names)})
            name = free.scalar_one_or_none()
            if name is None:
                return None
            row = (await self._connection.execute(_ADD, {**values, "name": name})).one_or_none()
            if row is not None:  # else another call took the name in between
                return _dataset(row)

    async def get(self, dataset_id: DatasetId) -> Dataset | None:
        """Return the dataset."""
        return await self._get(dataset_id, is_deleted=False)

    async def lock(self, dataset_id: DatasetId) -> Dataset | None:
        """Return the dataset, kept from others until this unit ends: nobody's chunks come into it meanwhile."""
        row = (await self._connection.execute(_LOCK, {"tenant": self._tenant_id, "id": dataset_id})).one_or_none()
        return _dataset(row) if row is not None else None

    async def get_deleted(self, dataset_id: DatasetId) -> Dataset | None:
        """Return a dataset that was deleted and is being taken apart."""
        return await self._get(dataset_id, is_deleted=True)

    async def _get(self, dataset_id: DatasetId, *, is_deleted: bool) -> Dataset | None:
        values = {"tenant": self._tenant_id, "id": dataset_id, "is_deleted": is_deleted}
        row = (await self._connection.execute(_GET, values)).one_or_none()
        return _dataset(row) if row is not None else None

    async def many(self, dataset_ids: Sequence[DatasetId]) -> dict[DatasetId, Dataset]:
        """Return those of `dataset_ids` that exist."""
        rows = await self._driver.all(_MANY, {"tenant": self._tenant_id, "ids": list(dataset_ids)})
        return {DatasetId(row["id"]): Dataset(**row) for row in rows}

    async def is_name_taken(self, name: str, *, but: DatasetId) -> bool:
        """Tell whether another dataset than `but` has this name, ignoring case."""
        values = {"tenant": self._tenant_id, "name": name, "but": but}
        return bool((await self._connection.execute(_IS_NAME_TAKEN, values)).scalar_one())

    async def count(self, *, dataset_id: DatasetId | None = None, name: str | None = None) -> int:
        """Return how many datasets match."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "name": name}
        return int((await self._connection.execute(_COUNT, values)).scalar_one())

    async def page(
        self,
        *,
        dataset_id: DatasetId | None = None,
        name: str | None = None,
        order_by: str = "created_at",
        desc: bool = True,
        most: int,
        skip: int,
    ) -> list[Dataset]:
        """Return a page of the datasets that match; `order_by` is `created_at` or `updated_at`."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "name": name, "most": most, "skip": skip}
        return [_dataset(row) for row in await self._connection.execute(_PAGES[order_by, desc], values)]

    async def update(self, dataset_id: DatasetId, changes: Mapping[str, Any]) -> Dataset | None:
        """Set the named columns; the dataset as it is then.

        Raises:
            DatasetNameTaken: another one got the name meanwhile.
        """
        values = {
            "tenant": self._tenant_id,
            "id": dataset_id,
            **{key: changes[key] for key in _SETTABLE if key in changes},
        }
        parts = [f"{key} = :{key}" for key in _SETTABLE if key in changes]
        if "parser_config" in changes:
            parts.append("parser_config = CAST(:parser_config AS jsonb)")
            values["parser_config"] = orjson.dumps(changes["parser_config"]).decode()
        parts.append("updated_at = clock_timestamp()")
        statement = (
            f"UPDATE datasets SET {', '.join(parts)} WHERE tenant_id = :tenant AND id = :id AND deleted_at IS NULL "  # noqa: S608 (names come from _SETTABLE)
            f"RETURNING {_COLUMNS}"
        )
        try:
            row = (await self._connection.execute(text(statement), values)).one_or_none()
        except IntegrityError as error:
            if "uq_datasets_name" in str(error.orig):
                raise DatasetNameTaken(f"Dataset name '{changes.get('name')}' already exists", param="name") from error
            raise
        return _dataset(row) if row is not None else None

    async def add_counts(self, dataset_id: DatasetId, *, documents: int = 0, chunks: int = 0, tokens: int = 0) -> bool:
        """Change the counters by these amounts; false when there is no such dataset."""
        values = {
            "tenant": self._tenant_id,
            "id": dataset_id,
            "documents": documents,
            "chunks": chunks,
            "tokens": tokens,
        }
        return (await self._connection.execute(_ADD_COUNTS, values)).first() is not None

    async def add_fields(self, dataset_id: DatasetId, fields: Mapping[str, str]) -> None:
        """Lay `fields` over `parser_config.field_map`: the columns of parsed tables by code (knowledge.md 5.7)."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "fields": orjson.dumps(dict(fields)).decode()}
        await self._connection.execute(_ADD_FIELDS, values)

    async def lay_over_config(self, dataset_id: DatasetId, keys: Mapping[str, Any]) -> dict[str, Any] | None:
        """Replace these keys of the parser config and no others; the whole of it then, None without the dataset."""
        values = {"tenant": self._tenant_id, "id": dataset_id, "keys": orjson.dumps(dict(keys)).decode()}
        row = (await self._connection.execute(_LAY_OVER_CONFIG, values)).one_or_none()
        return dict(row.parser_config) if row is not None else None

    async def all_ids(self) -> list[DatasetId]:
        """Return the ids of all datasets."""
        return [DatasetId(row.id) for row in await self._connection.execute(_ALL_IDS, {"tenant": self._tenant_id})]

    async def size_bytes(self, dataset_id: DatasetId) -> int:
        """Return how large the dataset's files are together."""
        values = {"tenant": self._tenant_id, "id": dataset_id}
        return int((await self._connection.execute(_SIZE, values)).scalar_one())


def _dataset(row: Row[Any]) -> Dataset:
    return Dataset(
        id=DatasetId(row.id),
        tenant_id=TenantId(row.tenant_id),
        name=row.name,
        avatar=row.avatar,
        description=row.description,
        language=row.language,
        embedding_model=row.embedding_model,
        permission=row.permission,
        chunk_method=row.chunk_method,
        parser_config=row.parser_config,
        pagerank=row.pagerank,
        document_count=row.document_count,
        chunk_count=row.chunk_count,
        token_count=row.token_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
