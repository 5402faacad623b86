"""The answerer of chats: shape the query, search, ask the model, place the citations (design.md 3)."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog
from anyio import to_thread

from app.domain.errors import UpstreamFailed
from app.domain.events import ReasoningPiece, TextPiece
from app.domain.ids import TenantId
from app.domain.models import (
    ChatMessage,
    FinishReason,
    GenerationOptions,
    ModelFinish,
    ModelReasoning,
    ModelText,
    ModelUsage,
)
from app.domain.references import Reference
from app.domain.retrieval import ModelCall, SearchRequest, SearchResult
from app.engine.ask import Ask
from app.engine.citing import place_citations
from app.engine.draft import Draft
from app.engine.log import AT_ONCE
from app.engine.prompting import build_prompt, keep_within, system_text
from app.engine.quoting import find_quotes, write_quotes
from app.llm.asking import ask_text
from app.llm.base import ChatModel, EmbeddingModel, TokenCounter
from app.retrieval.rephrasing import LANGUAGES_MOST, rephrased

log = structlog.get_logger()

BUILTIN = "builtin"
"""Provider of the embedded models: too small to be trusted with an answer, so documents are quoted."""

_REFINE = """\
Rewrite the last question of this conversation as one question that can be understood without the conversation. \
Keep its language, resolve pronouns and relative dates (today is {today}), add nothing. If it is complete already, \
repeat it. Answer with the question only.

