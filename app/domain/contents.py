"""A document's table of contents as a model read it out of the chunks (knowledge.md 5.12)."""

from dataclasses import dataclass

from app.domain.ids import ChunkId


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsEntry:
    """A heading, its level from 1, and the chunks that stand under it, in reading order."""

    level: int
    title: str
    chunk_ids: tuple[ChunkId, ...]
