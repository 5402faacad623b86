"""The figures of `bench/scale`: time, ratio to bare statements, recall, sizes, and what inserting does to it."""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.db.engine import create_engine
from app.domain.datasets import NewChunk
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId, new_id
from app.domain.retrieval import SearchRequest
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.retrieval.common_words import CommonWords
from app.retrieval.query import query_terms
from app.retrieval.search import SearchConfig
from app.retrieval.service import Retriever
from app.retrieval.text_index import tsvector
from bench import retrieval, retrieval_corpus, shelf
from bench.figures import Goal, Report, quantile
from bench.machine import machine
from repositories.chunk_search import SearchScope, any_of
from repositories.unit_of_work import Database

NAME = "scale"
_QUESTIONS = 100
_WARM = 20
_PLACES = (0, 1, 2, 3, 5, 8, 15, 40, 120, -2, -1)  # which tenants are asked, by size
_INSERT_S = 15.0
_SIZES = """
    SELECT relname, pg_relation_size(c.oid) AS bytes FROM pg_class c
    WHERE relname IN ('chunks', 'ix_chunks_lexemes', 'ix_chunks_dataset', 'pk_chunks')
    UNION ALL SELECT 'vector indexes', sum(pg_relation_size(oid))::bigint FROM pg_class
    WHERE relkind = 'i' AND relname LIKE 'ix_chunks_embedding_384_%'
    UNION ALL SELECT 'chunks, long values', pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'chunks'
"""
_BARE_NEAR = """
    SELECT document_id, id FROM chunks WHERE tenant_id = $1 AND dataset_id = $1 AND is_available AND dimensions = 384
        AND (hashtext(dataset_id) & 7) = (hashtext($1) & 7)
    ORDER BY embedding::halfvec(384) <=> $2::text::halfvec(384) LIMIT $3
"""
_BARE_NEAR_EXACT = """
    SELECT document_id, id FROM chunks WHERE tenant_id = $1 AND dataset_id = $1 AND is_available AND dimensions = 384
    ORDER BY embedding <=> $2::text::vector LIMIT $3
"""
_BARE_TEXT = """
    SELECT document_id, id FROM chunks WHERE tenant_id = $1 AND dataset_id = $1 AND is_available
        AND lexemes @@ $2::text::tsquery
    ORDER BY ts_rank(lexemes, $2::text::tsquery) DESC LIMIT $3
"""


async def measure(urls: shelf.Shelf, sizes: Mapping[TenantId, int], cache: Path, folder: Path) -> Report:
    """Ask tenants of every size, and the bare statements the same in turn; `folder` is the database's."""
    questions = await asyncio.to_thread(_questions, cache)
    model = retrieval.KeptVectors(cache)
    embed_s = model.load(questions)
    report = Report(name=NAME, machine=machine(), settings={"chunks": sum(sizes.values()), "tenants": len(sizes)})
    database = Database(create_engine(urls.app_url, pool_size=4))
    connection = await shelf.superuser(urls)
    if not await connection.fetchval("SELECT to_regclass('ix_chunks_embedding_384_7') IS NOT NULL"):
        raise RuntimeError("the vector index is not there: `python -m bench.scale index FOLDER` builds it")
    retriever = Retriever(database, retrieval.catalogue(model))
    try:
        tenants = list(sizes)
        asked = [tenants[at] for at in dict.fromkeys(at % len(tenants) for at in _PLACES if at < len(tenants))]
        everything: list[float] = []
        all_bare: list[float] = []
        for tenant in sorted(asked, key=lambda one: -sizes[one]):
            await asyncio.to_thread(shelf.warm, folder)
            ours, theirs = await _of_tenant(
                report, tenant, sizes[tenant], questions, model, database, connection, retriever
            )
            everything += ours
            all_bare += theirs
        report.add("search, all sizes, p50", quantile(everything, 0.5), "ms", samples=len(everything))
        report.add("search, all sizes, p95", quantile(everything, 0.95), "ms", samples=len(everything))
        over = quantile(everything, 0.95) / quantile(all_bare, 0.95)
        report.add("search over bare, all sizes, p95", over, "×", is_ratio=True)
        report.goals.append(Goal(figure="search, all sizes, p95", at_most=60, source="design.md 7"))
        report.goals.append(Goal(figure="search over bare, all sizes, p95", at_most=1.5, source="issue 3"))
        await asyncio.to_thread(shelf.warm, folder)
        await _while_inserting(report, urls, tenants[0], questions, retriever, database, model)
        for row in await connection.fetch(_SIZES):
            report.add(f"size of {row['relname']}", row["bytes"] / 2**20, "MiB")
    finally:
        await connection.close()
        await database.close()
    report.notes.append(f"the embedding model is in no figure but its own; new questions took it {embed_s:.1f} s here")
    return report