{conversation}"""
_REFINED_MESSAGES = 6
_REFINED_TOKENS = 200
_REPHRASE_S = 30.0


class Searcher(Protocol):
    """Finds chunks; `app.retrieval.service.Retriever` does."""

    async def search(self, tenant_id: TenantId, request: SearchRequest) -> SearchResult:
        """Return the best chunks for a request."""
        ...


class RagAnswerer:
    """Answers from an assistant's datasets, or with its model alone."""

    def __init__(self, searcher: Searcher, counter: TokenCounter) -> None:
        self._searcher = searcher
        self._counter = counter

    async def answer(self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> None:
        """Write the answer into `draft` (conversations.md 10)."""
        if not (ask.is_searching and ask.dataset_ids):
            await self._ask_model(ask, history, (), draft, deadline_s=deadline_s)
            return
        question = await self._standalone_question(ask, history, draft, deadline_s=deadline_s)
        searched = await self._searched_text(ask, question, draft, deadline_s=deadline_s)
        kept, total = await self._search(ask, searched, draft)
        if kept and ask.model.provider == BUILTIN and ask.embedding is not None:
            await self._quote(ask, ask.embedding, question, kept, total, draft, deadline_s=deadline_s)
        else:
            _show(ask, kept, total, draft)
            if not kept and ask.empty_response:
                draft.add([TextPiece(ask.empty_response)])
                return
            await self._ask_model(ask, history, kept, draft, deadline_s=deadline_s)
        if draft.references:
            with draft.step("cite"):
                await place_citations(ask, draft, deadline_s=deadline_s)

    async def _standalone_question(
        self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float
    ) -> str:
        """Return the question as one that needs no conversation (10.3); as it is when the helper fails."""
        if not ask.is_refining or ask.model.provider == BUILTIN:
            return ask.question
        if not any(message.role == "user" for message in history):
            return ask.question
        spoken = [*history[-_REFINED_MESSAGES:], ChatMessage(role="user", content=ask.question)]
        conversation = "\n".join(f"{message.role}: {message.content}" for message in spoken)
        prompt = _REFINE.format(today=time.strftime("%Y-%m-%d", time.gmtime()), conversation=conversation)
        options = GenerationOptions(temperature=0.0, max_tokens=_REFINED_TOKENS)
        with draft.step("refine"):
            try:
                refined = await self._helper(ask.model, prompt, options, draft, deadline_s=deadline_s)
            except UpstreamFailed as error:
                log.info("refine_failed", error=error.kind)
                return ask.question
        return refined.strip() or ask.question

    async def _searched_text(self, ask: Ask, question: str, draft: Draft, *, deadline_s: float) -> str:
        """Return the question with its translations and keywords, as the assistant is set (10.4)."""
        settings = ask.chat.prompt_config
        named = settings.get("cross_languages")
        languages = (
            [each for each in named if isinstance(each, str) and each.strip()] if isinstance(named, list) else []
        )
        wants_keywords = settings.get("keyword") is True
        if not languages and not wants_keywords:
            return question
        calls: list[ModelCall] = []
        with draft.step("rephrase"):
            try:
                return await rephrased(
                    question,
                    languages=languages[:LANGUAGES_MOST],
                    wants_keywords=wants_keywords,
                    model=ask.model,
                    calls=calls,
                    deadline_s=min(deadline_s, asyncio.get_running_loop().time() + _REPHRASE_S),
                    keeps_question=True,
                )
            finally:
                for call in calls:
                    draft.spent(call)

    async def _helper(
        self, model: ChatModel, prompt: str, options: GenerationOptions, draft: Draft, *, deadline_s: float
    ) -> str:
        calls: list[ModelCall] = []
        messages = [ChatMessage(role="user", content=prompt)]
        try:
            return await ask_text(model, messages, options, purpose="refine", calls=calls, deadline_s=deadline_s)
        finally:
            for call in calls:
                draft.spent(call)

    async def _search(self, ask: Ask, question: str, draft: Draft) -> tuple[list[Reference], int]:
        request = SearchRequest(
            question=question,
            dataset_ids=ask.dataset_ids,
            document_ids=ask.document_ids,
            page_size=ask.chat.top_n,
            similarity_threshold=ask.chat.similarity_threshold,
            vector_similarity_weight=ask.chat.vector_similarity_weight,
            top_k=ask.chat.top_k,
            rerank_id=ask.chat.rerank_id or None,
            metadata_condition=ask.metadata_condition,
            use_kg=ask.chat.prompt_config.get("use_kg") is True,
            toc_enhance=ask.chat.prompt_config.get("toc_enhance") is True,
            chat_model=ask.chat.llm_id,
        )
        with draft.step("retrieve"):
            result = await self._searcher.search(ask.tenant_id, request)
            references = [hit.reference for hit in result.hits]
            if result.graph is not None:
                references.insert(0, result.graph.reference())
            fit = partial(keep_within, references, ask.model.context_tokens, self._counter)
            kept = await to_thread.run_sync(fit)
        for call in result.calls:
            draft.spent(call)
        return kept, result.total

    async def _quote(
        self,
        ask: Ask,
        embedding: EmbeddingModel,
        question: str,
        kept: Sequence[Reference],
        total: int,
        draft: Draft,
        *,
        deadline_s: float,
    ) -> None:
        """Answer with sentences of what was found; with none near enough, as if nothing had been."""
        with draft.step("model"):
            quotes = await find_quotes(question, kept, embedding, draft, deadline_s=deadline_s)
        _show(ask, kept if quotes else (), total if quotes else 0, draft)
        if quotes:
            write_quotes(quotes, draft, has_markers=ask.is_quoting)
        else:
            draft.add([TextPiece(ask.empty_response or NOTHING_NEAR)])

    async def _ask_model(
        self,
        ask: Ask,
        history: Sequence[ChatMessage],
        kept: Sequence[Reference],
        draft: Draft,
        *,
        deadline_s: float,
    ) -> None:
        system = system_text(ask.system, kept, is_quoting=ask.is_quoting)
        build = partial(build_prompt, system, history, ask.question, ask.model.context_tokens, self._counter)
        is_small = len(system) + len(ask.question) < _SMALL_CHARS and not history
        prompt = build() if is_small else await to_thread.run_sync(build)
        options = _bounded(ask.options, ask.model.context_tokens, prompt.tokens)
        draft.asked(ask.model, prompt.messages)
        begun = time.perf_counter()
        with draft.step("model"):
            async with aclosing(ask.model.stream(prompt.messages, options, deadline_s=deadline_s)) as stream:
                async for batch in stream:
                    pieces: list[TextPiece | ReasoningPiece] = []
                    for item in batch:
                        match item:
                            case ModelText():
                                pieces.append(TextPiece(item.text))
                            case ModelReasoning():
                                pieces.append(ReasoningPiece(item.text))
                            case ModelFinish():
                                draft.finish_reason = FinishReason(item.reason)
                            case ModelUsage():
                                draft.spent(_call("answer", item, begun))
                    for begin in range(0, len(pieces), AT_ONCE):
                        draft.add(pieces[begin : begin + AT_ONCE])
                        await draft.room()


NOTHING_NEAR = "Nothing in the documents is close enough to this question to be quoted."
_SMALL_CHARS = 8000


def _show(ask: Ask, kept: Sequence[Reference], total: int, draft: Draft) -> None:
    """Tell followers what the answer may rest on, if the caller and the assistant want to show it (10.7 step 10)."""
    if ask.is_quoting:
        draft.found(kept, total)


def _call(purpose: str, item: ModelUsage, begun: float) -> ModelCall:
    return ModelCall(
        kind="chat",
        purpose=purpose,
        model=item.model,
        provider=item.provider,
        attempt=item.attempt,
        usage=item.usage,
        duration_ms=(time.perf_counter() - begun) * 1000,
    )


def _bounded(options: GenerationOptions, context_tokens: int | None, used: int | None) -> GenerationOptions:
    """Cap `max_tokens` to what the context leaves, where both are known (10.8)."""
    if context_tokens is None or used is None or options.max_tokens is None:
        return options
    return replace(options, max_tokens=max(1, min(options.max_tokens, context_tokens - used)))
