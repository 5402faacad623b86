"""Conditions on documents' metadata (knowledge.md 4.6)."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Invalid
from app.retrieval.metadata import OPERATORS, read_filter


def condition(operator: Any, value: Any = "", name: Any = "k") -> dict[str, Any]:
    return {"name": name, "comparison_operator": operator, "value": value}


def allows(fields: dict[str, Any], *conditions: dict[str, Any], **more: Any) -> bool:
    """Tell whether a document with these fields is let through."""
    found = read_filter({"conditions": list(conditions), **more})
    assert found is not None
    return found.allows(fields)


@pytest.mark.promise("4.6-operators")
@pytest.mark.parametrize(
    ("held", "operator", "value", "is_met"),
    [
        ("Toby", "=", "Toby", True),
        ("Toby", "=", "Tobias", False),
        ("Toby", "≠", "Tobias", True),
        ("Toby", "≠", "Toby", False),
        (3, ">", 2, True),
        (2, ">", 2, False),
        (1, "<", 2, True),
        (2, "<", 2, False),
        (2, "≥", 2, True),
        (1, "≥", 2, False),
        (2, "≤", 2, True),
        (3, "≤", 2, False),
        ("annual report", "contains", "report", True),
        ("annual report", "contains", "invoice", False),
        ("annual report", "not contains", "invoice", True),
        ("annual report", "not contains", "report", False),
        ("annual report", "start with", "annual", True),
        ("annual report", "start with", "report", False),
        ("annual report", "end with", "report", True),
        ("annual report", "end with", "annual", False),
        ("", "empty", None, True),
        ("  ", "empty", None, True),
        (None, "empty", None, True),
        ([], "empty", None, True),
        (0, "empty", None, False),
        (False, "empty", None, False),
        ("x", "empty", None, False),
        ("x", "not empty", None, True),
        ("", "not empty", None, False),
        ("b", "in", ["a", "b"], True),
        ("b", "in", "a, b", True),
        ("c", "in", ["a", "b"], False),
        ("c", "not in", ["a", "b"], True),
        ("b", "not in", "a,b", False),
    ],
)
def test_each_operator_compares(held: Any, operator: str, value: Any, is_met: bool) -> None:
    assert allows({"k": held}, condition(operator, value)) is is_met


@pytest.mark.promise("4.6-aliases")
@pytest.mark.parametrize(
    ("alias", "operator"),
    [
        ("is", "="),
        ("==", "="),
        ("not is", "≠"),
        ("is not", "≠"),
        ("!=", "≠"),
        (">=", "≥"),
        ("<=", "≤"),
        ("Contains", "contains"),
    ],
)
def test_operators_have_other_names(alias: str, operator: str) -> None:
    for held in (1, 2, 3, "2", "12", "a"):
        assert allows({"k": held}, condition(alias, 2)) is allows({"k": held}, condition(operator, 2))


@pytest.mark.promise("4.6-logic")
def test_all_conditions_hold_or_any_of_them() -> None:
    one, other = condition("=", "x", "a"), condition("=", "y", "b")

    assert allows({"a": "x", "b": "y"}, one, other)
    assert not allows({"a": "x", "b": "z"}, one, other)
    assert allows({"a": "x", "b": "y"}, one, other, logic="and")
    assert allows({"a": "x", "b": "z"}, one, other, logic="or")
    assert allows({"a": "x"}, one, other, logic="OR")
    assert not allows({"a": "z", "b": "z"}, one, other, logic="or")


@pytest.mark.promise("4.6-numbers")
@pytest.mark.parametrize(
    ("held", "operator", "value", "is_met"),
    [
        ("10", ">", "9", True),  # as text it would not be
        (10, ">", "9", True),
        ("2.50", "=", 2.5, True),
        ("1e3", "=", 1000, True),
        (-1, "<", "0", True),
        (" 7 ", "=", 7, True),
        (12345678901234567890, "=", 12345678901234567891, False),  # equal as floats
        (True, "=", 1, False),
        ("1_000", "=", 1000, False),
        ("10", ">", "9a", False),  # one of them is no number, so both are text
        ("v10", "<", "v9", True),
        ("nan", "=", "NaN", True),
        ("Infinity", "=", "infinity", True),
        ("Infinity", ">", 5, True),  # as text: a letter comes after a digit
    ],
)
def test_numbers_compare_as_numbers_when_both_are(held: Any, operator: str, value: Any, is_met: bool) -> None:
    assert allows({"k": held}, condition(operator, value)) is is_met


@pytest.mark.promise("4.6-dates")
@given(day=st.dates(min_value=date(1000, 1, 1), max_value=date(9000, 1, 1)), later=st.integers(1, 5000))
def test_dates_compare_as_dates(day: date, later: int) -> None:
    other = day + timedelta(days=later)
    for operator, is_met in (("<", True), ("≤", True), ("≠", True), (">", False), ("≥", False), ("=", False)):
        assert allows({"k": day.isoformat()}, condition(operator, other.isoformat())) is is_met
    assert allows({"k": day.isoformat()}, condition("=", day.isoformat()))


@pytest.mark.promise("4.6-case")
@pytest.mark.parametrize("operator", ["=", "contains", "start with", "end with", "in"])
@pytest.mark.parametrize(("held", "value"), [("TOBY", "toby"), ("Straße", "STRASSE"), ("ÉCOLE", "école")])
def test_case_does_not_matter(operator: str, held: str, value: str) -> None:
    assert allows({"k": held}, condition(operator, value))
    assert not allows({"k": held}, condition("≠", value))


@pytest.mark.promise("4.6-lists")
def test_lists_match_per_item() -> None:
    fields = {"k": ["red", "Green", 7]}

    assert allows(fields, condition("=", "green"))
    assert allows(fields, condition("contains", "ree"))
    assert allows(fields, condition(">", 6))
    assert not allows(fields, condition("=", "blue"))
    assert allows(fields, condition("≠", "blue"))
    assert not allows(fields, condition("≠", "red"))
    assert not allows(fields, condition("not contains", "ree"))
    assert allows(fields, condition("=", ["blue", "red"]))
    assert not allows(fields, condition("≠", ["blue", "red"]))


@pytest.mark.promise("4.6-missing-key")
@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_a_document_without_the_key_does_not_match(operator: str) -> None:
    assert not allows({}, condition(operator, "x"))
    assert not allows({"K": "x"}, condition(operator, "x"))  # keys are compared exactly


@pytest.mark.promise("4.6-no-conditions")
@pytest.mark.parametrize("sent", [None, {}, {"conditions": []}, {"conditions": None}, {"logic": "or"}])
def test_no_condition_is_no_filter(sent: Any) -> None:
    assert read_filter(sent) is None


@pytest.mark.promise("4.6-bad-shape")
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"conditions": "x"}, "`conditions` should be a list."),
        ({"conditions": {"name": "k"}}, "`conditions` should be a list."),
        ({"conditions": ["x"]}, "Each condition requires a name."),
        ({"conditions": [{}]}, "Each condition requires a name."),
        ({"conditions": [condition("=", "x", name=7)]}, "Each condition requires a name."),
        ({"conditions": [condition("~", "x")]}, "Unknown comparison_operator `~`."),
        ({"conditions": [condition(None, "x")]}, "Unknown comparison_operator `None`."),
        ({"conditions": [condition([], "x")]}, "Unknown comparison_operator `[]`."),
        ({"conditions": [condition("=", None)]}, "`value` of `=` should be a text, a number or a list of them."),
        ({"conditions": [condition("in", {})]}, "`value` of `in` should be a text, a number or a list of them."),
        ({"conditions": [condition("=", [[]])]}, "`value` of `=` should be a text, a number or a list of them."),
        ({"conditions": [condition("=", "x")] * 101}, "At most 100 conditions can be combined."),
        ({"conditions": [condition("=", "x")], "logic": "xor"}, "`logic` should be `and` or `or`."),
        ({"conditions": [condition("=", "x")], "logic": 7}, "`logic` should be `and` or `or`."),
    ],
)
def test_what_is_no_condition_is_refused(sent: Any, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_filter(sent)
    assert refused.value.message == message


_ANY = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))


@pytest.mark.promise("4.6-operators")
@given(held=st.one_of(_ANY, st.lists(_ANY, max_size=4)), value=_ANY.filter(lambda each: each is not None))
def test_an_operator_and_its_negation_never_agree(held: Any, value: Any) -> None:
    """Whatever metadata holds: nothing raises, and of each pair exactly one lets the document through."""
    for positive, negative in (("=", "≠"), ("contains", "not contains"), ("in", "not in"), ("empty", "not empty")):
        fields = {"k": held}
        assert allows(fields, condition(positive, value)) is not allows(fields, condition(negative, value))
