"""The embedded profile's answer from documents: quoted sentences with their sources (parts.md 12)."""

import time
from collections.abc import Sequence

from anyio import to_thread

from app.domain.events import TextPiece
from app.domain.models import Usage
from app.domain.references import Reference
from app.domain.retrieval import ModelCall
from app.engine.draft import Draft
from app.llm.base import EmbeddingModel
from app.retrieval.quotes import Quote, Sentence, pick_quotes, quotable_sentences

_MOST_SENTENCES = 160


async def find_quotes(
    question: str, references: Sequence[Reference], embedding: EmbeddingModel, draft: Draft, *, deadline_s: float
) -> list[Quote]:
    """Return the sentences nearest to the question, best first; none when none is near enough.

    What it cost goes to `draft`: what the embedding model read, and the quotes as its tokenizer counts them.
    """
    sentences = await to_thread.run_sync(quotable_sentences, [reference.content for reference in references])
    sentences = sentences[:_MOST_SENTENCES]
    if not sentences:
        return []
    begun = time.perf_counter()
    read = await embedding.embed([question, *(sentence.text for sentence in sentences)], deadline_s=deadline_s)
    quotes = await to_thread.run_sync(_picked, read.vectors, sentences)
    written = await embedding.embed([quote.text for quote in quotes], deadline_s=deadline_s) if quotes else None
    draft.spent(
        ModelCall(
            kind="embedding",
            purpose="answer",
            model=read.model,
            provider=read.provider,
            usage=Usage(
                prompt_tokens=read.usage.prompt_tokens,
                completion_tokens=written.usage.prompt_tokens if written is not None else 0,
            ),
            duration_ms=(time.perf_counter() - begun) * 1000,
        )
    )
    return quotes


def write_quotes(quotes: Sequence[Quote], draft: Draft, *, has_markers: bool) -> None:
    """Write quotes into `draft` as an answer, each with its source."""
    for n, quote in enumerate(quotes):
        gap = "\n\n" if n else ""
        marker = f" [ID:{quote.chunk_number}]" if has_markers else ""
        draft.add([TextPiece(piece) for piece in _pieces(f"{gap}{quote.text}{marker}")])


def _picked(vectors: list[list[float]], sentences: Sequence[Sentence]) -> list[Quote]:
    return pick_quotes(vectors[0], vectors[1:], sentences)


def _pieces(text: str) -> list[str]:
    """Cut a quote into words, so that it reads as every other stream does."""
    pieces: list[str] = []
    begin = 0
    for end in range(1, len(text)):
        if text[end] == " " and text[end - 1] != " ":
            pieces.append(text[begin:end])
            begin = end
    return [*pieces, text[begin:]]
