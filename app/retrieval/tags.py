"""Tagging by statistics: which tags chunks with the same words have, against how common they are (knowledge.md 5.10).

A question is tagged the same way as a chunk, and the two are compared by cosine (knowledge.md 4.3).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.datasets import Dataset
from app.domain.ids import DatasetId, TenantId
from app.retrieval.query import query_terms
from app.retrieval.scoring import idf
from repositories.unit_of_work import Database, UnitOfWork

DEFAULT_TOPN = 3
RANK_SHARE = 10.0
"""What a perfect agreement of tags adds to a chunk's rank."""

_SMOOTHING = 1000
_HEAVIEST = 30
_MOST_NEEDED = 3  # of the terms that a chunk of a tag dataset must share
_MOST_COUNTED = 10_000


class TagSource:
    """The tag datasets that another dataset names, with the spread of their tags."""

    def __init__(self, dataset_ids: Sequence[DatasetId], counts: Mapping[str, int], chunk_count: int) -> None:
        self.dataset_ids = list(dataset_ids)
        self.counts = dict(counts)
        self._chunk_count = chunk_count
        self._total = sum(counts.values())

    def share(self, tag: str) -> float:
        """Return P(t), smoothed."""
        return (self.counts.get(tag, 0) + 1) / (self._total + _SMOOTHING)

    async def scores(
        self, unit: UnitOfWork, text: str, keywords: Sequence[str] = (), *, topn: int, floor: int = 0
    ) -> dict[str, float]:
        """Return the `topn` best tags of a text with their scores, none of them 0; a score is at least `floor`."""
        terms = {term.lexeme: term.factor for term in query_terms(text)}
        named = {term.lexeme: term.factor for keyword in keywords for term in query_terms(keyword)}
        lexemes = list(terms | named)
        frequencies = await unit.chunk_search.frequencies(self.dataset_ids, lexemes, most=_MOST_COUNTED)
        weights = {
            lexeme: factor * idf(self._chunk_count, frequencies[lexeme])
            for lexeme, factor in terms.items()
            if frequencies.get(lexeme)
        }
        heaviest = sorted(weights, key=lambda lexeme: (-weights[lexeme], lexeme))[:_HEAVIEST]
        asked = list(dict.fromkeys([*heaviest, *(lexeme for lexeme in named if frequencies.get(lexeme))]))
        least = max(1, min(_MOST_NEEDED, round(len(asked) / 10)))
        beside = await unit.tags.counts_beside(self.dataset_ids, asked, least=least)
        return self.scored(beside, topn=topn, floor=floor)

    def scored(self, beside: Mapping[str, int], *, topn: int, floor: int = 0) -> dict[str, float]:
        """Return round(0.1·(c+1)/(Σc+1000)/P) of each tag that `beside` counts: the `topn` best above 0."""
        total = sum(beside.values())
        scores = {
            tag: float(max(floor, round(0.1 * (count + 1) / (total + _SMOOTHING) / self.share(tag))))
            for tag, count in beside.items()
        }
        best = sorted(scores, key=lambda tag: (-scores[tag], -beside[tag], tag))[:topn]
        return {tag: scores[tag] for tag in best if scores[tag] > 0}


def tag_dataset_ids(parser_config: Mapping[str, Any]) -> list[DatasetId]:
    """Return the tag datasets a parser config names."""
    match parser_config.get("tag_kb_ids"):
        case [*sent]:
            return list(dict.fromkeys(DatasetId(each) for each in sent if isinstance(each, str) and each))
        case _:
            return []


def topn_of(parser_config: Mapping[str, Any]) -> int:
    """Return how many tags a chunk gets; document-level configs are not validated, so look twice."""
    sent = parser_config.get("topn_tags")
    return sent if isinstance(sent, int) and not isinstance(sent, bool) and 1 <= sent <= 10 else DEFAULT_TOPN


async def tag_source(unit: UnitOfWork, dataset_ids: Sequence[DatasetId]) -> TagSource | None:
    """Return those of the tag datasets that the tenant has; None when they hold no tag at all."""
    if not dataset_ids:
        return None
    known = await unit.datasets.many(dataset_ids)
    counts = await unit.tags.counts(list(known)) if known else {}
    return TagSource(list(known), counts, sum(each.chunk_count for each in known.values())) if counts else None


async def query_tags(
    database: Database, tenant_id: TenantId, question: str, datasets: Sequence[Dataset]
) -> dict[str, float]:
    """Return the question's tags with their scores, from the tag datasets that `datasets` name in `tag_kb_ids`.

    Empty when they name none, and for most calls that is found without a statement. Asks no model. Opens a unit of its
    own: call it outside of one.
    """
    ids = list(dict.fromkeys(one for each in datasets for one in tag_dataset_ids(each.parser_config)))
    if not ids or not question.strip():
        return {}
    topn = max(topn_of(each.parser_config) for each in datasets if tag_dataset_ids(each.parser_config))
    async with database.unit(tenant_id) as unit:
        source = await tag_source(unit, ids)
        return await source.scores(unit, question, topn=topn, floor=1) if source is not None else {}


def tag_similarity(query_tags: Mapping[str, float], chunk_tags: Mapping[str, float]) -> float:
    """Return 10·cosine of the two, 0 to 10: to be added to a chunk's rank."""
    if not query_tags or not chunk_tags:
        return 0.0
    product = sum(score * chunk_tags.get(tag, 0.0) for tag, score in query_tags.items())
    lengths = math.hypot(*query_tags.values()) * math.hypot(*chunk_tags.values())
    return RANK_SHARE * product / lengths if lengths else 0.0
