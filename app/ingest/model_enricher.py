"""Chunks enriched by models and tag datasets, as the parser config asks (knowledge.md 5.10, 5.12)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread

from app.domain.contents import ContentsEntry
from app.domain.datasets import Document, NewChunk
from app.domain.documents import ParsedDocument, ParseFailed
from app.ingest import keywords, metadata_fields, questions, tagging, toc, vision
from app.ingest.answers import distinct
from app.ingest.asking import Asker
from app.ingest.cutting import cut
from app.ingest.enriching import EnrichedChunk, Report, told
from app.ingest.methods.general import is_enough
from app.ingest.several import each
from app.ingest.transcribing import named_layout, transcribed
from app.llm.base import ChatModel, TokenCounter
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.retrieval.tags import TagSource, tag_dataset_ids, tag_source, topn_of
from repositories.unit_of_work import Database

ASKED_AT_ONCE = 4
_ENGLISH = "English"
_BESIDE_TEXT = 2048  # tokens of a prompt, its answer and the thinking before it, beside the text
_CONTEXT = 8192  # tokens, where the catalogue does not say

Step = Callable[[Document, list[EnrichedChunk], Report], Awaitable[list[EnrichedChunk]]]


class ModelEnricher:
    """An `Enricher` that asks models: the chat model of the config's `llm_id`, else the default; for pictures the
    default vision model. Answers are kept and charged as they come (see `Asker`).
    """

    def __init__(self, database: Database, catalogue: ModelCatalogue, tokens: TokenCounter) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tokens = tokens

    def reads_pages(self, document: Document) -> bool:
        """Tell whether `layout_recognize` names a vision model that can be asked."""
        return self._layout_model(document) is not None

    async def read(self, document: Document, parsed: ParsedDocument, *, report: Report) -> ParsedDocument:
        """Let the vision model that `layout_recognize` names write the pages down. See `Enricher`."""
        layout, model = named_layout(document), self._layout_model(document)
        if model is not None:
            asker = Asker(self._database, model, document.tenant_id, purpose="vision")
            keeps_pictures = document.chunk_method == "presentation"
            return await transcribed(parsed, asker, keeps_pictures=keeps_pictures, report=report)
        if layout is not None:
            await report(1.0, f"{layout} is no layout of this service and no vision model of it: DeepDOC was taken.")
        return parsed

    def _layout_model(self, document: Document) -> ChatModel | None:
        layout = named_layout(document)
        try:
            return self._catalogue.vision(layout) if layout is not None else None
        except (ModelUnknown, ModelUnusable):
            return None

    async def enrich(self, document: Document, chunks: list[EnrichedChunk], *, report: Report) -> list[EnrichedChunk]:
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
        texts, groups = await anyio.to_thread.run_sync(self._grouped, asker, chunks, abandon_on_cancel=True)

        async def headings(group: list[int]) -> list[toc.Heading]:
            return toc.read_headings(
                await asker.ask_with_room(toc.headings_prompt(texts, group)), group, self._tokens.count
            )

        found = await each(groups, told(headings, "Reading headings", len(groups), report), at_once=ASKED_AT_ONCE)
        named = [heading for group in found for heading in group]
        levels: list[int] = []
        for batch in toc.heading_batches(named):
            levels += toc.read_levels(await asker.ask_with_room(toc.levels_prompt(batch)), len(batch))
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
        values = metadata_fields.read_values(
            await asker.ask_with_room(metadata_fields.metadata_prompt(text, fields)), fields
        )
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
            return vision.with_description(chunk, await asker.ask_with_room(prompt))

        work = told(described, "Describing pictures", len(wanted), report)
        made = await each(wanted, work, at_once=ASKED_AT_ONCE)
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
            return (
                keywords.read_keywords(await asker.ask_with_room(keywords.keyword_prompt(text, most)), most)
                if text
                else []
            )

        work = told(found, "Finding keywords", len(chunks), report)
        answers = await each(chunks, work, at_once=ASKED_AT_ONCE)
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
            return questions.read_questions(await asker.ask_with_room(prompt), most) if text else []

        work = told(found, "Writing questions", len(chunks), report)
        answers = await each(chunks, work, at_once=ASKED_AT_ONCE)
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
            return tagging.read_tags(await asker.ask_with_room(prompt), source.counts, topn) if text else {}

        asked = [at for at, tags in enumerate(counted) if not tags]
        work = told(chosen, "Choosing tags", len(asked), report)
        answers = dict(zip(asked, await each(asked, work, at_once=ASKED_AT_ONCE), strict=True))
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

    def _grouped(self, asker: Asker, chunks: Sequence[NewChunk]) -> tuple[list[str], list[list[int]]]:
        """Return the chunks' texts, and which of them are asked about together. Blocking."""
        texts = [self._fitting(chunk.content, asker) for chunk in chunks]
        return texts, toc.chunk_groups(texts, self._tokens.count)

    async def _language(self, document: Document) -> str:
        async with self._database.unit(document.tenant_id) as unit:
            dataset = await unit.datasets.get(document.dataset_id)
        return dataset.language if dataset is not None else _ENGLISH


def _count(config: Mapping[str, Any], key: str, most: int) -> int:
    """Return how many are asked for; document-level configs are not validated (knowledge.md 2.2), so look twice."""
    sent = config.get(key)
    return min(sent, most) if isinstance(sent, int) and not isinstance(sent, bool) and sent > 0 else 0


async def _tell_gaps(what: str, answers: Sequence[object], report: Report) -> None:
    """Say so when the model had nothing usable to say about some chunks."""
    if without := sum(not answer for answer in answers):
        await report(1.0, f"No {what} for {without} of {len(answers)} chunks: the model's answers held none.")
