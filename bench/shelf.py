"""A database of the service's own schema, filled by COPY: the ground of the benches that search and ask nobody else.

Searches run as the app role behind row-level security, as in the service. Only the filling goes around it.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg

from app.db.embedded import run_embedded
from app.db.roles import APP_ROLE, OWNER_ROLE, create_database, create_roles
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from migrations.run import upgrade

NAME = "parley"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_AT_ONCE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A migrated database, as each role reaches it."""

    app_url: str
    owner_url: str
    superuser_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfChunk:
    """A chunk to put in. `lexemes` is text for a tsvector."""

    tenant_id: TenantId
    dataset_id: DatasetId
    document_id: DocumentId
    id: ChunkId
    ordinal: int
    content: str
    lexemes: str
    embedding: Sequence[float]
    token_count: int


@contextmanager
def shelf(folder: Path) -> Generator[Shelf, None, None]:
    """Run the embedded PostgreSQL on `folder`, with roles and schema; what is in the folder stays."""
    with run_embedded(folder) as postgres:
        urls = Shelf(
            app_url=postgres.url(user=APP_ROLE, database=NAME),
            owner_url=postgres.url(user=OWNER_ROLE, database=NAME),
            superuser_url=postgres.url(user=postgres.superuser, database=NAME),
        )
        asyncio.run(_prepare(postgres.url(user=postgres.superuser, database="postgres"), urls))
        yield urls


async def _prepare(admin_url: str, urls: Shelf) -> None:
    await create_roles(admin_url)
    await create_database(admin_url, NAME)
    await upgrade(urls.owner_url, APP_ROLE)


def warm(folder: Path) -> None:
    """Read the files of the database once, so that the system has them in memory as it has after some hours of work."""
    for path in (folder / "cluster" / "base").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 22):
                    pass


async def superuser(urls: Shelf) -> "asyncpg.Connection[asyncpg.Record]":
    """Return a connection that no wall stops."""
    return await asyncpg.connect(urls.superuser_url.replace("+asyncpg", ""))


async def add_dataset(
    connection: "asyncpg.Connection[asyncpg.Record]",
    tenant_id: TenantId,
    dataset_id: DatasetId,
    *,
    model: str,
    documents: Sequence[tuple[DocumentId, str]],
) -> None:
    """Add a tenant, if it is new, with a dataset and its documents (id and name)."""
    await connection.execute("INSERT INTO tenants (tenant_id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", tenant_id)
    await connection.execute(
        "INSERT INTO datasets (tenant_id, id, name, embedding_model, parser_config) VALUES ($1, $2, $2, $3, '{}')",
        tenant_id,
        dataset_id,
        model,
    )
    await copy(
        connection,
        "documents",
        ("tenant_id", "id", "dataset_id", "name", "location", "blob_key", "type", "suffix", "size_bytes",
         "chunk_method", "parser_config", "run"),
        ((tenant_id, document_id, dataset_id, name, name, document_id, "doc", "html", 1, "naive", "{}", "DONE")
         for document_id, name in documents),
    )  # fmt: skip


async def add_chunks(connection: "asyncpg.Connection[asyncpg.Record]", chunks: Iterable[ShelfChunk]) -> int:
    """Copy chunks in; how many that were. Counters are left to `count`."""
    return await copy(
        connection,
        "chunks",
        ("tenant_id", "document_id", "id", "dataset_id", "ordinal", "content", "lexemes", "embedding", "dimensions",
         "token_count"),
        ((one.tenant_id, one.document_id, one.id, one.dataset_id, one.ordinal, one.content, one.lexemes,
          "[" + ",".join(f"{value:.6g}" for value in one.embedding) + "]", len(one.embedding), one.token_count)
         for one in chunks),
    )  # fmt: skip


async def count(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Bring the counters of datasets up to what is there, and the planner's figures too."""
    await connection.execute(
        "UPDATE datasets d SET chunk_count = c.chunks, token_count = c.tokens FROM (SELECT tenant_id, dataset_id, "
        "count(*) AS chunks, sum(token_count) AS tokens FROM chunks GROUP BY 1, 2) c "
        "WHERE c.tenant_id = d.tenant_id AND c.dataset_id = d.id"
    )
    await connection.execute("VACUUM (ANALYZE) chunks")
    await connection.execute("ANALYZE")


async def copy(
    connection: "asyncpg.Connection[asyncpg.Record]", table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> int:
    """Copy rows into a table, values as their text; how many that were."""
    done = 0
    for part in _parts(rows):
        text = "".join("\t".join(str(value).translate(_ESCAPES) for value in row) + "\n" for row in part)

        await connection.copy_to_table(table, source=BytesIO(text.encode()), columns=list(columns), format="text")
        done += len(part)
    return done


def _parts(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    part: list[Sequence[Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part