def _questions(cache: Path) -> list[str]:
    corpus = retrieval_corpus.build(retrieval_corpus.fetch(cache))
    found = [page.question for page in corpus.pages if page.question]
    return random.Random(3).sample(found, _QUESTIONS + _WARM)  # noqa: S311  the same ones each time


async def _of_tenant(
    report: Report,
    tenant: TenantId,
    size: int,
    questions: Sequence[str],
    model: retrieval.KeptVectors,
    database: Database,
    connection: Any,
    retriever: Retriever,
) -> tuple[list[float], list[float]]:
    """Return what the searches of this tenant took, and what the bare statements took, in ms."""

    async def search(question: str) -> None:
        await retriever.search(tenant, SearchRequest(question=question, dataset_ids=(DatasetId(tenant),)))

    bare = _Bare(connection, tenant, size, model)
    await bare.prepare(database, questions)
    for question in questions[:_WARM]:
        await search(question)
        await bare(question)
    ours: list[float] = []
    theirs: list[float] = []
    for question in questions[_WARM:]:
        ours.append(await _timed(search, question))
        theirs.append(await _timed(bare, question))
    label = f"{size:,} chunks"
    print(f"{label}: asked in {sum(ours) / 1000:.1f} s, bare {sum(theirs) / 1000:.1f} s; now exactly", file=sys.stderr)
    recall = await _recall(tenant, size, questions[_WARM:], model, database)
    report.add(f"{label}: search, p50", quantile(ours, 0.5), "ms", samples=len(ours))
    report.add(f"{label}: search, p95", quantile(ours, 0.95), "ms", samples=len(ours))
    report.add(f"{label}: bare statements, p50", quantile(theirs, 0.5), "ms", samples=len(theirs))
    report.add(f"{label}: bare statements, p95", quantile(theirs, 0.95), "ms", samples=len(theirs))
    report.add(f"{label}: search over bare, p50", quantile(ours, 0.5) / quantile(theirs, 0.5), "×", is_ratio=True)
    report.add(f"{label}: search over bare, p95", quantile(ours, 0.95) / quantile(theirs, 0.95), "×", is_ratio=True)
    report.add(f"{label}: recall@10", recall, "", samples=len(questions) - _WARM, is_ratio=True)
    report.goals.append(Goal(figure=f"{label}: search, p95", at_most=60, source="design.md 7"))
    report.goals.append(Goal(figure=f"{label}: search over bare, p95", at_most=1.5, source="issue 3"))
    report.goals.append(Goal(figure=f"{label}: recall@10", at_least=0.95, source="design.md 7"))
    return ours, theirs


class _Bare:
    """The two statements a hand-written hybrid search needs, straight over the driver and without the wall.

    The same words lead to candidates as in the service, and as many are taken; nothing is fused, checked or fetched.
    """

    def __init__(self, connection: Any, tenant: TenantId, size: int, model: retrieval.KeptVectors) -> None:
        self._connection = connection
        self._tenant = tenant
        self._model = model
        self._config = SearchConfig()
        self._size = size
        self._queries: dict[str, str] = {}

    async def prepare(self, database: Database, questions: Sequence[str]) -> None:
        """Find out which words lead."""
        common = CommonWords()
        async with database.unit(self._tenant) as unit:
            for question in questions:
                words = [term.lexeme for term in query_terms(question)]
                shares = await common.shares(unit.chunk_search, [DatasetId(self._tenant)], words)
                leading = [w for w in words if shares.get(w, 0) * self._size <= self._config.most_scanned]
                self._queries[question] = any_of(leading)
        await self._connection.execute(
            "SET hnsw.iterative_scan = relaxed_order; SET plan_cache_mode = force_custom_plan; "
            f"SET hnsw.ef_search = {max(40, self._config.most_near)}; SET enable_sort = off"  # else no vector index
        )

    async def __call__(self, question: str) -> None:
        """Run both."""
        vector = "[" + ",".join(map(str, self._model.vector(question).tolist())) + "]"
        near = _BARE_NEAR_EXACT if self._size <= self._config.exact_chunks else _BARE_NEAR
        await self._connection.fetch(near, self._tenant, vector, self._config.most_near)
        if self._queries[question]:
            most = self._config.most_lexical
            await self._connection.fetch(_BARE_TEXT, self._tenant, self._queries[question], most)


