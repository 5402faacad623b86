"""What an answer may rest on: chunks of the assistant's datasets, its graph, the web (conversations.md 10.7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog
from anyio import to_thread

from app.domain.errors import UpstreamFailed
from app.domain.ids import TenantId
from app.domain.references import Reference
from app.domain.retrieval import SearchRequest, SearchResult
from app.engine.ask import Ask, WebKey
from app.engine.draft import Draft
from app.engine.prompting import keep_within
from app.engine.shaping import soon
from app.llm.base import TokenCounter
from app.retrieval.knowledge import KnowledgeChunk

log = structlog.get_logger()


class Searcher(Protocol):
    """Finds chunks; `app.retrieval.service.Retriever` does."""

    async def search(self, tenant_id: TenantId, request: SearchRequest) -> SearchResult:
        """Return the best chunks for a request."""
        ...


class WebSearcher(Protocol):
    """Finds pages; `app.retrieval.web.TavilySearch` does."""

    async def search(self, query: str, key: str, *, deadline_s: float) -> list[Reference]:
        """Return the best pages for a query, each with its `url`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """References in the order of their numbers; `total` counts chunks over the threshold, also those not here."""

    references: Sequence[Reference]
    total: int = 0

    def passages(self) -> list[KnowledgeChunk]:
        """Return the references as a model reads them."""
        return [
            KnowledgeChunk(content=one.content, title=one.document_name, url=one.url, metadata=one.metadata)
            for one in self.references
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How near a chunk must be, and what weight its vector has."""

    similarity_threshold: float
    vector_similarity_weight: float


class Finder:
    """Searches for asks."""

    def __init__(self, searcher: Searcher, counter: TokenCounter, web: WebSearcher | None = None) -> None:
        self._searcher = searcher
        self._counter = counter
        self._web = web

    async def find(
        self, ask: Ask, text: str, draft: Draft, *, deadline_s: float, measure: Measure | None = None
    ) -> Findings:
        """Return what there is on `text`: the graph's chunk, chunks, then pages of the web; within the context.

        `measure` is the assistant's unless given. A failing web search finds nothing; what search cost goes to `draft`.

        Raises:
            ParleyError: as `Retriever.search`.
        """
        with draft.step("retrieve"):
            found = await self._chunks(ask, text, draft, measure) if ask.dataset_ids else Findings(references=())
        if ask.web_key is not None and self._web is not None:
            with draft.step("web"):
                pages = await self._pages(self._web, ask.web_key, text, deadline_s)
            found = Findings(references=[*found.references, *pages], total=found.total)
        return await self.within(ask, found)

    async def within(self, ask: Ask, found: Findings) -> Findings:
        """Return the first of what was found, as far as it fits 97 % of the model's context (10.7 step 4)."""
        fit = partial(keep_within, found.references, ask.model.context_tokens, self._counter)
        return Findings(references=await to_thread.run_sync(fit), total=found.total)

    async def _chunks(self, ask: Ask, text: str, draft: Draft, measure: Measure | None) -> Findings:
        chat = ask.chat
        measure = measure or Measure(
            similarity_threshold=chat.similarity_threshold, vector_similarity_weight=chat.vector_similarity_weight
        )
        request = SearchRequest(
            question=text,
            dataset_ids=ask.dataset_ids,
            document_ids=ask.document_ids,
            page_size=chat.top_n,
            similarity_threshold=measure.similarity_threshold,
            vector_similarity_weight=measure.vector_similarity_weight,
            top_k=chat.top_k,
            rerank_id=chat.rerank_id or None,
            metadata_condition=ask.metadata_condition,
            meta_data_filter=chat.meta_data_filter or None,
            use_kg=chat.prompt_config.get("use_kg") is True,
            toc_enhance=chat.prompt_config.get("toc_enhance") is True,
            chat_model=chat.llm_id,
        )
        result = await self._searcher.search(ask.tenant_id, request)
        for call in result.calls:
            draft.spent(call)
        references = [replace(hit.reference, metadata=hit.document_metadata) for hit in result.hits]
        if result.graph is not None:
            references.insert(0, result.graph.reference())
        return Findings(references=references, total=result.total)

    async def _pages(self, web: WebSearcher, key: WebKey, text: str, deadline_s: float) -> list[Reference]:
        try:
            return await web.search(text, key.secret, deadline_s=soon(deadline_s))
        except UpstreamFailed as error:
            log.warning("web_search_failed", error=error.message)
            return []
