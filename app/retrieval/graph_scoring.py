"""Which entities and relations of a graph are told for a question, and how they are written (knowledge.md 4.7, 5.11).

Pure: what was found goes in, what is told comes out.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.graph import Community
from app.llm.base import TokenCounter
from repositories.graph_search import FoundEntity, FoundRelation, GraphKey

MOST_TOLD = 6
"""Entities that are told at most, and relations."""

MOST_TOKENS = 8196
"""Tokens of the entities and relations that are told."""

TYPE_BOOST = 2.0
"""What the similarity of an entity of a wanted type is multiplied by."""

_HEADS = {"entities": ("Entity", "Score", "Description"), "relations": ("From", "To", "Score", "Description")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is told, best first, each with its score."""

    entities: Sequence[tuple[FoundEntity, float]]
    relations: Sequence[tuple[FoundRelation, float]]


def hop_similarities(
    seeds: Mapping[GraphKey, float], first: Sequence[FoundRelation], second: Sequence[FoundRelation]
) -> dict[tuple[GraphKey, GraphKey], float]:
    """Return what relations gain by how near they are to entities that were found.

    A relation of a found entity gains half its similarity; one of a neighbour of it a third.
    """
    gains: dict[tuple[GraphKey, GraphKey], float] = {}
    reached: dict[GraphKey, float] = {}
    for relation in first:
        ends = relation.source, relation.target
        gains[ends] = sum(seeds.get(end, 0.0) for end in ends) / 2
        for near, far in (ends, ends[::-1]):
            if near in seeds and far not in seeds:
                reached[far] = max(reached.get(far, 0.0), seeds[near])
    for relation in second:
        ends = relation.source, relation.target
        if ends not in gains:
            gains[ends] = sum(reached.get(end, 0.0) for end in ends) / 3
    return {ends: gain for ends, gain in gains.items() if gain > 0}


def chosen(
    entities: Iterable[FoundEntity],
    relations: Iterable[FoundRelation],
    typed: frozenset[GraphKey],
    hops: Mapping[tuple[GraphKey, GraphKey], float],
) -> Told:
    """Return the best of each by similarity × PageRank; that of a relation is the mean of its ends'."""
    boosted = (
        replace(each, similarity=each.similarity * (TYPE_BOOST if each.key in typed else 1.0)) for each in entities
    )
    scored = [(each, each.similarity * each.pagerank) for each in boosted]
    scored.sort(key=lambda each: (-each[1], each[0].key))
    weighed = [(each, _relation_score(each, typed, hops)) for each in relations]
    weighed.sort(key=lambda each: (-each[1], each[0].source, each[0].target))
    return Told(entities=scored[:MOST_TOLD], relations=weighed[:MOST_TOLD])


def _relation_score(
    relation: FoundRelation, typed: frozenset[GraphKey], hops: Mapping[tuple[GraphKey, GraphKey], float]
) -> float:
    """Return similarity × (1 + ends of a wanted type + similarity by hops) × PageRank.

    A relation that was found by its hops alone has their similarity.
    """
    hop = hops.get((relation.source, relation.target), 0.0)
    wanted = (relation.source in typed) + (relation.target in typed)
    similarity = relation.similarity * (1 + wanted + hop) if relation.similarity > 0 else hop * (1 + wanted)
    return similarity * sum(relation.ranks) / 2


def written(told: Told, community: Community | None, tokens: TokenCounter) -> str | None:
    """Return the blocks of CSV, within their tokens, and the report; None when there is nothing to tell."""
    if not told.entities and not told.relations:
        return None
    room = MOST_TOKENS
    entity_rows = [(each.key[1], _score(score), each.description) for each, score in told.entities]
    relation_rows = [
        (each.source[1], each.target[1], _score(score), each.description) for each, score in told.relations
    ]
    blocks: list[str] = []
    for title, head, rows in (
        ("---- Entities ----", _HEADS["entities"], entity_rows),
        ("---- Relations ----", _HEADS["relations"], relation_rows),
    ):
        block, room = _block(title, head, rows, tokens, room)
        blocks += [block] if block else []
    if not blocks:
        return None
    if community is not None:
        blocks.append(_report(community))
    return "\n".join(blocks)


def _block(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], tokens: TokenCounter, room: int
) -> tuple[str, int]:
    """Return title, head and as many rows as there is room for, and the room that is left; empty without a row."""
    lines = [title, _csv(head)]
    room -= sum(tokens.count(line) + 1 for line in lines)
    for row in rows:
        line = _csv(row)
        size = tokens.count(line) + 1
        if size > room:
            break
        lines.append(line)
        room -= size
    return ("\n".join(lines), room) if len(lines) > 2 else ("", room)


def _report(community: Community) -> str:
    lines = ["---- Community Report ----", f"# {community.title}", community.report]
    if community.findings:
        lines += ["## Findings", *(f"- {finding}" for finding in community.findings)]
    return "\n".join(line for line in lines if line)


def _csv(row: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()


def _score(value: float) -> str:
    return f"{value:.4f}"
