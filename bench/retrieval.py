"""How good the answers of a search are: a judged set, asked through the service's own Retriever, beside references.

See docs/retrieval-quality.md. Half of the questions were used for tuning; figures are told for the other half too.
"""

import asyncio
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy

from app.db.engine import create_engine
from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from app.domain.models import Embeddings, Usage
from app.domain.retrieval import SearchRequest
from app.ingest.chunking import NaiveConfig, chunk_id, chunk_naive
from app.ingest.outline import outline
from app.llm.catalogue import ModelCatalogue
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.llm.embedded_rerank import EmbeddedRerankModel
from app.llm.entries import ModelEntry
from app.llm.tokens import BpeTokenCounter
from app.retrieval.common_words import CommonWords
from app.retrieval.query import query_terms
from app.retrieval.scoring import USUAL_WEIGHT, Candidate, candidates, rank
from app.retrieval.search import Question, SearchConfig, gather
from app.retrieval.service import Retriever
from app.retrieval.text_index import tsvector
from bench import retrieval_corpus, retrieval_references, shelf
from bench.figures import Goal, Report
from bench.machine import Cores, machine
from repositories.chunk_search import SearchScope
from repositories.unit_of_work import Database

NAME = "retrieval"
TENANT, DATASET = TenantId("bench"), DatasetId("manuals")
MODEL = "kept@bench"
_NAME_SHARE = 0.1  # of the file name in a vector, as the service has it by default
_DEEP = 50  # chunks asked for; documents are ranked by their best one
_TOP = 10
_THRESHOLD = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done. `questions` None: all."""

    questions: int | None = None
    weights: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    floors: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


FULL = Plan()
SHORT = Plan(weights=(), floors=())
TINY = Plan(questions=4, weights=(), floors=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk of the corpus, with the number of its page."""

    page: int
    name: str
    content: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Means over questions; each has one right document."""

    ndcg: float
    recall: float
    mrr: float
    first: float


@dataclass(slots=True)
class KeptVectors:
    """An `EmbeddingModel`: the embedded one, with vectors kept in a file between runs."""

    folder: Path
    name: str = "kept"
    provider: str = "bench"
    dimensions: int = 384
    _model: EmbeddedEmbeddingModel = field(default_factory=EmbeddedEmbeddingModel)
    _known: dict[str, Any] = field(default_factory=dict[str, Any])

    def load(self, texts: Sequence[str]) -> float:
        """Make sure of the vectors of `texts`; how many seconds the model took for those that were new."""
        kept = self.folder / "vectors.npz"
        if kept.exists():
            with numpy.load(kept) as held:
                self._known = dict(zip(held["keys"].tolist(), held["vectors"], strict=True))
        new = list(dict.fromkeys(text for text in texts if _key(text) not in self._known))
        started = time.monotonic()
        made = self._model.embed_sync(new).vectors
        self._known |= {_key(text): numpy.array(one, dtype="float32") for text, one in zip(new, made, strict=True)}
        took = time.monotonic() - started
        if new:
            fresh = self.folder / f"vectors.{os.getpid()}.npz"
            numpy.savez(fresh, keys=numpy.array(list(self._known)), vectors=numpy.array(list(self._known.values())))
            fresh.replace(kept)  # another run may be reading
        return took

    def vector(self, text: str) -> Any:
        """Return the vector of a text that was loaded."""
        return self._known[_key(text)]

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:  # noqa: ARG002 - never waits
        """Return one vector per text that was loaded; see `EmbeddingModel.embed`."""
        vectors = [self.vector(text).tolist() for text in texts]
        return Embeddings(vectors=vectors, model=self.name, provider=self.provider, usage=Usage())


Ranking = dict[int, list[int]]
"""Pages in the order they were found, by question."""


def run(plan: Plan, cores: Cores, *, data_parent: Path | None = None) -> Report:
    """Build the set where it is not there yet, index it, ask everything, and tell how good it was."""
    del cores  # quality does not depend on where things run
    cache = Path(data_parent or tempfile.gettempdir()) / "parley-bench-retrieval"
    cache.mkdir(mode=0o711, parents=True, exist_ok=True)
    corpus = retrieval_corpus.build(retrieval_corpus.fetch(cache))
    chunks = cut(corpus)
    questions = [(at, page.question) for at, page in enumerate(corpus.pages) if page.question][: plan.questions]
    model = KeptVectors(cache)
    model.load([*(one.content for one in chunks), *(one.name for one in chunks), *(text for _, text in questions)])
    report = Report(
        name=NAME,
        machine=machine(),
        settings={
            "packages": retrieval_corpus.versions(cache),
            "documents": len(corpus.pages),
            "chunks": len(chunks),
            "questions": len(questions),
            "places_where_a_question_was_struck_out": corpus.struck,
        },
    )
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        Path(folder).chmod(0o711)
        with shelf.shelf(Path(folder) / "data") as urls:
            ways = asyncio.run(_ask(urls, chunks, questions, model, plan))
    ways |= retrieval_references.in_memory(chunks, questions, model)
    _tell(report, ways, questions)
    return report


def cut(corpus: retrieval_corpus.Corpus) -> list[Chunk]:
    """Return the chunks that the `naive` method makes with its default settings."""
    count = BpeTokenCounter().count
    return [
        Chunk(page=at, name=page.name, content=raw.content, tokens=count(raw.content))
        for at, page in enumerate(corpus.pages)
        for raw in chunk_naive(outline(page.parsed, page.name), NaiveConfig(), count)
    ]


async def _ask(
    urls: shelf.Shelf, chunks: Sequence[Chunk], questions: Sequence[tuple[int, str]], model: KeptVectors, plan: Plan
) -> dict[str, Ranking]:
    connection = await shelf.superuser(urls)
    await _fill(connection, chunks, model)
    found = {"reference: ts_rank, english": await retrieval_references.ts_rank(connection, questions)}
    await connection.close()
    database = Database(create_engine(urls.app_url, pool_size=2))
    try:
        usual = Retriever(database, catalogue(model))
        for label, changes in _WAYS.items():
            found[label] = await _rankings(usual, questions, **changes)
        if plan.weights or plan.floors:
            found |= _curves(await _pools(database, chunks, questions, model), plan)
    finally:
        await database.close()
    return found


_WAYS: Mapping[str, Mapping[str, Any]] = {
    "text only (w = 0)": {"vector_similarity_weight": 0.0},
    "vectors only (w = 1)": {"vector_similarity_weight": 1.0},
    "hybrid (defaults)": {},
    "hybrid + rerank": {"rerank_id": f"{EmbeddedRerankModel.name}@builtin"},
}


async def _rankings(retriever: Retriever, questions: Sequence[tuple[int, str]], **changes: Any) -> Ranking:
    found: Ranking = {}
    for number, (_, text) in enumerate(questions):
        request = SearchRequest(question=text, dataset_ids=(DATASET,), page_size=_DEEP, **changes)
        result = await retriever.search(TENANT, request)
        found[number] = list(dict.fromkeys(int(hit.reference.document_id) for hit in result.hits))
    return found


async def _pools(
    database: Database, chunks: Sequence[Chunk], questions: Sequence[tuple[int, str]], model: KeptVectors
) -> list[list[Candidate]]:
    """Return every candidate of each question there could be, at any floor."""
    pools: list[list[Candidate]] = []
    common_words = CommonWords()
    for _, text in questions:
        async with database.unit(TENANT) as unit:
            pool = await gather(
                unit.chunk_search,
                Question(text=text, terms=query_terms(text), vector=model.vector(text).tolist()),
                SearchScope(dataset_ids=[DATASET]),
                chunk_count=len(chunks),
                pageranks={},
                similarity_threshold=0.0,
                top_k=1024,
                config=SearchConfig(vector_only_floor=0.0),
                is_iterative=True,
                common_words=common_words,
            )
        pools.append(pool.candidates)
    return pools


def _curves(pools: Sequence[Sequence[Candidate]], plan: Plan) -> dict[str, Ranking]:
    """Return the rankings by weight, at the usual floor, and by floor, at the usual weight."""
    usual = SearchConfig().vector_only_floor
    settings = [(f"weight {weight:g}", weight, usual) for weight in plan.weights]
    settings += [(f"floor {floor:g}", USUAL_WEIGHT, floor) for floor in plan.floors]
    return {
        label: {number: _ranked(pool, weight, floor) for number, pool in enumerate(pools)}
        for label, weight, floor in settings
    }


def _ranked(pool: Sequence[Candidate], weight: float, floor: float) -> list[int]:
    kept = candidates(pool, similarity_threshold=_THRESHOLD, vector_only_floor=floor, top_k=1024)
    hits = rank(kept, vector_similarity_weight=weight, similarity_threshold=_THRESHOLD)
    return list(dict.fromkeys(int(hit.candidate.document_id) for hit in hits[:_DEEP]))


async def _fill(connection: Any, chunks: Sequence[Chunk], model: KeptVectors) -> None:
    pages = {one.page: one.name for one in chunks}
    documents = [(DocumentId(str(page)), name) for page, name in pages.items()]
    await shelf.add_dataset(connection, TENANT, DATASET, model=MODEL, documents=documents)
    seen: dict[str, shelf.ShelfChunk] = {}
    for ordinal, one in enumerate(chunks):
        key = chunk_id(one.content, str(one.page))
        seen[key] = shelf.ShelfChunk(
            tenant_id=TENANT,
            dataset_id=DATASET,
            document_id=DocumentId(str(one.page)),
            id=ChunkId(key),
            ordinal=ordinal,
            content=one.content,
            lexemes=tsvector(one.content, PurePath(one.name).stem),
            embedding=blended(model, one).tolist(),
            token_count=one.tokens,
        )
    await shelf.add_chunks(connection, seen.values())
    await shelf.count(connection)


def blended(model: KeptVectors, chunk: Chunk) -> Any:
    """Return the vector that the service keeps of a chunk."""
    mixed = _NAME_SHARE * model.vector(chunk.name) + (1 - _NAME_SHARE) * model.vector(chunk.content)
    return mixed / numpy.linalg.norm(mixed)


def catalogue(model: KeptVectors) -> ModelCatalogue:
    reranker = EmbeddedRerankModel(EmbeddedEmbeddingModel())

    def none(_: ModelEntry) -> Any:
        raise AssertionError("no chat model is asked")

    entries = (
        ModelEntry(name="kept", provider="bench", kind="embedding", base_url="http://none", api_key="", dimensions=384),
        ModelEntry(name=reranker.name, provider="builtin", kind="rerank"),
    )
    return ModelCatalogue(entries, chat=none, embedding=lambda _: model, rerank=lambda _: reranker)


def quality(ranking: Ranking, questions: Sequence[tuple[int, str]], chosen: Callable[[int], bool]) -> Quality:
    """Return the means over the chosen questions."""
    places = [
        ranking[number].index(right) + 1 if right in ranking[number] else 0
        for number, (right, _) in enumerate(questions)
        if chosen(number)
    ]
    return Quality(
        ndcg=_mean([1 / float(numpy.log2(1 + place)) if 0 < place <= _TOP else 0.0 for place in places]),
        recall=_mean([float(0 < place <= _TOP) for place in places]),
        mrr=_mean([1 / place if 0 < place <= _TOP else 0.0 for place in places]),
        first=_mean([float(place == 1) for place in places]),
    )


def tuned_on(questions: int) -> frozenset[int]:
    """Return the numbers of the questions that tuning may look at: half of them."""
    numbers = list(range(questions))
    random.Random(7).shuffle(numbers)  # noqa: S311  a split that stays, not a secret
    return frozenset(numbers[: questions // 2])


def _tell(report: Report, ways: Mapping[str, Ranking], questions: Sequence[tuple[int, str]]) -> None:
    tuning = tuned_on(len(questions))
    parts: Mapping[str, Callable[[int], bool]] = {
        "all": lambda _: True,
        "tuning half": lambda number: number in tuning,
        "other half": lambda number: number not in tuning,
    }
    for label, ranking in ways.items():
        told = {part: quality(ranking, questions, chosen) for part, chosen in parts.items()}
        report.details[label] = {
            part: {"ndcg@10": one.ndcg, "recall@10": one.recall, "mrr@10": one.mrr, "r@1": one.first}
            for part, one in told.items()
        }
        if label.startswith(("weight", "floor")):
            continue
        halves = [told["tuning half"].ndcg, told["other half"].ndcg]
        report.add(f"nDCG@10, {label}", told["all"].ndcg, "", per_run=halves, samples=len(questions))
    hybrid = quality(ways["hybrid (defaults)"], questions, parts["all"]).ndcg
    for label, ranking in ways.items():
        if label.startswith(("text", "vectors", "reference")):
            name = f"hybrid over {label}, nDCG@10"
            report.add(name, hybrid / quality(ranking, questions, parts["all"]).ndcg, "×", is_ratio=True)
            report.goals.append(Goal(figure=name, at_least=1.0, source="issue 3"))
    report.notes.append("least to most: the half of the questions used for tuning, and the other half")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
