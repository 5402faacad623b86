"""Thinking before answering: rounds of thought, queries, retrieval and notes (conversations.md 10.9)."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from app.domain.errors import UpstreamFailed
from app.domain.events import ReasoningPiece
from app.domain.models import ChatMessage, GenerationOptions, ModelReasoning, ModelText, ModelUsage
from app.domain.references import Reference
from app.engine.ask import Ask
from app.engine.draft import Draft
from app.engine.finding import Finder, Findings, Measure
from app.llm.asking import chat_call
from app.retrieval.delimiting import DATA_NOTICE, as_data
from app.retrieval.knowledge import KnowledgeChunk, render_knowledge

log = structlog.get_logger()

ROUNDS = {1: 2, 2: 4, 3: 6, 4: 6}
"""How many rounds each degree of reasoning has."""

MEASURE = Measure(similarity_threshold=0.2, vector_similarity_weight=0.3)

_QUERIES_MOST = 3
_QUERY_CHARS = 300
_SHARE = 0.5  # of the time that is left; the answer needs the rest
_CALL_S = 60.0
_TOKENS = 700
_NOTHING = "NOTHING"
_QUERY = re.compile(r"^[\s>*-]*SEARCH\s*:\s*(.+?)\s*$", re.MULTILINE)

_THINK = """\
You prepare the answer to a question by searching a collection of documents, step by step. Write in two or three \
sentences what the notes tell already and what is still missing. Then write up to {most} search queries for what is \
missing, in the language of the question, each on a line of its own that begins with `SEARCH: `. If the notes are \
enough, or the searches made show that there is no more to find, write no such line. Do not answer the question yet.

{notice}

The question:
{question}

The notes so far:
{notes}

Searches made already:
{queries}"""

_EXTRACT = """\
Passages were found for the search below, each with a line `ID: n`. Write down, in a few short statements, what in \
them helps to answer the question, and behind each statement the marker of its passage, as in [ID:3]. Use nothing \
but the passages. If nothing in them helps, write {nothing} and no more.

{notice}

The question:
{question}

The search: {query}

The passages:
{passages}"""


@dataclass(slots=True)
class Research:
    """What was learned: `notes` name the references by their numbers, as `[ID:n]`."""

    notes: str = ""
    references: list[Reference] = field(default_factory=list[Reference])
    total: int = 0
    queries: list[str] = field(default_factory=list[str])

    def found(self) -> Findings:
        """Return everything that was found on the way, in the order of its numbers."""
        return Findings(references=self.references, total=self.total)

    def take(self, found: Findings) -> list[int]:
        """Add what was found; the numbers of all of it, also of what was known."""
        known = {(one.document_id, one.content): number for number, one in enumerate(self.references)}
        numbers: list[int] = []
        for one in found.references:
            number = known.setdefault((one.document_id, one.content), len(self.references))
            if number == len(self.references):
                self.references.append(one)
            numbers.append(number)
        self.total = max(self.total, found.total, len(self.references))
        return numbers


def rounds_of(reasoning: object) -> int:
    """Return how many rounds a setting means: false 0, true 6, a degree from 1 to 4 its own; anything else none."""
    if isinstance(reasoning, bool):
        return ROUNDS[4] if reasoning else 0
    return ROUNDS.get(reasoning, 0) if isinstance(reasoning, int) else 0


class Researcher:
    """Thinks about questions; what it thinks is shown as the turn's reasoning."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    async def research(self, ask: Ask, question: str, draft: Draft, *, deadline_s: float) -> Research:
        """Return what could be learned in the ask's rounds and in half of the time that is left.

        A failing model, or a failing search, ends it with what there is.
        """
        research = Research()
        now = asyncio.get_running_loop().time()
        until_s = now + (deadline_s - now) * _SHARE
        with draft.step("research"):
            try:
                for _ in range(ask.research_rounds):
                    if asyncio.get_running_loop().time() >= until_s or not await self._round(
                        ask, question, research, draft, until_s
                    ):
                        break
            except UpstreamFailed as error:
                log.warning("research_stopped", error=error.kind, queries=len(research.queries))
        return research

    async def _round(self, ask: Ask, question: str, research: Research, draft: Draft, until_s: float) -> bool:
        """Think, search, note; false when there is nothing more to search for."""
        prompt = _THINK.format(
            most=_QUERIES_MOST,
            notice=DATA_NOTICE,
            question=as_data(question),
            notes=as_data(research.notes or "none yet"),
            queries="\n".join(research.queries) or "none yet",
        )
        thought = await self._said(ask, prompt, "think", draft, until_s)
        queries = _new_queries(thought, research.queries)
        if not queries and not research.queries:
            queries = [" ".join(question.split())[:_QUERY_CHARS]]
        for query in queries:
            research.queries.append(query)
            found = await self._finder.find(ask, query, draft, deadline_s=until_s, measure=MEASURE)
            numbers = research.take(found)
            if numbers:
                await self._note(ask, question, query, numbers, research, draft, until_s)
        return bool(queries)

    async def _note(
        self,
        ask: Ask,
        question: str,
        query: str,
        numbers: Sequence[int],
        research: Research,
        draft: Draft,
        until_s: float,
    ) -> None:
        passages = research.found().passages()
        shown: list[KnowledgeChunk] = [passages[number] for number in numbers]
        prompt = _EXTRACT.format(
            nothing=_NOTHING,
            notice=DATA_NOTICE,
            question=as_data(question),
            query=query,
            passages=as_data(render_knowledge(shown, numbers)),
        )
        note = await self._said(ask, prompt, "extract", draft, until_s)
        if note and not note.upper().startswith(_NOTHING):
            research.notes = f"{research.notes}\n\n{note}".lstrip()

    async def _said(self, ask: Ask, prompt: str, purpose: str, draft: Draft, until_s: float) -> str:
        """Return what the model says; it is shown as it comes."""
        begun = time.perf_counter()
        text: list[str] = []
        options = GenerationOptions(temperature=0.3, max_tokens=_TOKENS)
        by_s = min(until_s, asyncio.get_running_loop().time() + _CALL_S)
        messages = [ChatMessage(role="user", content=prompt)]
        async with aclosing(ask.model.stream(messages, options, deadline_s=by_s)) as stream:
            async for batch in stream:
                pieces: list[ReasoningPiece] = []
                for item in batch:
                    match item:
                        case ModelText():
                            text.append(item.text)
                            pieces.append(ReasoningPiece(item.text))
                        case ModelReasoning():
                            pieces.append(ReasoningPiece(item.text))
                        case ModelUsage():
                            draft.spent(chat_call(purpose, item, begun))
                        case _:
                            pass
                await draft.write(pieces)
        if text:
            draft.add([ReasoningPiece("\n\n")])
        return "".join(text).strip()


def _new_queries(thought: str, made: Sequence[str]) -> list[str]:
    known = {query.casefold() for query in made}
    found: list[str] = []
    for query in _QUERY.findall(thought):
        query = " ".join(query.strip("`\"' ").split())[:_QUERY_CHARS]
        if query and query.casefold() not in known:
            known.add(query.casefold())
            found.append(query)
    return found[:_QUERIES_MOST]
