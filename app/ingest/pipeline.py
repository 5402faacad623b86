"""From a stored file to sections and chunks ready to be searched (knowledge.md 5.1).

Parse, cut by the document's chunk method, enrich, embed, index. Parsing happens in a child process, cutting and
indexing in a thread: the event loop stays free for heartbeats. Nothing here writes to the database.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from app.domain.contents import ContentsEntry
from app.domain.datasets import Document, NewChunk, StoredSection
from app.domain.documents import ParsedDocument, ParseFailed, RawChunk
from app.domain.retrieval import ModelCall
from app.ingest.blobs import BlobStore
from app.ingest.chunking import chunk_id, distinct_chunks
from app.ingest.embedding import ChunkEmbedder, embedded_text, name_share
from app.ingest.enriching import EnrichedChunk, Enricher, PlainEnricher, Report
from app.ingest.indexing import index_chunks
from app.ingest.linked_pages import linked_pages
from app.ingest.metadata_fields import built_in
from app.ingest.methods.attachments import with_attachments
from app.ingest.methods.base import Cut, Source
from app.ingest.methods.registry import Method, check_file, hints_of, method_of, page_steps
from app.ingest.outline import outline
from app.ingest.parser_config import CutSettings, read_settings
from app.ingest.picture_store import Announce, PictureStore
from app.ingest.sandbox import SandboxLimits, parse_in_child
from app.ingest.section_ids import stored_sections
from app.llm.base import EmbeddingModel, TokenCounter
from app.net.pages import PageFetcher

__all__ = ["Announce", "Built", "Pipeline", "PipelineConfig", "Report"]

_PARSED, _CUT, _ENRICHED, _EMBEDDED = 0.2, 0.3, 0.5, 0.9  # how far each step gets
_MOST_NOTES = 50
_INDEXED_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """What one document may cost. Times in seconds; `embed_tokens` is how much of a text a model is sent."""

    sandbox: SandboxLimits = field(default_factory=SandboxLimits)
    max_chunks: int = 20_000
    max_picture_bytes: int = 256 * 1024**2
    cut_s: float = 600.0
    embed_batch: int = 64
    embed_tokens: int = 8182
    embed_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A document as it will be stored; its pictures are stored already.

    `thumbnail` is the document's new thumbnail, empty for none. `field_map` belongs into the dataset's parser config
    when it is not empty (knowledge.md 5.7). `metadata` was read by a model and gives way to what the document has
    already; `built_in` does not.
    """

    sections: list[StoredSection]
    chunks: list[NewChunk]
    thumbnail: str = ""
    field_map: Mapping[str, str] = field(default_factory=dict[str, str])
    contents: list[ContentsEntry] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    built_in: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class _CutFile:
    sections: list[StoredSection]
    chunks: list[RawChunk]
    cut: Cut


