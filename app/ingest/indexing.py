"""Enriched chunks with their vectors to rows of the search index."""

from collections.abc import Sequence
from pathlib import PurePath

from app.domain.datasets import Document, NewChunk, StoredSection
from app.domain.ids import ChunkId
from app.ingest.chunking import chunk_id
from app.ingest.embedding import without_table_tags
from app.ingest.enriching import EnrichedChunk
from app.ingest.images import image_id
from app.llm.base import TokenCounter
from app.retrieval.text_index import tsvector


def index_chunks(
    document: Document,
    sections: Sequence[StoredSection],
    chunks: Sequence[EnrichedChunk],
    vectors: Sequence[Sequence[float]],
    tokens: TokenCounter,
) -> list[NewChunk]:
    """Return the rows to store, one per chunk and in their order; `vectors` are those of the chunks. Blocking."""
    title = PurePath(document.name).stem
    return [
        _indexed(document, title, sections, chunk, vector, tokens)
        for chunk, vector in zip(chunks, vectors, strict=True)
    ]


def _indexed(
    document: Document,
    title: str,
    sections: Sequence[StoredSection],
    chunk: EnrichedChunk,
    vector: Sequence[float],
    tokens: TokenCounter,
) -> NewChunk:
    raw = chunk.raw
    id_ = ChunkId(chunk_id(raw.content, document.id))
    searched = without_table_tags(raw.content if raw.searched is None else raw.searched)
    return NewChunk(
        id=id_,
        section_id=sections[raw.section_order].id if raw.section_order is not None else None,
        ordinal=raw.ordinal,
        content=raw.content,
        lexemes=tsvector(searched, title, chunk.important_keywords, chunk.questions),
        embedding=vector,
        positions=raw.positions,
        token_count=tokens.count(raw.content),
        important_keywords=chunk.important_keywords,
        questions=chunk.questions,
        tags=raw.tags,
        tag_weights=chunk.tag_weights,
        cells=raw.row,
        doc_type=raw.doc_type,
        image_id=image_id(document.dataset_id, id_) if chunk.picture is not None else "",
    )
