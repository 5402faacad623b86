"""Merging: the rules, and that order and grouping make no difference (knowledge.md 5.11)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.graph import EntityNotes, GraphNotes, RelationNotes
from app.ingest.graph.merging import Merger, as_entity, as_relation, majority, merged, renamed

_NAMES = st.sampled_from(["A", "B", "C", "D"])
_TEXTS = st.frozensets(st.sampled_from(["x", "y", "z"]), max_size=3)


@st.composite
def _notes(draw: st.DrawFn) -> GraphNotes:
    entities = {
        name: EntityNotes(
            name=name,
            types=draw(st.dictionaries(st.sampled_from(["person", "geo"]), st.integers(1, 3), min_size=1)),
            descriptions=draw(_TEXTS),
            document_ids=draw(_TEXTS),
        )
        for name in draw(st.sets(_NAMES))
    }
    pairs = {tuple(sorted(pair)) for pair in draw(st.sets(st.tuples(_NAMES, _NAMES))) if pair[0] != pair[1]}
    relations = {
        (one, other): RelationNotes(
            pair=(one, other),
            descriptions=draw(_TEXTS),
            keywords=draw(_TEXTS),
            strength=draw(st.integers(1, 9999)),
            document_ids=draw(_TEXTS),
        )
        for one, other in pairs
    }
    return GraphNotes(entities=entities, relations=relations)


@given(st.lists(_notes(), max_size=5), st.randoms(use_true_random=False), st.integers(0, 5))
@pytest.mark.promise("5.11-merge-any-order")
def test_order_and_grouping_make_no_difference(several: list[GraphNotes], rng: random.Random, cut: int) -> None:
    shuffled = rng.sample(several, len(several))

    assert merged(shuffled) == merged(several)
    assert merged([merged(shuffled[:cut]), merged(shuffled[cut:])]) == merged(several)


@given(st.lists(_notes(), min_size=1, max_size=4))
@pytest.mark.promise("5.11-merge-any-order")
def test_rows_come_in_the_same_order_whatever_came_first(several: list[GraphNotes]) -> None:
    forth, back = merged(several), merged(several[::-1])

    assert [as_entity(each) for each in forth.entities.values()] == [as_entity(each) for each in back.entities.values()]
    assert [as_relation(each) for each in forth.relations.values()] == [
        as_relation(each) for each in back.relations.values()
    ]


def _entity(kind: str, text: str) -> GraphNotes:
    return GraphNotes(entities={"ADA": EntityNotes(name="ADA", types={kind: 1}, descriptions=frozenset({text}))})


@pytest.mark.promise("5.11-merge-entities")
def test_the_majority_gives_the_type_and_descriptions_are_joined() -> None:
    merger = Merger()
    for number, (kind, text) in enumerate([("geo", "A county."), ("person", "Wrote."), ("person", "Was born.")]):
        merger.add(_entity(kind, text), f"d{number}")

    entity = as_entity(merger.notes().entities["ADA"])

    assert entity.type == "person"
    assert entity.description == "A county.<SEP>Was born.<SEP>Wrote."
    assert entity.document_ids == ("d0", "d1", "d2")


@pytest.mark.promise("5.11-merge-entities")
def test_of_equally_many_types_the_first_by_alphabet_is_taken() -> None:
    assert majority({"person": 2, "geo": 2}) == "geo"


@pytest.mark.promise("5.11-merge-relations")
def test_weights_of_a_pair_add_up_and_keywords_unite() -> None:
    def notes(keyword: str, strength: int) -> GraphNotes:
        relation = RelationNotes(
            pair=("A", "B"), descriptions=frozenset({"d"}), keywords=frozenset({keyword}), strength=strength
        )
        return GraphNotes(relations={("A", "B"): relation})

    relation = as_relation(merged([notes("x", 1500), notes("y", 2000), notes("x", 100)]).relations["A", "B"])

    assert (relation.weight, relation.keywords, relation.description) == (3.6, ("x", "y"), "d")


def test_a_name_that_stands_for_another_takes_its_relations_and_loops_go() -> None:
    people = {name: EntityNotes(name=name, types={"person": 1}, descriptions=frozenset({name})) for name in "ABC"}
    relations = {
        pair: RelationNotes(pair=pair, descriptions=frozenset({"d"})) for pair in [("A", "B"), ("A", "C"), ("B", "C")]
    }

    notes = renamed(GraphNotes(entities=people, relations=relations), {"A": "C"})

    assert list(notes.entities) == ["B", "C"]
    assert notes.entities["C"].descriptions == {"A", "C"}
    assert list(notes.relations) == [("B", "C")]
    assert notes.relations["B", "C"].strength == 2000
