"""What is added to chunks between cutting and embedding: keywords, questions, tags, descriptions of pictures.

The seam only: the real enrichers live in modules of their own and are handed to the pipeline.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import anyio

from app.domain.contents import ContentsEntry
from app.domain.datasets import Document, NewChunk
from app.domain.documents import ParsedDocument, Picture, RawChunk

T = TypeVar("T")
R = TypeVar("R")
_REPORTS = 10  # of one step at most

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

    @classmethod
    def of(cls, raw: RawChunk, pictures: Sequence[Picture]) -> Self:
        """Return a chunk of a document that has these pictures, as its method made it."""
        at = raw.picture
        return cls(
            raw=raw,
            important_keywords=raw.important_keywords,
            questions=raw.questions,
            picture=pictures[at] if at is not None and at < len(pictures) else None,
        )


class Enricher(Protocol):
    """Adds to chunks what the document's parser config asks for."""

    def reads_pages(self, document: Document) -> bool:
        """Tell whether a model is to read the document page by page (`read`): then its pages are to be drawn."""
        ...

    async def read(self, document: Document, parsed: ParsedDocument, *, report: Report) -> ParsedDocument:
        """Return the document as a model reads its pages, if one is to; else as it is. Raises as `enrich`."""
        ...

    async def enrich(self, document: Document, chunks: list[EnrichedChunk], *, report: Report) -> list[EnrichedChunk]:
        """Return the chunks in the same order, some with more in them; contents may change, chunks may not vanish.

        `report` takes the share of the enrichment that is done. What models are asked, the enricher charges.

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


def told(work: Callable[[T], Awaitable[R]], doing: str, total: int, report: Report) -> Callable[[T], Awaitable[R]]:
    """Return `work` that reports how much of it is done, ten times in all at most and one report at a time."""
    done = 0
    turn = anyio.Lock()

    async def telling(item: T) -> R:
        nonlocal done
        result = await work(item)
        async with turn:
            done += 1
            if done * _REPORTS // total > (done - 1) * _REPORTS // total:
                await report(done / total, f"{doing}: {done} of {total}.")
        return result

    return telling


class PlainEnricher:
    """Adds nothing."""

    def reads_pages(self, document: Document) -> bool:  # noqa: ARG002
        """Never."""
        return False

    async def read(
        self,
        document: Document,  # noqa: ARG002
        parsed: ParsedDocument,
        *,
        report: Report,  # noqa: ARG002
    ) -> ParsedDocument:
        """Return the document as it is."""
        return parsed

    async def enrich(
        self,
        document: Document,  # noqa: ARG002 - the shape of every enricher
        chunks: list[EnrichedChunk],
        *,
        report: Report,  # noqa: ARG002
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
