"""Records as models write them, and as they must not break anything (knowledge.md 5.11)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.graph import GraphNotes
from app.ingest.graph.records import MOST_NAME, entity_name, only_known_ends, read_records, says_no

TYPES = ("person", "organization")
ADA = "ENTITY<|>Ada Lovelace<|>person<|>Wrote notes on the engine."
BOTH = "RELATION<|>Ada Lovelace<|>Charles Babbage<|>She described his engine.<|>work, letters<|>8"


@pytest.mark.promise("5.11-records")
def test_an_entity_has_name_type_and_description() -> None:
    notes = read_records(ADA, TYPES)

    [entity] = notes.entities.values()
    assert (entity.name, dict(entity.types)) == ("ADA LOVELACE", {"person": 1})
    assert entity.descriptions == {"Wrote notes on the engine."}


@pytest.mark.promise("5.11-records")
def test_a_relation_has_ends_description_keywords_and_strength() -> None:
    [relation] = read_records(BOTH, TYPES).relations.values()

    assert relation.pair == ("ADA LOVELACE", "CHARLES BABBAGE")
    assert relation.descriptions == {"She described his engine."}
    assert relation.keywords == {"work", "letters"}
    assert relation.strength == 8000


@pytest.mark.parametrize(
    "line",
    [
        "entity<|>ada  lovelace<|>Person<|>Wrote notes.",
        '- "ENTITY"<|>"Ada Lovelace"<|>PERSON<|>"Wrote notes."',
        "1. **ENTITY**<|> Ada\tLovelace <|> person <|> Wrote notes. <|END|>",
        "`ENTITY<|>`Ada Lovelace`<|>person<|>Wrote notes.`",
        "(ENTITY<|>Ada Lovelace<|>person<|>Wrote notes.\r\n",
    ],
)
@pytest.mark.promise("5.11-records-tolerant")
def test_a_record_is_read_however_it_is_dressed(line: str) -> None:
    [entity] = read_records(f"Here you are:\n```\n{line}\n```", TYPES).entities.values()

    assert (entity.name, dict(entity.types)) == ("ADA LOVELACE", {"person": 1})
    assert entity.descriptions == {"Wrote notes."}


@pytest.mark.promise("5.11-types-only")
def test_entities_of_other_types_are_dropped_with_their_relations() -> None:
    notes = read_records(f"{ADA}\nENTITY<|>Charles Babbage<|>wizard<|>Built it.\n{BOTH}", TYPES)

    assert list(notes.entities) == ["ADA LOVELACE"]
    assert only_known_ends(notes).relations == {}


@pytest.mark.promise("5.11-no-loops")
def test_a_relation_of_a_thing_to_itself_is_dropped() -> None:
    assert read_records("RELATION<|>Ada<|> ADA <|>is herself<|>x<|>1", TYPES).relations == {}


@pytest.mark.parametrize(
    ("said", "strength"),
    [("9", 9000), ("7.5", 7500), ("strong: 3", 3000), ("", 1000), ("very", 1000), ("99", 10000), ("-4", 1000)],
)
@pytest.mark.promise("5.11-records-tolerant")
def test_a_strength_that_is_no_number_counts_as_one(said: str, strength: int) -> None:
    [relation] = read_records(f"RELATION<|>A1<|>B1<|>d<|>k<|>{said}", TYPES).relations.values()

    assert relation.strength == strength


@pytest.mark.promise("5.11-records-tolerant")
def test_what_is_no_record_is_not_kept() -> None:
    garbage = [
        "ENTITY<|>Ada",
        "ENTITY<|>  <|>person<|>nobody",
        f"ENTITY<|>{'x' * (MOST_NAME + 1)}<|>person<|>long",
        "RELATION<|>Ada<|>Bob",
        "RELATION<|>Ada<|><|>d",
        "ENTITY Ada person",
        "<|><|><|><|>",
        "SOMETHING<|>Ada<|>person<|>d",
    ]
    assert read_records("\n".join(garbage), TYPES) == GraphNotes()


@given(
    st.text(),
    st.lists(st.sampled_from(["ENTITY", "RELATION", "<|>", "Ada", "person", "\n", "\x00", "\ud800", "9e999"])),
)
@pytest.mark.promise("5.11-records-tolerant")
def test_no_answer_breaks_the_reader(free: str, pieces: list[str]) -> None:
    notes = read_records(free + "".join(pieces), TYPES)

    for name, entity in notes.entities.items():
        assert set(entity.types) <= set(TYPES)
        assert entity_name(name) == name
        for text in (name, *entity.descriptions):
            assert "\x00" not in text
            assert text.encode()
    assert all(one < other for one, other in notes.relations)


@pytest.mark.parametrize("answer", ["NO", "no.", ' "No" ', "None", "", "<|END|>"])
def test_no_is_understood(answer: str) -> None:
    assert says_no(answer)


def test_records_are_no_no() -> None:
    assert not says_no(f"No, wait:\n{ADA}")
