"""Which chunks the table of contents of the best document speaks for (knowledge.md 5.12, `toc_enhance`)."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from app.domain.contents import ContentsEntry
from app.domain.errors import UpstreamFailed
from app.domain.ids import ChunkId, DocumentId, TenantId
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.retrieval import ModelCall
from app.llm.asking import ask_text
from app.llm.base import ChatModel
from app.retrieval.delimiting import DATA_NOTICE, as_data
from repositories.unit_of_work import Database

log = structlog.get_logger()

_MOST_HEADINGS = 400
_MOST_SCORE = 5
_LEAST = 0.3
_TIMEOUT_S = 30.0
_BESIDE_SCORES = 512  # tokens for a model that thinks first
_LINE = re.compile(r"^\W*(\d{1,4})\s*[:=|,.)\]-]+\s*(-?\d+(?:\.\d+)?)\s*\W*$")

_PROMPT = """\
Below are a question and the numbered headings of a document. For each heading that may lead to an answer write one \
line `number: score`, with a score from 1 (perhaps related) to 5 (answers the question). Leave out headings that have \
nothing to do with it. Write nothing else.

{notice}

The question:
{question}

The headings:
{headings}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentsBoosts:
    """What to add to the similarity of chunks of one document, 0.3 to 1; those not found yet are to be fetched."""

    document_id: DocumentId
    scores: Mapping[ChunkId, float]


async def toc_boosts(
    database: Database,
    tenant_id: TenantId,
    question: str,
    hits: Iterable[tuple[DocumentId, float]],
    model: ChatModel,
    *,
    calls: list[ModelCall],
) -> ContentsBoosts | None:
    """Return what the contents of the document with the highest summed similarity say; None when they say nothing.

    `hits` are document and similarity of each ranked chunk. Opens a unit of its own and asks `model` after it: call it
    outside of one. A model that fails, or answers what cannot be read, changes nothing; the call is in `calls`.
    """
    sums: dict[DocumentId, float] = {}
    for document_id, similarity in hits:
        sums[document_id] = sums.get(document_id, 0.0) + similarity
    if not sums or not question.strip():
        return None
    best = min(sums, key=lambda each: (-sums[each], each))
    async with database.unit(tenant_id) as unit:
        entries = (await unit.contents.get(best))[:_MOST_HEADINGS]
    if not entries:
        return None
    headings = "\n".join(f"{number}: {'  ' * (each.level - 1)}{each.title}" for number, each in enumerate(entries, 1))
    prompt = _PROMPT.format(notice=DATA_NOTICE, question=as_data(question), headings=as_data(headings))
    try:
        answer = await ask_text(
            model,
            [ChatMessage(role="user", content=prompt)],
            GenerationOptions(temperature=0.0, max_tokens=8 * len(entries) + _BESIDE_SCORES),
            purpose="toc",
            calls=calls,
            deadline_s=asyncio.get_running_loop().time() + _TIMEOUT_S,
        )
    except UpstreamFailed as error:
        log.warning("toc_not_scored", document=best, model=model.name, error=error.kind)
        return None
    scores = chunk_scores(entries, heading_scores(answer, len(entries)))
    return ContentsBoosts(document_id=best, scores=scores) if scores else None


def heading_scores(answer: str, headings: int) -> dict[int, float]:
    """Read lines `number: score`; 0 to 1 by the heading's index from 0. What is no such line is left out."""
    found: dict[int, float] = {}
    for line in answer.splitlines():
        match = _LINE.match(line.strip())
        if match is not None and 1 <= int(match[1]) <= headings:
            found[int(match[1]) - 1] = min(_MOST_SCORE, max(0.0, float(match[2]))) / _MOST_SCORE
    return found


def chunk_scores(entries: list[ContentsEntry], scores: Mapping[int, float]) -> dict[ChunkId, float]:
    """Return the mean of the scores of the headings each chunk stands under, where that is 0.3 or more."""
    sums: dict[ChunkId, list[float]] = {}
    for index, score in scores.items():
        for chunk_id in entries[index].chunk_ids:
            sums.setdefault(chunk_id, []).append(score)
    means = {chunk_id: sum(each) / len(each) for chunk_id, each in sums.items()}
    return {chunk_id: mean for chunk_id, mean in means.items() if mean >= _LEAST}
