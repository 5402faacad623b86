"""Entities that belong together: clusters by Louvain's method, a report on each by the model (knowledge.md 5.11)."""

import csv
import hashlib
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from app.domain.graph import Community, Entity, Pair, Relation
from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.asking import Asker
from app.ingest.graph import prompts

MOST_COMMUNITIES = 200
"""Communities that are reported on, the weightiest first."""

_ROUNDS = 20
_LINES_TOKENS = 4096
_MOST_FINDINGS = 10
_HEAVIEST = 10.0
_OPTIONS = GenerationOptions(temperature=0.1, max_tokens=1500)


def louvain(names: Sequence[str], weights: Mapping[Pair, float]) -> list[list[str]]:
    """Return the communities of an undirected weighted graph, each sorted, in order of their first names.

    Blondel et al. 2008: nodes move to the neighbouring community that gains most modularity until none does, then
    communities become nodes, as long as anything changes. Nodes are visited in the order of their names, so the outcome
    is always the same.
    """
    groups = [[name] for name in sorted(names)]
    at = {group[0]: number for number, group in enumerate(groups)}
    links: list[dict[int, float]] = [{} for _ in groups]
    for pair in sorted(weights):
        one, other = at[pair[0]], at[pair[1]]
        links[one][other] = links[one].get(other, 0.0) + weights[pair]
        links[other][one] = links[other].get(one, 0.0) + weights[pair]
    while True:
        belongs = _moved(links)
        kept = sorted(set(belongs))
        if len(kept) == len(groups):
            return sorted(sorted(group) for group in groups)
        number = {community: new for new, community in enumerate(kept)}
        joined: list[list[str]] = [[] for _ in kept]
        united: list[dict[int, float]] = [defaultdict(float) for _ in kept]
        for node, community in enumerate(belongs):
            joined[number[community]] += groups[node]
            for neighbour, weight in links[node].items():
                united[number[community]][number[belongs[neighbour]]] += weight  # loops hold inner links twice
        groups, links = joined, united


def _moved(links: Sequence[Mapping[int, float]]) -> list[int]:
    """Return the community of each node after moving nodes one by one until no move gains modularity."""
    degrees = [sum(own.values()) for own in links]
    twice = sum(degrees)
    belongs = list(range(len(links)))
    if not twice:
        return belongs
    totals = list(degrees)
    for _ in range(_ROUNDS):
        has_moved = False
        for node, own in enumerate(links):
            home = belongs[node]
            near: dict[int, float] = defaultdict(float)
            for neighbour, weight in own.items():
                if neighbour != node:
                    near[belongs[neighbour]] += weight
            totals[home] -= degrees[node]
            best, most = home, near.get(home, 0.0) - totals[home] * degrees[node] / twice
            for community in sorted(near):
                gain = near[community] - totals[community] * degrees[node] / twice
                if gain > most + 1e-12:
                    best, most = community, gain
            totals[best] += degrees[node]
            belongs[node] = best
            has_moved = has_moved or best != home
        if not has_moved:
            break
    return belongs


def worth_a_report(groups: Sequence[Sequence[str]], ranks: Mapping[str, float]) -> list[list[str]]:
    """Return communities of two and more, the ones of highest rank first."""
    several = [list(group) for group in groups if len(group) > 1]
    several.sort(key=lambda group: (-sum(ranks.get(name, 0.0) for name in group), group))
    return several[:MOST_COMMUNITIES]


async def reported(asker: Asker, entities: Sequence[Entity], relations: Sequence[Relation]) -> Community:
    """Return the community of these entities, with what the model writes of it.

    Raises:
        UpstreamFailed: the model could not answer.
    """
    room = min(_LINES_TOKENS, (asker.context_tokens or 4 * _LINES_TOKENS) // 2) * 3
    asked = prompts.report(_lines(entities, relations, room))
    answer = await asker.ask([ChatMessage(role="user", content=asked)], _OPTIONS)
    return read_report(answer, [entity.name for entity in entities])


def read_report(answer: str, names: Sequence[str]) -> Community:
    """Return the community as the answer tells it; what is no JSON object is the report as it stands."""
    told = _json_object(answer) or {"summary": answer}
    findings = [text for each in _listed(told.get("findings"))[:_MOST_FINDINGS] if (text := _finding(each))]
    rating = told.get("rating")
    is_number = isinstance(rating, int | float) and not isinstance(rating, bool) and math.isfinite(rating)
    identity = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]
    return Community(
        id=identity,
        title=_text(told.get("title")) or ", ".join(names[:3]),
        report=_text(told.get("summary")),
        findings=findings,
        weight=min(_HEAVIEST, max(0.0, float(cast("float", rating)))) if is_number else 1.0,
        entities=sorted(names),
    )


def _lines(entities: Sequence[Entity], relations: Sequence[Relation], room: int) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(("Entity", "Type", "Description"))
    for entity in entities:
        if written.tell() > room // 2:
            break
        writer.writerow((entity.name, entity.type, entity.description[:1000]))
    writer.writerow(("From", "To", "Description"))
    for relation in relations:
        if written.tell() > room:
            break
        writer.writerow((relation.source, relation.target, relation.description[:1000]))
    return written.getvalue()


def _json_object(answer: str) -> dict[str, Any] | None:
    start, end = answer.find("{"), answer.rfind("}")
    if not 0 <= start < end:
        return None
    try:
        found = json.loads(answer[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _finding(value: Any) -> str:
    if isinstance(value, dict):
        told = cast("dict[str, Any]", value)
        return ": ".join(text for key in ("summary", "explanation") if (text := _text(told.get(key))))
    return _text(value)


def _listed(value: Any) -> list[Any]:
    found: list[Any] = value if isinstance(value, list) else []
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", " ").encode("utf-8", "replace").decode().strip()[:8000]