class Pipeline:
    """Builds what is stored of a document. `announce` is told of pictures before their bytes are written; `pages`
    fetches what documents link to, and without it links are not followed.
    """

    def __init__(
        self,
        *,
        blobs: BlobStore,
        tokens: TokenCounter,
        config: PipelineConfig | None = None,
        enricher: Enricher | None = None,
        announce: Announce | None = None,
        pages: PageFetcher | None = None,
    ) -> None:
        self._blobs = blobs
        self._pages = pages
        self._pictures = PictureStore(blobs, announce)
        self._tokens = tokens
        self._config = config or PipelineConfig()
        self._enricher = enricher or PlainEnricher()

    async def build(
        self,
        document: Document,
        model: EmbeddingModel,
        *,
        old_sections: Sequence[StoredSection],
        report: Report,
        calls: list[ModelCall],
        language: str = "English",
    ) -> Built:
        """Read, cut, enrich, embed and index `document`; calls of `model` are added to `calls` as they are made.

        `language` is the dataset's; it chooses labels and separators (knowledge.md 5.1).

        Raises:
            ParseFailed: it cannot be read, or is too large; the message is for its owner.
            UpstreamFailed: a model could not answer.
        """
        method = method_of(document.chunk_method)
        settings = read_settings(method.name, document.parser_config)
        check_file(method, document.name)
        parsed = await self._parse(document, method, settings, report)
        thumbnail = await self._pictures.keep_thumbnail(document, parsed.thumbnail)
        made = await self._cut_in_time(document, parsed, method, settings, old_sections, language)
        await _tell(made.cut.notes, report, _PARSED)
        if not made.chunks:
            return Built(sections=made.sections, chunks=[], thumbnail=thumbnail, built_in=built_in(document))
        await report(_CUT, f"Generate {len(made.chunks)} chunks.")
        enriched = await self._enrich(document, made.chunks, parsed, report)
        embedder = ChunkEmbedder(
            model,
            calls,
            batch=self._config.embed_batch,
            timeout_s=self._config.embed_timeout_s,
            tokens=self._tokens,
            most_tokens=self._config.embed_tokens,
        )
        vectors = await _embed(document, embedder, enriched, report)
        chunks = await self._index(document, made.sections, enriched, vectors)
        await self._pictures.keep(document, chunks, enriched)
        tell = partial(_steady, report, _EMBEDDED)
        contents = await self._enricher.contents(document, chunks, report=tell)
        metadata = await self._enricher.metadata(document, chunks, report=tell)
        return Built(
            sections=made.sections,
            chunks=chunks,
            thumbnail=thumbnail,
            field_map=made.cut.field_map,
            contents=contents,
            metadata=metadata,
            built_in=built_in(document),
        )

    async def _parse(self, document: Document, method: Method, settings: CutSettings, report: Report) -> ParsedDocument:
        parsed = ParsedDocument()
        if document.size_bytes:
            async with self._blobs.as_file(document.blob_key) as file:
                hints = hints_of(method, settings)
                if self._enricher.reads_pages(document):
                    hints = replace(hints, layout="Plain Text", page_pictures=True)
                parsed = await parse_in_child(file, document.name, self._config.sandbox, hints)
            parsed = await self._enricher.read(document, parsed, report=partial(_steady, report, _PARSED))
        if method.takes_attachments:
            parsed = with_attachments(await self._with_linked(parsed))
        elif parsed.attachments:
            names = ", ".join(attached.name for attached in parsed.attachments)
            parsed = replace(parsed, notes=(*parsed.notes, f"Left out by this chunk method: {names}."))
        blocks = tuple(block for block in parsed.blocks if block.page is None or settings.has_page(block.page))
        parsed = replace(parsed, blocks=blocks)
        rows = sum(len(block.rows) for block in blocks)
        steps = page_steps(method, settings, document.name, pages=parsed.pages, rows=rows)
        await _tell([f"Page({first}~{end}): Parsing done." for first, end in steps], report, _PARSED)
        await _tell(parsed.notes, report, _PARSED)
        await report(_PARSED, f"Parsing done: {len(blocks)} blocks.")
        return parsed

    async def _with_linked(self, parsed: ParsedDocument) -> ParsedDocument:
        """Links are there where the parser config asks for the pages behind them."""
        if not parsed.links or self._pages is None:
            return parsed
        linked, notes = await linked_pages(parsed.links, self._pages, self._config.sandbox)
        return replace(parsed, attachments=(*parsed.attachments, *linked), notes=(*parsed.notes, *notes))

    async def _cut_in_time(
        self,
        document: Document,
        parsed: ParsedDocument,
        method: Method,
        settings: CutSettings,
        old_sections: Sequence[StoredSection],
        language: str,
    ) -> _CutFile:
        """A file that takes too long fails, and the next one is taken up; its thread ends when it ends."""
        is_english = language.strip().lower() == "english"
        work = partial(self._cut, document, parsed, method, settings, old_sections, is_english=is_english)
        made: _CutFile | None = None
        with anyio.move_on_after(self._config.cut_s):
            made = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        if made is None:
            raise ParseFailed(f"{document.name} took longer than {self._config.cut_s:g} s to cut and was given up.")
        if len(made.chunks) > self._config.max_chunks:
            raise ParseFailed(
                f"{document.name} makes {len(made.chunks)} chunks; at most {self._config.max_chunks} are taken in. "
                "Raise `chunk_token_num` or split the file."
            )
        return made

    def _cut(
        self,
        document: Document,
        parsed: ParsedDocument,
        method: Method,
        settings: CutSettings,
        old_sections: Sequence[StoredSection],
        *,
        is_english: bool,
    ) -> _CutFile:
        outlined = outline(parsed, document.name)
        source = Source(
            document=parsed,
            filename=document.name,
            sections=outlined,
            settings=settings,
            count=self._tokens.count,
            is_english=is_english,
        )
        cut = method.cut(source)
        return _CutFile(stored_sections(outlined, old_sections), distinct_chunks(cut.chunks, document.id), cut)

    async def _enrich(
        self, document: Document, chunks: Sequence[RawChunk], parsed: ParsedDocument, report: Report
    ) -> list[EnrichedChunk]:
        """What is blank afterwards was a picture that nobody could read or describe: it is dropped."""

        async def share(done: float, text: str) -> None:
            await report(_CUT + (_ENRICHED - _CUT) * max(0.0, min(1.0, done)), text)

        bare = [EnrichedChunk.of(chunk, parsed.pictures) for chunk in chunks]
        enriched = await self._enricher.enrich(document, bare, report=share)
        kept = [chunk for chunk in enriched if chunk.raw.content.strip()]
        if blank := len(enriched) - len(kept):
            await report(_ENRICHED, f"{blank} pictures hold no text that could be read, and no model described them.")
        distinct = {chunk_id(chunk.raw.content, document.id): chunk for chunk in reversed(kept)}
        return sorted(distinct.values(), key=lambda chunk: chunk.raw.ordinal)

    async def _index(
        self,
        document: Document,
        sections: Sequence[StoredSection],
        chunks: Sequence[EnrichedChunk],
        vectors: Sequence[Sequence[float]],
    ) -> list[NewChunk]:
        """In short turns, so that nothing else in the process waits for long."""
        made: list[NewChunk] = []
        for start in range(0, len(chunks), _INDEXED_AT_ONCE):
            end = start + _INDEXED_AT_ONCE
            work = partial(index_chunks, document, sections, chunks[start:end], vectors[start:end], self._tokens)
            made += await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        return made


