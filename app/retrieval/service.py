"""Retrieval: a question over datasets to a page of chunks (knowledge.md 4)."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from anyio import to_thread

from app.domain.datasets import Dataset
from app.domain.errors import Invalid, WrongType
from app.domain.ids import DatasetId, DocumentId, TenantId, new_id
from app.domain.retrieval import GraphHit, ModelCall, SearchRequest, SearchResult
from app.llm.base import ChatModel, EmbeddingModel, RerankModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.retrieval.common_words import CommonWords
from app.retrieval.document_filter import DocumentFilter, asked_filter, read_document_filter
from app.retrieval.graph import graph_chunk
from app.retrieval.ground import Ground, allowed_documents, survey
from app.retrieval.lifting import lifted_by_contents, lifted_by_tags, similarities
from app.retrieval.metadata import read_filter
from app.retrieval.query import query_terms
from app.retrieval.rephrasing import BUILTIN, rephrased
from app.retrieval.reranking import reranked
from app.retrieval.results import Found, page, ranked, result
from app.retrieval.scoring import Candidate, rank
from app.retrieval.search import Question, SearchConfig, gather, key_of
from app.retrieval.tags import query_tags
from app.retrieval.toc import toc_boosts
from repositories.chunk_search import ChunkBody, SearchScope
from repositories.chunk_search_statements import CUSTOM_PLANS
from repositories.unit_of_work import Database, UnitOfWork

log = structlog.get_logger()

_HELPER_S = 30.0  # for what a chat model adds to a search


class NothingParsed(Invalid):
    """None of the datasets has a chunk."""


class Retriever:
    """Searches datasets of a tenant; the routes and the turn engine all ask it."""

    def __init__(self, database: Database, catalogue: ModelCatalogue, config: SearchConfig | None = None) -> None:
        self._database = database
        self._catalogue = catalogue
        self._config = config or SearchConfig()
        self._common_words = CommonWords()
        self._has_iterative_scans: bool | None = None

    async def check(self, tenant_id: TenantId, dataset_ids: Sequence[DatasetId]) -> None:
        """Return when all of the datasets can be searched together.

        Raises:
            DatasetMissing, MixedEmbeddings: as `search`.
        """
        async with self._database.unit(tenant_id) as unit:
            await survey(unit, dataset_ids, (), has_condition=False)

    async def search(
        self,
        tenant_id: TenantId,
        request: SearchRequest,
        *,
        must_be_parsed: bool = False,
        calls: list[ModelCall] | None = None,
    ) -> SearchResult:
        """Return a page of the best chunks; none for an empty question.

        Models are asked outside of any transaction. What they cost is in the result's `calls`, for the caller to keep;
        a list given for it has it also when the search fails.

        Raises:
            DatasetMissing: one of the datasets is not there.
            MixedEmbeddings: their embedding models differ.
            DocumentMissing: one of `document_ids` is in none of them.
            Invalid: a model cannot be used, or the condition makes no sense.
            NothingParsed: there is no chunk at all, and `must_be_parsed`.
            UpstreamFailed: the embedding model could not answer.
        """
        calls = calls if calls is not None else []
        condition = read_filter(request.metadata_condition)
        kept = read_document_filter(request.meta_data_filter)
        has_condition = condition is not None or kept is not None
        async with self._database.unit(tenant_id) as unit:
            ground = await survey(unit, request.dataset_ids, request.document_ids, has_condition=has_condition)
        reranker = self._reranker(request.rerank_id)
        if not request.question.strip() or not ground.datasets:
            return _nothing(calls)
        if must_be_parsed and not ground.chunk_count:
            raise NothingParsed("No chunk found! Check the chunk status please!")
        documents = await allowed_documents(ground, request.document_ids, condition)
        if kept is not None:
            documents = await self._filtered(kept, request, ground, documents, calls)
        if documents is not None and not documents:
            return _nothing(calls)
        question = await self._question(request, ground, calls)
        tags = await query_tags(self._database, tenant_id, question.text, ground.datasets)
        scope = SearchScope(dataset_ids=ground.dataset_ids, document_ids=documents)
        found = await self._find(tenant_id, request, question, ground, scope, tags, is_reranked=reranker is not None)
        if reranker is not None and found.candidates:
            found = await self._reranked(found, question.text, reranker, calls)
        if request.toc_enhance and found.candidates:
            found = await self._with_contents(tenant_id, request, question, ground, found, calls)
        graph = None
        if request.use_kg and documents is None:  # the graph tells of every document: too much under a filter
            graph = await self._graph(tenant_id, request, question, ground, calls)
        if request.has_tokens or request.highlight:  # reads every word of the page
            return await to_thread.run_sync(result, found, request, question, graph, calls)
        return result(found, request, question, graph, calls)

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
            raise WrongType(f"LookupError('Model({rerank_id}) not authorized')", param="rerank_id") from error

    def _helper(self, request: SearchRequest) -> ChatModel | None:
        """Return the chat model that helps; None, and a line in the log, when there is none to be had."""
        try:
            return self._catalogue.chat(request.chat_model)
        except (ModelUnknown, ModelUnusable) as error:
            log.warning("no_helper_model", error=error.message)
            return None

    async def _filtered(
        self,
        kept: DocumentFilter,
        request: SearchRequest,
        ground: Ground,
        documents: list[DocumentId] | None,
        calls: list[ModelCall],
    ) -> list[DocumentId] | None:
        """Return which of `documents` meet the filter; one that a model wrote and nothing meets is dropped."""
        condition = kept.written
        if kept.is_asked_for and (model := self._helper(request)) is not None:
            condition = await asked_filter(
                kept,
                request.question,
                ground.metadata or {},
                model,
                today=f"{datetime.now(UTC):%Y-%m-%d}",
                calls=calls,
                deadline_s=_in(_HELPER_S),
            )
        met = await allowed_documents(ground, (), condition)
        if met is not None and not met and kept.is_asked_for:
            log.info("metadata_filter_dropped", method=kept.method, conditions=repr(condition)[:500])
            return documents
        if documents is None or met is None:
            return documents if met is None else met
        among = set(met)
        return [document_id for document_id in documents if document_id in among]

    async def _question(self, request: SearchRequest, ground: Ground, calls: list[ModelCall]) -> Question:
        """Return what is looked for, rephrased if that was asked for, with its vector."""
        embedding = self._model(ground.datasets[0])
        text = request.question
        if (request.cross_languages or request.keyword) and (model := self._helper(request)) is not None:
            text = await rephrased(
                text,
                languages=request.cross_languages,
                wants_keywords=request.keyword,
                model=model,
                calls=calls,
                deadline_s=_in(_HELPER_S),
            )
        started = time.monotonic()
        made = await embedding.embed([text], deadline_s=_in(self._config.embed_timeout_s))
        calls.append(
            ModelCall(
                kind="embedding",
                purpose="query",
                model=made.model,
                provider=made.provider,
                usage=made.usage,
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        return Question(text=text, terms=query_terms(text), vector=made.vectors[0])

    async def _find(
        self,
        tenant_id: TenantId,
        request: SearchRequest,
        question: Question,
        ground: Ground,
        scope: SearchScope,
        tags: Mapping[str, float],
        *,
        is_reranked: bool,
    ) -> Found:
        """Return the candidates with the texts that are needed of them: the page's, or all that are reranked."""
        async with self._database.unit(tenant_id, settings=CUSTOM_PLANS) as unit:
            if self._has_iterative_scans is None:
                self._has_iterative_scans = await unit.chunk_search.has_iterative_scans()
            pool = await gather(
                unit.chunk_search,
                question,
                scope,
                chunk_count=ground.chunk_count,
                pageranks={dataset.id: dataset.pagerank for dataset in ground.datasets},
                similarity_threshold=request.similarity_threshold,
                top_k=request.top_k,
                config=self._config,
                is_iterative=self._has_iterative_scans,
                common_words=self._common_words,
            )
            candidates = await lifted_by_tags(unit, pool.candidates, tags)
            shown = None
            if is_reranked:
                wanted = candidates = self._best(candidates, request)
            else:
                shown = page(candidates, request)
                wanted = [hit.candidate for hit in shown.hits]
            bodies = await _bodies(unit, wanted)
            return Found(candidates=candidates, dataset_of=pool.dataset_of, bodies=bodies, shown=shown)

    def _best(self, candidates: list[Candidate], request: SearchRequest) -> list[Candidate]:
        """Return those worth a reranker's time; the threshold is for the scores it gives."""
        best = rank(
            candidates, vector_similarity_weight=request.vector_similarity_weight, similarity_threshold=float("-inf")
        )
        return [hit.candidate for hit in best[: self._config.most_reranked]]

    async def _reranked(self, found: Found, question: str, reranker: RerankModel, calls: list[ModelCall]) -> Found:
        known = [candidate for candidate in found.candidates if key_of(candidate) in found.bodies]
        passages = [found.bodies[key_of(candidate)].content for candidate in known]
        scored = await reranked(
            question, known, passages, reranker, calls=calls, timeout_s=self._config.rerank_timeout_s
        )
        return replace(found, candidates=scored, shown=None)

    async def _with_contents(
        self,
        tenant_id: TenantId,
        request: SearchRequest,
        question: Question,
        ground: Ground,
        found: Found,
        calls: list[ModelCall],
    ) -> Found:
        """Let the table of contents of the best document speak, with the texts of the page as it is then."""
        if (model := self._helper(request)) is None or model.provider == BUILTIN:
            return found
        hits = similarities(ranked(found.candidates, request))
        boosts = await toc_boosts(self._database, tenant_id, question.text, hits, model, calls=calls)
        if boosts is None:
            return found
        async with self._database.unit(tenant_id) as unit:
            found = await lifted_by_contents(unit, found, question, ground.datasets, boosts)
            shown = page(found.candidates, request)
            return replace(found, shown=shown, bodies=await _bodies(unit, [hit.candidate for hit in shown.hits]))

    async def _graph(
        self,
        tenant_id: TenantId,
        request: SearchRequest,
        question: Question,
        ground: Ground,
        calls: list[ModelCall],
    ) -> GraphHit | None:
        content = await graph_chunk(
            self._database,
            self._catalogue,
            tenant_id,
            question.text,
            ground.datasets,
            vector=question.vector,
            calls=calls,
            deadline_s=_in(_HELPER_S),
            chat=self._helper(request),
        )
        return GraphHit(id=new_id(), content=content, dataset_ids=tuple(ground.dataset_ids)) if content else None


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def _nothing(calls: list[ModelCall]) -> SearchResult:
    return SearchResult(hits=[], total=0, documents=[], is_searched=False, calls=calls)


async def _bodies(unit: UnitOfWork, wanted: Sequence[Candidate]) -> dict[tuple[str, str], ChunkBody]:
    return await unit.chunk_search.bodies([key_of(candidate) for candidate in wanted]) if wanted else {}
