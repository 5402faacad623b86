"""Retrieval: a question over datasets to a page of chunks (knowledge.md 4)."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from app.domain.datasets import Dataset, DatasetMissing, DocumentMissing
from app.domain.errors import Invalid, UpstreamFailed
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.domain.references import DocumentCount, Reference
from app.domain.retrieval import ModelCall, SearchHit, SearchRequest, SearchResult
from app.llm.base import EmbeddingModel, RerankModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.retrieval.highlight import highlight
from app.retrieval.metadata import MetadataFilter, read_filter
from app.retrieval.query import query_terms
from app.retrieval.scoring import Candidate, Hit, HitPage, page_of, rank
from app.retrieval.search import Pool, Question, SearchConfig, gather, key_of
from app.retrieval.text_index import token_stream
from repositories.chunk_search import ChunkBody, SearchScope
from repositories.unit_of_work import Database, UnitOfWork

log = structlog.get_logger()

_NOTHING = SearchResult(hits=[], total=0, documents=[])


class NothingParsed(Invalid):
    """None of the datasets has a chunk."""


class MixedEmbeddings(Invalid):
    """The datasets cannot be searched together: their vectors come from different models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    pool: Pool
    bodies: dict[tuple[str, str], ChunkBody]


class Retriever:
    """Searches datasets of a tenant; the route and the turn engine both ask it."""

    def __init__(self, database: Database, catalogue: ModelCatalogue, config: SearchConfig | None = None) -> None:
        self._database = database
        self._catalogue = catalogue
        self._config = config or SearchConfig()
        self._has_iterative_scans: bool | None = None

    async def search(
        self, tenant_id: TenantId, request: SearchRequest, *, must_be_parsed: bool = False
    ) -> SearchResult:
        """Return a page of the best chunks; none for an empty question.

        Models are asked outside of any transaction; what they cost is in `calls`, for the caller to keep.

        Raises:
            DatasetMissing: one of the datasets is not there.
            DocumentMissing: one of `document_ids` is in none of them.
            Invalid: the datasets' embedding models differ, a model cannot be used, or the condition makes no sense.
            NothingParsed: there is no chunk at all, and `must_be_parsed`.
            UpstreamFailed: the embedding model could not answer.
        """
        condition = read_filter(request.metadata_condition)
        datasets = await self._checked(tenant_id, request)
        if must_be_parsed and not any(dataset.chunk_count for dataset in datasets):
            raise NothingParsed("No chunk found! Check the chunk status please!")
        reranker = self._reranker(request.rerank_id)
        if not request.question.strip() or not datasets:
            return _NOTHING
        calls: list[ModelCall] = []
        question = await self._question(request.question, self._model(datasets[0]), calls)
        found = await self._find(tenant_id, request, question, datasets, condition, reranker is not None)
        if found is None:
            return replace(_NOTHING, calls=calls)
        if reranker is not None and found.pool.candidates:
            found = await self._reranked(found, request, reranker, calls)
        page = self._page(found.pool, request)
        return self._result(page, found, request, question, calls)

    async def _checked(self, tenant_id: TenantId, request: SearchRequest) -> list[Dataset]:
        wanted = list(dict.fromkeys(request.dataset_ids))
        async with self._database.unit(tenant_id) as unit:
            known = await unit.datasets.many(wanted)
            for dataset_id in wanted:
                if dataset_id not in known:
                    raise DatasetMissing(f"You don't own the dataset {dataset_id}.")
            if request.document_ids:
                owned = await unit.chunk_search.owned(wanted, request.document_ids)
                for document_id in request.document_ids:
                    if document_id not in owned:
                        raise DocumentMissing(f"The datasets don't own the document {document_id}")
        datasets = [known[dataset_id] for dataset_id in wanted]
        if len({dataset.embedding_model.rpartition("@")[0] for dataset in datasets}) > 1:
            raise MixedEmbeddings('Datasets use different embedding models."')
        return datasets

    def _model(self, dataset: Dataset) -> EmbeddingModel:
        try:
            return self._catalogue.embedding(dataset.embedding_model)
        except (ModelUnknown, ModelUnusable) as error:
            raise Invalid(error.message) from error

    def _reranker(self, rerank_id: str | None) -> RerankModel | None:
        if not rerank_id:
            return None
        try:
            return self._catalogue.rerank(rerank_id)
        except (ModelUnknown, ModelUnusable) as error:
            raise Invalid(f"Model({rerank_id}) not authorized", param="rerank_id") from error

    async def _question(self, text: str, model: EmbeddingModel, calls: list[ModelCall]) -> Question:
        started = time.monotonic()
        deadline_s = asyncio.get_running_loop().time() + self._config.embed_timeout_s
        found = await model.embed([text], deadline_s=deadline_s)
        calls.append(
            ModelCall(
                kind="embedding",
                purpose="query",
                model=found.model,
                provider=found.provider,
                usage=found.usage,
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        return Question(text=text, terms=query_terms(text), vector=found.vectors[0])

    async def _find(
        self,
        tenant_id: TenantId,
        request: SearchRequest,
        question: Question,
        datasets: Sequence[Dataset],
        condition: MetadataFilter | None,
        is_reranked: bool,
    ) -> _Found | None:
        """Return the candidates, with the texts that are needed of them; None when no document is left to search."""
        dataset_ids = [dataset.id for dataset in datasets]
        async with self._database.unit(tenant_id) as unit:
            documents = await self._documents(unit, dataset_ids, request.document_ids, condition)
            if documents is not None and not documents:
                return None
            if self._has_iterative_scans is None:
                self._has_iterative_scans = await unit.chunk_search.has_iterative_scans()
            pool = await gather(
                unit.chunk_search,
                question,
                SearchScope(dataset_ids=dataset_ids, document_ids=documents),
                chunk_count=sum(dataset.chunk_count for dataset in datasets),
                pageranks={dataset.id: dataset.pagerank for dataset in datasets},
                similarity_threshold=request.similarity_threshold,
                top_k=request.top_k,
                config=self._config,
                is_iterative=self._has_iterative_scans,
            )
            if is_reranked:
                best = rank(
                    pool.candidates,
                    vector_similarity_weight=request.vector_similarity_weight,
                    similarity_threshold=-1.0,
                )[: self._config.most_reranked]
                pool = replace(pool, candidates=[hit.candidate for hit in best])
                wanted: Sequence[Candidate] = pool.candidates
            else:
                wanted = [hit.candidate for hit in self._page(pool, request).hits]
            bodies = await unit.chunk_search.bodies([key_of(candidate) for candidate in wanted]) if wanted else {}
            return _Found(pool=pool, bodies={(str(a), str(b)): body for (a, b), body in bodies.items()})

    async def _documents(
        self,
        unit: UnitOfWork,
        dataset_ids: Sequence[DatasetId],
        document_ids: Sequence[DocumentId],
        condition: MetadataFilter | None,
    ) -> list[DocumentId] | None:
        """Return the only documents to search; None for no restriction."""
        asked = list(document_ids) or None
        if condition is None:
            return asked
        held = await unit.chunk_search.metadata(dataset_ids)
        allowed = [document_id for document_id, fields in held.items() if condition.allows(fields)]
        return allowed if asked is None else [document_id for document_id in asked if document_id in set(allowed)]

    async def _reranked(
        self, found: _Found, request: SearchRequest, reranker: RerankModel, calls: list[ModelCall]
    ) -> _Found:
        """Put the reranker's relevance in the place of the cosines; they stay when it cannot answer (design.md 3)."""
        known = [c for c in found.pool.candidates if (c.document_id, c.chunk_id) in found.bodies]
        started = time.monotonic()
        passages = [found.bodies[c.document_id, c.chunk_id].content for c in known]
        deadline_s = asyncio.get_running_loop().time() + self._config.rerank_timeout_s
        try:
            scores, usage = await reranker.rerank(request.question, passages, deadline_s=deadline_s)
        except UpstreamFailed as error:
            log.warning("rerank_failed", model=reranker.name, error=error.message)
            return found
        calls.append(
            ModelCall(
                kind="rerank",
                purpose="query",
                model=reranker.name,
                provider=reranker.provider,
                usage=usage,
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        scored = [replace(c, vector_similarity=score) for c, score in zip(known, scores, strict=True)]
        return replace(found, pool=replace(found.pool, candidates=scored))

    def _page(self, pool: Pool, request: SearchRequest) -> HitPage:
        hits = rank(
            pool.candidates,
            vector_similarity_weight=request.vector_similarity_weight,
            similarity_threshold=request.similarity_threshold,
        )
        return page_of(hits, page=request.page, page_size=request.page_size)

    def _result(
        self, page: HitPage, found: _Found, request: SearchRequest, question: Question, calls: list[ModelCall]
    ) -> SearchResult:
        wanted = frozenset(term.lexeme for term in question.terms)
        shown = [hit for hit in page.hits if (hit.candidate.document_id, hit.candidate.chunk_id) in found.bodies]
        return SearchResult(
            hits=[_search_hit(hit, found, marked=wanted if request.highlight else None) for hit in shown],
            total=page.total,
            documents=[
                DocumentCount(DocumentId(each.document_id), each.document_name, each.count) for each in page.documents
            ],
            calls=calls,
        )


def _search_hit(hit: Hit, found: _Found, *, marked: frozenset[str] | None) -> SearchHit:
    candidate = hit.candidate
    document_id, chunk_id = key_of(candidate)
    body = found.bodies[document_id, chunk_id]
    return SearchHit(
        reference=Reference(
            chunk_id=chunk_id,
            content=body.content,
            document_id=document_id,
            document_name=candidate.document_name,
            dataset_id=found.pool.dataset_of[document_id],
            positions=body.positions,
            image_id=body.image_id,
            doc_type=body.doc_type,
            similarity=hit.similarity,
            vector_similarity=candidate.vector_similarity,
            term_similarity=candidate.term_similarity,
        ),
        content_ltks=token_stream(body.content),
        important_keywords=body.important_keywords,
        questions=body.questions,
        highlight=highlight(body.content, marked) if marked is not None else None,
        document_metadata=body.document_metadata,
    )