async def _embed(
    document: Document, embedder: ChunkEmbedder, chunks: Sequence[EnrichedChunk], report: Report
) -> list[list[float]]:
    texts = await anyio.to_thread.run_sync(_embedded_texts, chunks, abandon_on_cancel=True)
    started = time.monotonic()

    async def on_batch(done: int) -> None:
        if done < len(texts):
            so_far = _ENRICHED + (_EMBEDDED - _ENRICHED) * done / len(texts)
            await report(so_far, f"Embedding chunks: {done} of {len(texts)}.")

    share = name_share(document.parser_config)
    vectors = await embedder.embed(document.name, texts, share=share, on_batch=on_batch)
    await report(_EMBEDDED, f"Embedding chunks ({time.monotonic() - started:.2f}s)")
    return vectors


def _embedded_texts(chunks: Sequence[EnrichedChunk]) -> list[str]:
    return [embedded_text(chunk.raw.embedded or chunk.raw.content, chunk.questions) for chunk in chunks]


async def _steady(report: Report, progress: float, _: float, text: str) -> None:
    await report(progress, text)


async def _tell(notes: Sequence[str], report: Report, progress: float) -> None:
    for note in notes[:_MOST_NOTES]:
        await report(progress, note)
    if len(notes) > _MOST_NOTES:
        await report(progress, f"… and {len(notes) - _MOST_NOTES} more lines.")
