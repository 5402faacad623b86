"""How fast and how right searches stay at a million chunks over 200 tenants; see docs/scale.md.

    python -m bench.scale load FOLDER      # makes the rows, once; some GB and a while
    python -m bench.scale index FOLDER     # builds the vector index again, if it is not there
    python -m bench.scale measure FOLDER   # asks; on a quiet machine

Texts are Debian's documentation (the chunks of `bench/retrieval`), two at a time put together; the vector of a pair is
that of its halves with some noise, so that vectors lie in clusters as real ones do. Questions are real ones with real
vectors, made beforehand: the time of the embedding model is not in any figure but its own.
"""

import argparse
import asyncio
import math
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from rich.console import Console

from app.db.vectors import VECTOR_BUCKETS, index_name, index_statements
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.retrieval.text_index import tsvector
from bench import retrieval, retrieval_corpus, scale_measure, shelf
from bench.figures import Report
from bench.machine import Cores

NAME = scale_measure.NAME
_NOISE = 0.35  # length of what is added to a vector of length 1
_CHUNKS_A_DOCUMENT = 100
_VECTOR_INDEXES = tuple(index_name(384, bucket) for bucket in range(VECTOR_BUCKETS))
_INDEXES = ("ix_chunks_lexemes", *_VECTOR_INDEXES)  # built after the rows: minutes instead of an hour

_PIECES = """
    CREATE TABLE bench_pieces (n int PRIMARY KEY, content text, lexemes tsvector, embedding vector, tokens int);
    CREATE TABLE bench_noise (n int PRIMARY KEY, embedding vector)
"""

_FILL = """
    INSERT INTO chunks (tenant_id, document_id, id, dataset_id, ordinal, content, lexemes, embedding, dimensions,
        token_count)
    SELECT $1, $1 || '-' || (i.i / $3), substr(md5($1 || i.i), 1, 16), $1, i.i % $3, a.content || E'\\n' || b.content,
        a.lexemes || b.lexemes, l2_normalize(a.embedding + b.embedding + z.embedding), 384, a.tokens + b.tokens
    FROM (SELECT i, ($4::int[])[1 + (hashint4(i) & 2147483647) % $5] AS a,
            ($4::int[])[1 + (hashint4(i + 77777777) & 2147483647) % $5] AS b, (hashint4(-i) & 2147483647) % 4096 AS z
        FROM generate_series($2::int, $6::int) i) i
    JOIN bench_pieces a ON a.n = i.a JOIN bench_pieces b ON b.n = i.b JOIN bench_noise z ON z.n = i.z
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much there is. The largest tenant has half of all chunks, the smallest `least`."""

    chunks: int = 1_000_000
    tenants: int = 200
    least: int = 50

    def sizes(self) -> dict[TenantId, int]:
        """Return the chunks of each tenant, the largest first: one half, then as Zipf has it, then the least."""
        others = self.tenants - 2
        left = self.chunks - self.chunks // 2 - self.least
        whole = sum(1 / rank for rank in range(1, others + 1))
        sizes = [self.chunks // 2, *(max(1, int(left / rank / whole)) for rank in range(1, others + 1)), self.least]
        return {TenantId(f"tenant{number:03}"): size for number, size in enumerate(sizes)}


FULL = Plan()
SHORT = Plan(chunks=100_000, tenants=40)
TINY = Plan(chunks=2_000, tenants=6, least=5)


async def load(urls: shelf.Shelf, plan: Plan, cache: Path) -> None:
    """Make all rows and their indexes."""
    connection = await shelf.superuser(urls)
    pieces = await _add_pieces(connection, cache)
    await connection.execute("ALTER TABLE chunks SET (autovacuum_enabled = off); SET synchronous_commit = off")
    definitions = [await _dropped(connection, name) for name in _INDEXES]
    for tenant, size in plan.sizes().items():
        await _add_tenant(connection, tenant, size, pieces)
        print(f"{tenant}: {size} chunks", flush=True)
    await connection.execute("SET maintenance_work_mem = '3GB'; SET max_parallel_maintenance_workers = 2")
    for definition in definitions:
        await connection.execute(definition)
    await connection.execute("ALTER TABLE chunks RESET (autovacuum_enabled)")
    await shelf.count(connection)
    await connection.execute("CHECKPOINT")
    await connection.close()


async def index(urls: shelf.Shelf) -> None:
    """Build the vector index as the migration has it, if it is not there."""
    connection = await shelf.superuser(urls)
    await connection.execute("SET maintenance_work_mem = '3GB'; SET max_parallel_maintenance_workers = 2")
    for statement in index_statements(384):
        await connection.execute(statement.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1))
    await connection.close()


