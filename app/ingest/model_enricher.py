"""Chunks enriched by models and tag datasets, as the parser config asks (knowledge.md 5.10, 5.12)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from app.domain.contents import ContentsEntry
from app.domain.datasets import Document, NewChunk
from app.domain.documents import ParseFailed
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.retrieval import ModelCall
from app.ingest import keywords, metadata_fields, questions, tagging, toc, vision
from app.ingest.answers import distinct
from app.ingest.asking import Asker
from app.ingest.cutting import cut
from app.ingest.enriching import EnrichedChunk, Report
from app.ingest.methods.general import is_enough
from app.ingest.several import each
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.retrieval.tags import TagSource, tag_dataset_ids, tag_source, topn_of
from repositories.unit_of_work import Database

T = TypeVar("T")

ASKED_AT_ONCE = 4
_ENGLISH = "English"
_REPORTS = 10  # of one step at most
_BESIDE_TEXT = 2048  # tokens of a prompt, its answer and the thinking before it, beside the text
_THINKING = 1024  # tokens that a model may think
_SMALL_CONTEXT = 4096  # tokens; models with less do not think
_CONTEXT = 8192  # tokens, where the catalogue does not say

Prompt = tuple[list[ChatMessage], GenerationOptions]
Step = Callable[[Document, list[EnrichedChunk], Report], Awaitable[list[EnrichedChunk]]]


class ModelEnricher:
    """An `Enricher` that asks models: the chat model of the config's `llm_id`, else the default; for pictures the
    default vision model. Answers are kept and charged as they come (see `Asker`), so `calls` stays as it is.
    """

    def __init__(self, database: Database, catalogue: ModelCatalogue, tokens: TokenCounter) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tokens = tokens

    async def enrich(
        self,
        document: Document,
        chunks: list[EnrichedChunk],
        *,
        report: Report,
        calls: list[ModelCall],  # noqa: ARG002 - the asker charges
    ) -> list[EnrichedChunk]:
        """Return the chunks with descriptions of pictures, keywords, questions and tags, in that order.

        Raises:
            ParseFailed: a picture can be neither read nor described.
            ModelUnknown: no model can be asked; or ModelUnusable.
            UpstreamFailed: a model could not answer.
        """
        steps = self._steps(document, chunks)
        for at, step in enumerate(steps):

            async def share(done: float, text: str, at: int = at) -> None:
                await report((at + done) / len(steps), text)

            chunks = await step(document, chunks, share)
        return chunks

    async def contents(
        self, document: Document, chunks: Sequence[NewChunk], *, report: Report
    ) -> list[ContentsEntry] | None:
        """Return the table of contents; only of naive documents, and where `toc_extraction` is set. See `Enricher`."""
        if document.chunk_method != "naive" or document.parser_config.get("toc_extraction") is not True:
            return None
        asker = self._asker(document, "toc")
        texts = [self._fitting(chunk.content, asker) for chunk in chunks]

        async def headings(group: list[int]) -> list[toc.Heading]:
            return toc.read_headings(await _ask(asker, toc.headings_prompt(texts, group)), group, self._tokens.count)

        groups = toc.chunk_groups(texts, self._tokens.count)
        found = await each(groups, _told(headings, "Reading headings", len(groups), report), at_once=ASKED_AT_ONCE)
        named = [heading for group in found for heading in group]
        levels: list[int] = []
        for batch in toc.heading_batches(named):
            levels += toc.read_levels(await _ask(asker, toc.levels_prompt(batch)), len(batch))
        await report(1.0, f"The table of contents has {len(named)} headings.")
        return toc.contents(named, levels, [chunk.id for chunk in chunks])

    async def metadata(self, document: Document, chunks: Sequence[NewChunk], *, report: Report) -> Mapping[str, Any]:
        """Ask for the fields of `metadata`, from the beginning of the document on. See `Enricher`."""
        fields = metadata_fields.wanted_fields(document.parser_config)
        if not fields:
            return {}
        asker = self._asker(document, "metadata")
        text = await anyio.to_thread.run_sync(
            self._fitting, "\n\n".join(chunk.content for chunk in chunks), asker, abandon_on_cancel=True
        )
        values = metadata_fields.read_values(await _ask(asker, metadata_fields.metadata_prompt(text, fields)), fields)
        await report(1.0, f"Metadata: {len(values)} of {len(fields)} fields were found.")
        return values

    def _steps(self, document: Document, chunks: Sequence[EnrichedChunk]) -> list[Step]:
        config = document.parser_config
        steps: list[Step] = []
        if any(chunk.picture is not None for chunk in chunks):
            steps.append(self._describe)
        if _count(config, "auto_keywords", keywords.MOST):
            steps.append(self._add_keywords)
        if _count(config, "auto_questions", questions.MOST):
            steps.append(self._add_questions)
        if tag_dataset_ids(config):
            steps.append(self._add_tags)
        return steps

    async def _describe(self, document: Document, chunks: list[EnrichedChunk], report: Report) -> list[EnrichedChunk]:
        """A picture of a document of the method `picture` must become text; others need only where they hold none."""
        is_picture = document.chunk_method == "picture"
        language = await self._language(document)
        is_english = language.strip().lower() == _ENGLISH.lower()
        wanted = [
            at
            for at, chunk in enumerate(chunks)
            if chunk.picture is not None
            and (
                not is_enough(chunk.raw.content, is_english=is_english) if is_picture else not chunk.raw.content.strip()
            )
        ]
        if not wanted:
            return chunks
        if not self._catalogue.entries("vision", is_usable=True):
            if is_picture and any(not chunks[at].raw.content.strip() for at in wanted):
                raise ParseFailed(vision.UNREADABLE.format(name=document.name))
            return chunks
        asker = Asker(self._database, self._catalogue.vision(), document.tenant_id, purpose="vision")

        async def described(at: int) -> EnrichedChunk:
            chunk = chunks[at]
            assert chunk.picture is not None  # noqa: S101 (chosen by it)
            prompt = vision.vision_prompt(chunk.picture, chunk.raw.content, language)
            return vision.with_description(chunk, await _ask(asker, prompt))

        told = _told(described, "Describing pictures", len(wanted), report)
        made = await each(wanted, told, at_once=ASKED_AT_ONCE)
        if is_picture and any(not chunk.raw.content.strip() for chunk in made):
            raise ParseFailed(f"The vision model {asker.model_name} had nothing to say about {document.name}.")
        by_place = dict(zip(wanted, made, strict=True))
        return [by_place.get(at, chunk) for at, chunk in enumerate(chunks)]

    async def _add_keywords(
        self, document: Document, chunks: list[EnrichedChunk], report: Report
    ) -> list[EnrichedChunk]:
        most = _count(document.parser_config, "auto_keywords", keywords.MOST)
        asker = self._asker(document, "keywords")

        async def found(chunk: EnrichedChunk) -> list[str]:
            text = self._fitting(chunk.raw.content, asker)
            return keywords.read_keywords(await _ask(asker, keywords.keyword_prompt(text, most)), most) if text else []

        told = _told(found, "Finding keywords", len(chunks), report)
        answers = await each(chunks, told, at_once=ASKED_AT_ONCE)
        await _tell_gaps("keywords", answers, report)
        return [
            replace(chunk, important_keywords=tuple(distinct(answer, chunk.important_keywords)))
            for chunk, answer in zip(chunks, answers, strict=True)
        ]

    async def _add_questions(
        self, document: Document, chunks: list[EnrichedChunk], report: Report
    ) -> list[EnrichedChunk]:
        most = _count(document.parser_config, "auto_questions", questions.MOST)
        asker = self._asker(document, "questions")

        async def found(chunk: EnrichedChunk) -> list[str]:
            text = self._fitting(chunk.raw.content, asker)
            prompt = questions.question_prompt(text, most)
            return questions.read_questions(await _ask(asker, prompt), most) if text else []

        told = _told(found, "Writing questions", len(chunks), report)
        answers = await each(chunks, told, at_once=ASKED_AT_ONCE)
        await _tell_gaps("questions", answers, report)
        return [
            replace(chunk, questions=tuple(distinct(answer, chunk.questions)))
            for chunk, answer in zip(chunks, answers, strict=True)
        ]

    async def _add_tags(self, document: Document, chunks: list[EnrichedChunk], report: Report) -> list[EnrichedChunk]:
        """By statistics where they know any, else by the model, which sees what statistics gave others."""
        topn = topn_of(document.parser_config)
        async with self._database.unit(document.tenant_id) as unit:
            source = await tag_source(unit, tag_dataset_ids(document.parser_config))
        if source is None:
            await report(1.0, "The tag datasets hold no tags: no chunk was tagged.")
            return chunks
        counted = [await self._counted(document, chunk, source, topn) for chunk in chunks]
        examples = [(chunk.raw.content, tags) for chunk, tags in zip(chunks, counted, strict=True) if tags][
            : tagging.EXAMPLES_MOST
        ]
        asker = self._asker(document, "tags")

        async def chosen(at: int) -> dict[str, float]:
            text = self._fitting(chunks[at].raw.content, asker)
            prompt = tagging.tag_prompt(text, source.counts, examples, topn)
            return tagging.read_tags(await _ask(asker, prompt), source.counts, topn) if text else {}

        asked = [at for at, tags in enumerate(counted) if not tags]
        told = _told(chosen, "Choosing tags", len(asked), report)
        answers = dict(zip(asked, await each(asked, told, at_once=ASKED_AT_ONCE), strict=True))
        tagged = [answers.get(at, tags) for at, tags in enumerate(counted)]
        await _tell_gaps("tags", tagged, report)
        return [replace(chunk, tag_weights=tags) for chunk, tags in zip(chunks, tagged, strict=True)]

    async def _counted(
        self, document: Document, chunk: EnrichedChunk, source: TagSource, topn: int
    ) -> dict[str, float]:
        async with self._database.unit(document.tenant_id) as unit:
            return await source.scores(unit, chunk.raw.content, chunk.important_keywords, topn=topn)

    def _asker(self, document: Document, purpose: str) -> Asker:
        wanted = document.parser_config.get("llm_id")
        model = self._catalogue.chat(wanted if isinstance(wanted, str) and wanted else None)
        return Asker(self._database, model, document.tenant_id, purpose=purpose)

    def _fitting(self, text: str, asker: Asker) -> str:
        """Return as much of the beginning of `text` as the model has room for."""
        window = asker.context_tokens or _CONTEXT
        limit = max(window // 4, window - _BESIDE_TEXT)
        if len(text) <= limit or self._tokens.count(text) <= limit:  # no token is shorter than a character
            return text
        return cut(text, limit, self._tokens.count)[0]

    async def _language(self, document: Document) -> str:
        async with self._database.unit(document.tenant_id) as unit:
            dataset = await unit.datasets.get(document.dataset_id)
        return dataset.language if dataset is not None else _ENGLISH


def _count(config: Mapping[str, Any], key: str, most: int) -> int:
    """Return how many are asked for; document-level configs are not validated (knowledge.md 2.2), so look twice."""
    sent = config.get(key)
    return min(sent, most) if isinstance(sent, int) and not isinstance(sent, bool) and sent > 0 else 0


async def _ask(asker: Asker, prompt: Prompt) -> str:
    """Ask, with room for a model to think before it answers, if its window is not a small one."""
    messages, options = prompt
    if (asker.context_tokens or _CONTEXT) > _SMALL_CONTEXT and options.max_tokens is not None:
        options = replace(options, max_tokens=options.max_tokens + _THINKING)
    return await asker.ask(messages, options)


async def _tell_gaps(what: str, answers: Sequence[object], report: Report) -> None:
    """Say so when the model had nothing usable to say about some chunks."""
    if without := sum(not answer for answer in answers):
        await report(1.0, f"No {what} for {without} of {len(answers)} chunks: the model's answers held none.")


def _told(work: Callable[[T], Awaitable[Any]], doing: str, total: int, report: Report) -> Callable[[T], Awaitable[Any]]:
    """Return `work` that reports how much of it is done, ten times in all at most and one report at a time."""
    done = 0
    turn = anyio.Lock()

    async def told(item: T) -> Any:
        nonlocal done
        result = await work(item)
        async with turn:
            done += 1
            if done * _REPORTS // total > (done - 1) * _REPORTS // total:
                await report(done / total, f"{doing}: {done} of {total}.")
        return result

    return told
