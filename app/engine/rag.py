"""The answerer of chats: shape the query, search, ask the model, place the citations (design.md 3)."""

import time
from collections.abc import AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from anyio import to_thread

from app.domain.events import ReasoningPiece, TextPiece, ToolCallPiece
from app.domain.models import (
    ChatMessage,
    FinishReason,
    GenerationOptions,
    ModelFinish,
    ModelItem,
    ModelReasoning,
    ModelText,
    ModelToolCall,
    ModelUsage,
)
from app.engine.ask import NATIVE, Ask
from app.engine.citing import mend_citations, place_citations
from app.engine.draft import Draft
from app.engine.finding import Finder, Findings, Searcher, WebSearcher
from app.engine.fitting import fitted
from app.engine.prompting import Prompt, build_prompt, counted, might_not_fit, prompt_note, system_text
from app.engine.quoting import find_quotes, write_quotes
from app.engine.research import Researcher
from app.engine.shaping import searched_text, standalone_question
from app.engine.tool_calls import CallSequence
from app.engine.turn_prompt import turn_messages
from app.llm.asking import chat_call
from app.llm.base import EmbeddingModel, TokenCounter
from app.retrieval.rephrasing import BUILTIN


class RagAnswerer:
    """Answers from an assistant's datasets, or with its model alone."""

    def __init__(self, searcher: Searcher, counter: TokenCounter, web: WebSearcher | None = None) -> None:
        self._finder = Finder(searcher, counter, web)
        self._researcher = Researcher(self._finder)
        self._counter = counter

    async def answer(self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> None:
        """Write the answer into `draft` (conversations.md 10)."""
        try:
            await self._answer(ask, history, draft, deadline_s=deadline_s)
        except BaseException:
            mend_citations(ask, draft)  # what was said until now is kept
            raise

    async def _answer(self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> None:
        skin = ask.skin
        if skin.found is not None:
            earlier = Findings(references=skin.found.references, total=skin.found.total or 0)
            await self._write(ask, history, earlier, draft, deadline_s=deadline_s)
            await self._cite(ask, draft, deadline_s=deadline_s)
            return
        if not (ask.is_searching and (ask.dataset_ids or ask.web_key is not None)):
            await self._ask_model(ask, history, _NOTHING, draft, deadline_s=deadline_s)
            return
        question = await standalone_question(ask, history, draft, deadline_s=deadline_s)
        found, notes = await self._found(ask, question, draft, deadline_s=deadline_s)
        if found.references and ask.model.provider == BUILTIN and ask.embedding is not None:
            await self._quote(ask, ask.embedding, question, found, draft, deadline_s=deadline_s)
        else:
            await self._write(ask, history, found, draft, deadline_s=deadline_s, notes=notes)
        await self._cite(ask, draft, deadline_s=deadline_s)

    async def _write(
        self,
        ask: Ask,
        history: Sequence[ChatMessage],
        found: Findings,
        draft: Draft,
        *,
        deadline_s: float,
        notes: str = "",
    ) -> None:
        """Have the model answer from what was found; with nothing found, the assistant's own words for that stand."""
        if not notes:
            found = await fitted(ask, history, found, self._counter)
        _show(ask, found, draft)
        if not found.references and ask.empty_response and ask.skin.is_prose and not ask.skin.has_tools:
            draft.add([TextPiece(ask.empty_response)])
            return
        await self._ask_model(ask, history, found, draft, deadline_s=deadline_s, notes=notes)

    async def _found(self, ask: Ask, question: str, draft: Draft, *, deadline_s: float) -> tuple[Findings, str]:
        """Return what the answer may rest on, and the notes that thinking about it made, if there were any (10.9)."""
        if ask.research_rounds and ask.model.provider != BUILTIN:
            research = await self._researcher.research(ask, question, draft, deadline_s=deadline_s)
            if research.references:
                return await self._finder.within(ask, research.found()), research.notes
        searched = await searched_text(ask, question, draft, deadline_s=deadline_s)
        return await self._finder.find(ask, searched, draft, deadline_s=deadline_s), ""

    async def _cite(self, ask: Ask, draft: Draft, *, deadline_s: float) -> None:
        if draft.references and ask.skin.is_marking:
            with draft.step("cite"):
                await place_citations(ask, draft, deadline_s=deadline_s)

    async def _quote(
        self,
        ask: Ask,
        embedding: EmbeddingModel,
        question: str,
        found: Findings,
        draft: Draft,
        *,
        deadline_s: float,
    ) -> None:
        """Answer with sentences of what was found; with none near enough, as if nothing had been."""
        with draft.step("model"):
            quotes = await find_quotes(question, found.references, embedding, draft, deadline_s=deadline_s)
        _show(ask, found if quotes else _NOTHING, draft)
        if quotes:
            write_quotes(quotes, draft, has_markers=ask.is_quoting)
        else:
            draft.add([TextPiece(ask.empty_response or NOTHING_NEAR)])

    async def _ask_model(
        self,
        ask: Ask,
        history: Sequence[ChatMessage],
        found: Findings,
        draft: Draft,
        *,
        deadline_s: float,
        notes: str = "",
    ) -> None:
        skin = ask.skin
        system = system_text(ask.system, found.passages(), is_quoting=ask.is_quoting and skin.is_marking, notes=notes)
        prompt, options = await self._prompt(ask, system, history)
        draft.asked(ask.model, prompt)
        if ask.keeps_prompt:
            draft.prompt = prompt_note(prompt)
        calls = CallSequence(draft.turn_id, is_single=skin.calls_one) if skin.has_tools else None
        with draft.step("model"):
            async with aclosing(ask.model.stream(prompt, options, deadline_s=deadline_s)) as stream:
                await _write_down(stream, calls, draft)

    async def _prompt(
        self, ask: Ask, system: str, history: Sequence[ChatMessage]
    ) -> tuple[list[ChatMessage], GenerationOptions]:
        """Return what the model is sent; whatever may take long is done in a thread."""
        context_tokens = ask.model.context_tokens
        build = partial(build_prompt, system, history, ask.question, context_tokens, self._counter)
        if ask.skin is not NATIVE:
            build = partial(self._turn_prompt, ask, system, history)
        is_small = len(system) + len(ask.question) < _SMALL_CHARS and not history
        prompt = build() if is_small else await to_thread.run_sync(build)
        used = prompt.tokens
        if used is None and might_not_fit(prompt, context_tokens, ask.options.max_tokens):
            used = await to_thread.run_sync(counted, prompt, self._counter)
        return prompt.messages, _bounded(ask.options, context_tokens, used)

    def _turn_prompt(self, ask: Ask, system: str, history: Sequence[ChatMessage]) -> Prompt:
        """Return what is sent for a turn asked for under `/v1`."""
        skin = ask.skin
        if skin.instructions:
            system = f"{system}\n\n{skin.instructions}".strip()
        messages, tokens = turn_messages(
            system,
            [*history, *skin.before],
            skin.said or (ChatMessage(role="user", content=ask.question),),
            ask.model.context_tokens,
            self._counter,
            is_dropping=ask.session_id is not None,
        )
        return Prompt(messages=messages, tokens=tokens)


_NOTHING = Findings(references=())

NOTHING_NEAR = "Nothing in the documents is close enough to this question to be quoted."
_SMALL_CHARS = 8000


async def _write_down(stream: AsyncIterable[Sequence[ModelItem]], calls: CallSequence | None, draft: Draft) -> None:
    """Put what a model says into `draft`; calls to tools only with `calls`."""
    begun = time.perf_counter()
    async for batch in stream:
        pieces: list[TextPiece | ReasoningPiece] = []
        called: list[ToolCallPiece] = []
        for item in batch:
            match item:
                case ModelText():
                    pieces.append(TextPiece(item.text, item.logprobs, item.is_refusal))
                case ModelToolCall():
                    called += calls.feed(item) if calls is not None else ()
                case ModelReasoning():
                    pieces.append(ReasoningPiece(item.text))
                case ModelFinish():
                    draft.finish_reason = _finish(item.reason, calls)
                    called += calls.flush() if calls is not None else ()
                case ModelUsage():
                    draft.spent(chat_call("answer", item, begun))
        await draft.write(pieces)
        draft.call(called)


def _finish(reason: FinishReason, calls: CallSequence | None) -> FinishReason:
    """Return why the answer ended: by calls only if some were taken (openai.md 3.7)."""
    is_calling = calls is not None and calls.has_begun
    return FinishReason.STOP if reason is FinishReason.TOOL_CALLS and not is_calling else reason


def _show(ask: Ask, found: Findings, draft: Draft) -> None:
    """Tell followers what the answer may rest on, if the caller and the assistant want to show it (10.7 step 10)."""
    if ask.is_quoting:
        draft.found(found.references, found.total)


def _bounded(options: GenerationOptions, context_tokens: int | None, used: int | None) -> GenerationOptions:
    """Cap `max_tokens` to what the context leaves, where both are known (10.8)."""
    if context_tokens is None or used is None or options.max_tokens is None:
        return options
    return replace(options, max_tokens=max(1, min(options.max_tokens, context_tokens - used)))