async def _add_pieces(connection: Any, cache: Path) -> int:
    corpus = retrieval_corpus.build(retrieval_corpus.fetch(cache))
    chunks = [one for one in retrieval.cut(corpus) if one.tokens >= 8]
    model = retrieval.KeptVectors(cache)
    model.load([one.content for one in chunks])
    await connection.execute(_PIECES)
    rows = [
        (n, one.content, tsvector(one.content, ""), _literal(model.vector(one.content)), one.tokens)
        for n, one in enumerate(chunks)
    ]
    await shelf.copy(connection, "bench_pieces", ("n", "content", "lexemes", "embedding", "tokens"), rows)
    noise = numpy.random.default_rng(1).normal(size=(4096, 384))
    noise *= 2 * _NOISE / numpy.linalg.norm(noise, axis=1, keepdims=True)
    await shelf.copy(connection, "bench_noise", ("n", "embedding"), [(n, _literal(one)) for n, one in enumerate(noise)])
    return len(rows)


async def _add_tenant(connection: Any, tenant: TenantId, size: int, pieces: int) -> None:
    """Add one tenant with one dataset, of texts out of a part of the pieces: the smaller, the fewer subjects."""
    drawn = random.Random(tenant)  # noqa: S311  the same rows each time
    topics = drawn.sample(range(pieces), min(pieces, max(20, size // 20)))
    documents = [(DocumentId(f"{tenant}-{n}"), f"file {n}") for n in range(math.ceil(size / _CHUNKS_A_DOCUMENT) + 1)]
    await shelf.add_dataset(connection, tenant, DatasetId(tenant), model=retrieval.MODEL, documents=documents)
    for start in range(0, size, 20_000):
        last = min(size, start + 20_000) - 1
        await connection.execute(_FILL, tenant, start, _CHUNKS_A_DOCUMENT, topics, len(topics), last)


async def _dropped(connection: Any, index: str) -> str:
    definition = await connection.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = $1", index)
    await connection.execute(f"DROP INDEX {index}")
    return str(definition)


def _literal(vector: Any) -> str:
    return "[" + ",".join(f"{value:.6g}" for value in vector) + "]"


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Load where that was not done yet, and measure. The rows are kept: the folder's name tells how many."""
    del cores  # one process asks, one connection at a time
    parent = Path(data_parent or tempfile.gettempdir())
    cache, folder = parent / "parley-bench-retrieval", parent / f"parley-bench-scale-{plan.chunks}"
    for each in (cache, folder):
        each.mkdir(mode=0o711, parents=True, exist_ok=True)
    with shelf.shelf(folder / "data") as urls:
        if not (folder / "loaded").exists():
            asyncio.run(load(urls, plan, cache))
            (folder / "loaded").touch()
        return asyncio.run(scale_measure.measure(urls, plan.sizes(), cache, folder / "data"))


def main() -> None:
    """Load or measure, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("what", choices=["load", "index", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--short", action="store_true", help="100,000 chunks over 40 tenants")
    parser.add_argument("--tiny", action="store_true", help="2,000 chunks over 6: shows that it works")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "parley-bench-retrieval")
    chosen = parser.parse_args()
    plan = TINY if chosen.tiny else SHORT if chosen.short else FULL
    chosen.cache.mkdir(mode=0o711, parents=True, exist_ok=True)
    with shelf.shelf(chosen.folder) as urls:
        if chosen.what == "load":
            asyncio.run(load(urls, plan, chosen.cache))
            return
        if chosen.what == "index":
            asyncio.run(index(urls))
            return
        report = asyncio.run(scale_measure.measure(urls, plan.sizes(), chosen.cache, chosen.folder))
    report.show(Console())
    print(f"written to {report.write()}")


if __name__ == "__main__":
    main()
