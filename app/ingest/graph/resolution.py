"""Names that mean the same thing: found by their spelling, judged by the model (knowledge.md 5.11)."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import anyio.to_thread

from app.domain.graph import EntityNotes, Pair
from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.asking import Asker
from app.ingest.graph import prompts
from app.ingest.graph.merging import majority

BATCH = 100
"""Pairs in one question."""

MOST_PAIRS = 2000
"""Pairs that are judged at all, the most alike first."""

_ALIKE = 0.5  # share of common letter pairs
_MAYBE_ALIKE = 0.3  # ... from which the edit distance decides
_MOST_SHARERS = 200  # a run of letters in more names than this tells nothing
_LEAST_RUNS = 2  # that two names must share to be compared ...
_SHORT = 4  # ... unless one has no more than these
_DIGITS = re.compile(r"\d+")
_VERDICT = re.compile(r"^\D{0,12}?(\d{1,4})\s*[:.)\-]*\s*\W*(yes|no)\b", re.IGNORECASE | re.MULTILINE)
_OPTIONS = GenerationOptions(temperature=0.0, max_tokens=2048)


async def same_names(asker: Asker, entities: Mapping[str, EntityNotes]) -> dict[str, str]:
    """Return for each name that means the same as another the one that stays.

    Raises:
        UpstreamFailed: the model could not answer.
    """
    pairs = await anyio.to_thread.run_sync(candidates, entities)
    agreed: list[Pair] = []
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        asked = prompts.resolution([(one, other, majority(entities[one].types)) for one, other in batch])
        answer = await asker.ask([ChatMessage(role="user", content=asked)], _OPTIONS)
        agreed += [batch[at] for at in accepted(answer, len(batch))]
    return components(agreed, {name: sum(entity.types.values()) for name, entity in entities.items()})


def accepted(answer: str, count: int) -> list[int]:
    """Return which of `count` pairs, from 0, the model said yes to; a number with two verdicts counts as no."""
    said: dict[int, bool] = {}
    for number, verdict in _VERDICT.findall(answer):
        at, is_yes = int(number) - 1, verdict.lower() == "yes"
        if 0 <= at < count:
            said[at] = said.get(at, True) and is_yes
    return sorted(at for at, is_yes in said.items() if is_yes)


def candidates(entities: Mapping[str, EntityNotes]) -> list[Pair]:
    """Return pairs of names of one type that are spelled alike, the most alike first.

    Names whose numbers differ are different things: editions, years, versions.
    """
    by_type: dict[str, list[str]] = defaultdict(list)
    for name, entity in entities.items():
        by_type[majority(entity.types)].append(name)
    scored = [found for names in by_type.values() for found in _alike(sorted(names))]
    return [pair for _, pair in sorted(scored, key=lambda each: (-each[0], each[1]))[:MOST_PAIRS]]


def components(pairs: Iterable[Pair], mentions: Mapping[str, int]) -> dict[str, str]:
    """Return for each name of a connected component its most mentioned one, but for that itself."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    for one, other in pairs:
        parents[root(one)] = root(other)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in parents:
        groups[root(name)].append(name)
    names: dict[str, str] = {}
    for group in groups.values():
        stays = min(group, key=lambda name: (-mentions.get(name, 0), -len(name), name))
        names |= {name: stays for name in group if name != stays}
    return names


def _alike(names: Sequence[str]) -> list[tuple[float, Pair]]:
    """Compare the names that share rare runs of three letters; all with all would be too many in a large graph."""
    bigrams = [_runs(name, 2) for name in names]
    trigrams = [_runs(name, 3) for name in names]
    sharers: dict[str, list[int]] = defaultdict(list)
    for at, own in enumerate(trigrams):
        for run in own:
            sharers[run].append(at)
    found: list[tuple[float, Pair]] = []
    for at, own in enumerate(trigrams):
        common: Counter[int] = Counter()
        for run in own:
            if len(sharers[run]) <= _MOST_SHARERS:
                common.update(other for other in sharers[run] if other > at)
        for other, count in common.items():
            if count < _LEAST_RUNS and min(len(own), len(trigrams[other])) > _SHORT:
                continue
            alike = _similarity(names[at], names[other], bigrams[at], bigrams[other])
            if alike:
                found.append((alike, (names[at], names[other])))
    return found


def _similarity(one: str, other: str, bigrams: frozenset[str], others: frozenset[str]) -> float:
    """Return how alike two names are, 0 when not enough."""
    if sorted(_DIGITS.findall(one)) != sorted(_DIGITS.findall(other)):
        return 0.0
    dice = 2 * len(bigrams & others) / (len(bigrams) + len(others))
    if dice >= _ALIKE:
        return dice
    near = max(1, min(len(one), len(other)) // 5)
    return dice if dice >= _MAYBE_ALIKE and edit_distance(one, other, most=near) <= near else 0.0


def _runs(name: str, length: int) -> frozenset[str]:
    plain = "".join(each for each in name if each.isalnum())
    return frozenset(plain[at : at + length] for at in range(max(1, len(plain) - length + 1)))


def edit_distance(one: str, other: str, *, most: int) -> int:
    """Return how many letters must be put in, taken out or changed; `most + 1` when it is more than `most`."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        above, row[0] = row[0], at
        for column, against in enumerate(other, 1):
            best = min(row[column] + 1, row[column - 1] + 1, above + (letter != against))
            above, row[column] = row[column], best
        if min(row) > most:
            return most + 1
    return row[-1]
