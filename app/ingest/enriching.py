"""What is added to chunks between cutting and embedding: keywords, questions, tags, descriptions of pictures.

The seam only: the real enrichers live in modules of their own and are handed to the pipeline.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.domain.contents import ContentsEntry
from app.domain.datasets import Document, NewChunk
from app.domain.documents import Picture, RawChunk
from app.domain.retrieval import ModelCall

Report = Callable[[float, str], Awaitable[None]]
"""Told how far it is (0 to 1) and a line for the document's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichedChunk:
    """A chunk with what a model or another dataset knows about it.

    Begins with the keywords and questions its method gave it. `picture` is the image of the chunk, if it has one;
    `raw.content` may then be blank until somebody describes it, and a chunk that stays blank is dropped.
    """

    raw: RawChunk
    important_keywords: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    tag_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    picture: Picture | None = None


class Enricher(Protocol):
    """Adds to chunks what the document's parser config asks for."""

    async def enrich(
        self, document: Document, chunks: list[EnrichedChunk], *, report: Report, calls: list[ModelCall]
    ) -> list[EnrichedChunk]:
        """Return the chunks in the same order, some with more in them; contents may change, chunks may not vanish.

        `report` takes the share of the enrichment that is done. Model calls are added to `calls` as they are made.

        Raises:
            UpstreamFailed: a model could not answer.
        """
        ...

    async def contents(
        self, document: Document, chunks: Sequence[NewChunk], *, report: Report
    ) -> list[ContentsEntry] | None:
        """Return the table of contents that the parser config asks for, over the chunks as they will be stored.

        None when it asks for none. Raises as `enrich`.
        """
        ...

    async def metadata(self, document: Document, chunks: Sequence[NewChunk], *, report: Report) -> Mapping[str, Any]:
        """Return the metadata that the parser config asks to be read out of the document; `{}` when it asks for none.

        Raises as `enrich`.
        """
        ...


class PlainEnricher:
    """Adds nothing."""

    async def enrich(
        self,
        document: Document,  # noqa: ARG002 - the shape of every enricher
        chunks: list[EnrichedChunk],
        *,
        report: Report,  # noqa: ARG002
        calls: list[ModelCall],  # noqa: ARG002
    ) -> list[EnrichedChunk]:
        """Return the chunks as they are."""
        return chunks

    async def contents(
        self,
        document: Document,  # noqa: ARG002
        chunks: Sequence[NewChunk],  # noqa: ARG002
        *,
        report: Report,  # noqa: ARG002
    ) -> list[ContentsEntry] | None:
        """Make none."""
        return None

    async def metadata(
        self,
        document: Document,  # noqa: ARG002
        chunks: Sequence[NewChunk],  # noqa: ARG002
        *,
        report: Report,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Read none."""
        return {}
