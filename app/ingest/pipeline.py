"""From a stored file to sections and chunks ready to be searched (knowledge.md 5.1).

Parsing happens in a child process, cutting and indexing in a thread: the event loop stays free for heartbeats.
Nothing here writes to the database.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

import anyio.to_thread

from app.domain.datasets import Document, NewChunk, StoredSection
from app.domain.documents import OutlineSection, ParsedDocument, ParseFailed, RawChunk
from app.domain.ids import ChunkId, SectionId, new_id
from app.domain.models import Usage
from app.domain.retrieval import ModelCall
from app.ingest.blobs import BlobStore
from app.ingest.chunking import NaiveConfig, chunk_id, chunk_naive
from app.ingest.outline import outline
from app.ingest.sandbox import SandboxLimits, parse_in_child
from app.ingest.section_ids import match_sections
from app.llm.base import EmbeddingModel, TokenCounter
from app.retrieval.text_index import tsvector

_NAME_WEIGHT = 0.1  # of the file name in a chunk's vector, where the parser config names none

Report = Callable[[float, str], Awaitable[None]]
"""Told how far it is (0 to 1) and a line for the document's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """What one document may cost. Times in seconds."""

    sandbox: SandboxLimits = field(default_factory=SandboxLimits)
    max_chunks: int = 20_000
    embed_batch: int = 64
    embed_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A document as it will be stored."""

    sections: list[StoredSection]
    chunks: list[NewChunk]


class Pipeline:
    """Builds what is stored of a document."""

    def __init__(self, *, blobs: BlobStore, tokens: TokenCounter, config: PipelineConfig | None = None) -> None:
        self._blobs = blobs
        self._tokens = tokens
        self._config = config or PipelineConfig()

    async def build(
        self,
        document: Document,
        model: EmbeddingModel,
        *,
        old_sections: Sequence[StoredSection],
        report: Report,
        calls: list[ModelCall],
    ) -> Built:
        """Read, cut, embed and index `document`; model calls are added to `calls` as they are made.

        Raises:
            ParseFailed: it cannot be read, or is too large; the message is for its owner.
            UpstreamFailed: the embedding model could not answer.
        """
        parsed = await self._parse(document)
        await report(0.2, f"Parsing done: {len(parsed.blocks)} blocks.")
        cut = partial(self._cut, parsed, document, old_sections)
        sections, chunks = await anyio.to_thread.run_sync(cut, abandon_on_cancel=True)
        if len(chunks) > self._config.max_chunks:
            raise ParseFailed(
                f"{document.name} makes {len(chunks)} chunks; at most {self._config.max_chunks} are taken in. "
                "Raise `chunk_token_num` or split the file."
            )
        if not chunks:
            return Built(sections=sections, chunks=[])
        await report(0.3, f"Generate {len(chunks)} chunks.")
        vectors = await self._embed(document, model, chunks, report, calls)
        index = partial(self._index, document, sections, chunks, vectors)
        return Built(sections=sections, chunks=await anyio.to_thread.run_sync(index, abandon_on_cancel=True))

    async def _parse(self, document: Document) -> ParsedDocument:
        if document.size_bytes == 0:
            return ParsedDocument()
        async with self._blobs.as_file(document.blob_key) as path:
            return await parse_in_child(path, document.name, self._config.sandbox)

    def _cut(
        self, parsed: ParsedDocument, document: Document, old_sections: Sequence[StoredSection]
    ) -> tuple[list[StoredSection], list[RawChunk]]:
        outlined = outline(parsed, document.name)
        raw = chunk_naive(outlined, _naive_config(document.parser_config), self._tokens.count)
        distinct = {chunk_id(chunk.content, document.id): chunk for chunk in reversed(raw)}
        return _stored_sections(outlined, old_sections), sorted(distinct.values(), key=lambda chunk: chunk.ordinal)

    async def _embed(
        self,
        document: Document,
        model: EmbeddingModel,
        chunks: Sequence[RawChunk],
        report: Report,
        calls: list[ModelCall],
    ) -> list[list[float]]:
        share = _name_share(document.parser_config)
        name, *_ = await self._vectors(model, [document.name], calls)
        vectors: list[list[float]] = []
        started = time.monotonic()
        for start in range(0, len(chunks), self._config.embed_batch):
            batch = [chunk.content for chunk in chunks[start : start + self._config.embed_batch]]
            vectors += [_blend(name, vector, share) for vector in await self._vectors(model, batch, calls)]
            done = len(vectors) / len(chunks)
            if done < 1:
                await report(0.3 + 0.6 * done, f"Embedding chunks: {len(vectors)} of {len(chunks)}.")
        await report(0.9, f"Embedding chunks ({time.monotonic() - started:.2f}s)")
        return vectors

    async def _vectors(self, model: EmbeddingModel, texts: list[str], calls: list[ModelCall]) -> list[list[float]]:
        started = time.monotonic()
        deadline_s = asyncio.get_running_loop().time() + self._config.embed_timeout_s
        found = await model.embed(texts, deadline_s=deadline_s)
        calls.append(
            ModelCall(
                kind="embedding",
                purpose="ingest",
                model=found.model,
                provider=found.provider,
                usage=found.usage,
                duration_ms=(time.monotonic() - started) * 1000,
            )
        )
        return found.vectors

    def _index(
        self,
        document: Document,
        sections: Sequence[StoredSection],
        chunks: Sequence[RawChunk],
        vectors: Sequence[Sequence[float]],
    ) -> list[NewChunk]:
        title = PurePath(document.name).stem
        return [
            NewChunk(
                id=ChunkId(chunk_id(chunk.content, document.id)),
                section_id=sections[chunk.section_order].id if chunk.section_order is not None else None,
                ordinal=chunk.ordinal,
                content=chunk.content,
                lexemes=tsvector(chunk.content, title),
                embedding=vector,
                positions=chunk.positions,
                token_count=self._tokens.count(chunk.content),
            )
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]


def gathered(calls: Sequence[ModelCall]) -> list[ModelCall]:
    """Return one ledger line per model for the many calls of one document."""
    sums: dict[tuple[str, str], ModelCall] = {}
    for call in calls:
        known = sums.get((call.model, call.provider))
        sums[call.model, call.provider] = ModelCall(
            kind=call.kind,
            purpose=call.purpose,
            model=call.model,
            provider=call.provider,
            usage=(known.usage if known else Usage()) + call.usage,
            duration_ms=(known.duration_ms if known else 0.0) + call.duration_ms,
        )
    return list(sums.values())


def _naive_config(parser_config: dict[str, Any]) -> NaiveConfig:
    """Read what the method needs; document-level configs are not validated (knowledge.md 2.2), so look twice."""
    size, delimiter = parser_config.get("chunk_token_num"), parser_config.get("delimiter")
    default = NaiveConfig()
    return NaiveConfig(
        chunk_token_num=size if isinstance(size, int) and 1 <= size <= 2048 else default.chunk_token_num,
        delimiter=delimiter if isinstance(delimiter, str) and delimiter else default.delimiter,
    )


def _name_share(parser_config: dict[str, Any]) -> float:
    share = parser_config.get("filename_embd_weight")
    return float(share) if isinstance(share, int | float) and 0 < share <= 1 else _NAME_WEIGHT


def _blend(name: Sequence[float], content: Sequence[float], share: float) -> list[float]:
    mixed = [share * a + (1 - share) * b for a, b in zip(name, content, strict=True)]
    length = math.hypot(*mixed)
    return [value / length for value in mixed] if length else list(content)


def _stored_sections(outlined: Sequence[OutlineSection], old: Sequence[StoredSection]) -> list[StoredSection]:
    kept = match_sections(old, outlined)
    ids = [kept.get(section.order) or SectionId(new_id()) for section in outlined]
    return [
        StoredSection(
            id=ids[section.order],
            position=section.order,
            level=section.level,
            title=section.title,
            path=section.path,
            parent_id=ids[section.parent_order] if section.parent_order is not None else None,
            content=section.content,
        )
        for section in outlined
    ]