async def _recall(
    tenant: TenantId, size: int, questions: Sequence[str], model: retrieval.KeptVectors, database: Database
) -> float:
    """Return which part of the ten nearest a search finds: those it takes, against those one by one."""
    config = SearchConfig()
    if size <= config.exact_chunks:
        return 1.0
    scope = SearchScope(dataset_ids=[DatasetId(tenant)])
    shares: list[float] = []
    for question in questions:
        vector = model.vector(question).tolist()
        async with database.unit(tenant) as unit:
            exact = await unit.chunk_search.find_nearest(scope, vector=vector, most=10)
            most = config.most_near
            found = await unit.chunk_search.find_near(
                scope, vector=vector, most=most, ef_search=max(40, most), is_iterative=True
            )
        shares.append(len(set(exact) & set(found)) / max(1, len(exact)))
    return sum(shares) / len(shares)


async def _while_inserting(
    report: Report,
    urls: shelf.Shelf,
    tenant: TenantId,
    questions: Sequence[str],
    retriever: Retriever,
    database: Database,
    model: retrieval.KeptVectors,
) -> None:
    """Search the largest tenant while another connection puts chunks into it, and say how fast both are."""
    document = DocumentId(new_id())
    connection = await shelf.superuser(urls)
    await connection.execute(
        "INSERT INTO documents (tenant_id, id, dataset_id, name, location, blob_key, type, suffix, size_bytes, "
        "chunk_method, parser_config) VALUES ($1, $2, $1, $2, $2, $2, 'doc', 'html', 1, 'naive', '{}')",
        tenant,
        document,
    )
    texts = [row["content"] for row in await connection.fetch("SELECT content FROM bench_pieces ORDER BY n LIMIT 2000")]
    model.load(texts)
    times: list[float] = []
    done = 0
    end = time.monotonic() + _INSERT_S

    async def insert() -> None:
        nonlocal done
        while time.monotonic() < end:
            rows = [_new(f"{texts[(done + at) % len(texts)]} {done + at}", texts[(done + at) % len(texts)], model)
                    for at in range(50)]  # fmt: skip
            async with database.unit(tenant) as unit:
                await unit.chunks.add(DatasetId(tenant), document, rows)
            done += len(rows)

    async def ask() -> None:
        while time.monotonic() < end:
            question = questions[_WARM + len(times) % _QUESTIONS]
            started = time.perf_counter()
            await retriever.search(tenant, SearchRequest(question=question, dataset_ids=(DatasetId(tenant),)))
            times.append((time.perf_counter() - started) * 1000)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(insert())
        tasks.create_task(ask())
    await connection.execute("DELETE FROM documents WHERE tenant_id = $1 AND id = $2", tenant, document)
    await connection.close()
    started = time.monotonic()
    await asyncio.to_thread(EmbeddedEmbeddingModel().embed_sync, texts[:200])
    embed_s = (time.monotonic() - started) / 200
    report.add("inserting into the largest: chunks a second, without the model", done / _INSERT_S, "1/s", samples=done)
    report.add("embedding model: chunks a second", 1 / embed_s, "1/s", samples=200)
    share = embed_s / (embed_s + _INSERT_S / max(1, done))
    report.add("share of the embedding model in both", share, "", is_ratio=True)
    report.add("search of the largest while inserting, p50", quantile(times, 0.5), "ms", samples=len(times))
    report.add("search of the largest while inserting, p95", quantile(times, 0.95), "ms", samples=len(times))


def _new(content: str, known: str, model: retrieval.KeptVectors) -> NewChunk:
    return NewChunk(
        id=ChunkId(new_id()[:16]),
        section_id=None,
        ordinal=0,
        content=content,
        lexemes=tsvector(content, "title"),
        embedding=model.vector(known).tolist(),
        positions=[],
        token_count=len(content) // 4,
    )


async def _timed(work: Callable[[str], Awaitable[None]], question: str) -> float:
    started = time.perf_counter()
    await work(question)
    return (time.perf_counter() - started) * 1000
