"""Names that mean the same: candidates, verdicts, components (knowledge.md 5.11)."""

import re
from collections.abc import Sequence

import pytest

from app.domain.graph import EntityNotes
from app.domain.models import ChatMessage
from app.ingest.graph.resolution import BATCH, accepted, candidates, components, edit_distance, same_names
from tests.ingest.graph_models import asker


def _entities(*names: str, kind: str = "person") -> dict[str, EntityNotes]:
    return {name: EntityNotes(name=name, types={kind: 1}, descriptions=frozenset()) for name in names}


@pytest.mark.promise("5.11-resolution")
def test_names_spelled_alike_are_candidates() -> None:
    names = _entities("ADA LOVELACE", "ADA  LOVELACE", "ADA LOVELAGE", "CHARLES BABBAGE", "C. BABBAGE")

    found = candidates(names)

    assert ("ADA LOVELACE", "ADA LOVELAGE") in found
    assert ("C. BABBAGE", "CHARLES BABBAGE") in found
    assert not any("ADA LOVELACE" in pair and "CHARLES BABBAGE" in pair for pair in found)


@pytest.mark.promise("5.11-resolution")
def test_names_of_different_types_or_numbers_are_no_candidates() -> None:
    assert candidates(_entities("APOLLO 11", "APOLLO 13")) == []
    assert candidates(_entities("GENEVA") | _entities("GENEVA X", kind="geo")) == []


@pytest.mark.promise("5.11-resolution-batches")
async def test_a_hundred_pairs_are_judged_at_once() -> None:
    names = _entities(*(f"COMMON NAME {chr(65 + a)}{chr(65 + b)}" for a in range(4) for b in range(5)))
    pairs = candidates(names)
    assert BATCH < len(pairs) <= 2 * BATCH
    counts: list[int] = []

    def no(messages: Sequence[ChatMessage]) -> str:
        counts.append(len(re.findall(r"^\d+: \(person\)", messages[-1].content, re.MULTILINE)))
        return "1: no"

    assert await same_names(asker(no), names) == {}
    assert counts == [100, len(pairs) - 100]


@pytest.mark.promise("5.11-resolution")
async def test_connected_names_become_the_one_that_is_said_most() -> None:
    names = _entities("ADA LOVELACE", "ADA LOVELAGE", "ADA LOVELAC")
    names["ADA LOVELAC"] = EntityNotes(name="ADA LOVELAC", types={"person": 9}, descriptions=frozenset())

    found = await same_names(asker(), names)

    assert found == {"ADA LOVELACE": "ADA LOVELAC", "ADA LOVELAGE": "ADA LOVELAC"}


def test_components_are_the_same_whatever_comes_first() -> None:
    pairs = [("A", "B"), ("B", "C"), ("X", "Y")]
    mentions = {"A": 1, "B": 1, "C": 1, "X": 1, "Y": 5}

    assert components(pairs, mentions) == components(pairs[::-1], mentions) == {"B": "A", "C": "A", "X": "Y"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("1: yes\n2: no\n3: Yes.", [0, 2]),
        ("**1.** yes\n2) YES", [0, 1]),
        ("Pair 2: yes", [1]),
        ("1: yes\n1: no", []),
        ("4: yes\n0: yes\n999999: yes", []),
        ("I cannot tell.", []),
        ("", []),
    ],
)
@pytest.mark.promise("5.11-resolution")
def test_only_a_clear_yes_counts(answer: str, said: list[int]) -> None:
    assert accepted(answer, 3) == said


@pytest.mark.parametrize(("one", "other", "far"), [("kitten", "sitting", 3), ("", "ab", 2), ("same", "same", 0)])
def test_the_edit_distance_is_the_known_one(one: str, other: str, far: int) -> None:
    assert edit_distance(one, other, most=5) == far
    assert edit_distance(other, one, most=5) == far


def test_a_distance_beyond_the_limit_is_not_counted_out() -> None:
    assert edit_distance("kitten", "sitting", most=1) == 2
