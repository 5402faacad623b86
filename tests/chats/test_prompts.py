"""Variables in texts, and the other pure functions of chats (conversations.md 2.2, 2.5, 10.2)."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Invalid
from app.domain.listing import Listing
from app.services.chat_fields import read_fields, read_name
from app.services.chat_readers import WEIGHT_DIGITS
from app.services.listing import PAGE_SIZE_MOST, read_listing, read_moment
from app.services.prompts import Parameter, declared, fill, opener

KEYS = st.text(alphabet="abcxyz_", min_size=1, max_size=4).filter(lambda key: key != "knowledge")
TEXTS = st.lists(st.sampled_from(["{", "}", "{{", "{a}", "{b}", "{ab}", "{c}", "{0}", "{!r}", "x", "%s", "\\1"])).map(
    "".join
)


def optional(*keys: str) -> list[Parameter]:
    return [Parameter(key, is_optional=True) for key in keys]


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("{a} and {b}", {"a": "A"}, "A and  "),
        ("{a}", {"a": True}, "True"),
        ("{a}", {"a": 1.5}, "1.5"),
        ("{a}", {"a": 0}, "0"),
        ("{a}", {"a": ""}, ""),
        ("{a}", {"a": None}, " "),
        ("{a}", {"a": ["x", 1]}, '["x",1]'),
        ("{a}", {"a": "{b}", "b": "B"}, "{b}"),
        ("{a", {"a": "A"}, "{a"),
        ("{{a}}", {"a": "A"}, "{A}"),
        ('{"json": {"a": 1}}', {"a": "A"}, '{"json": {"a": 1}}'),
        ("{c} {0} {a.b} {a!r}", {"a": "A", "c": "C"}, "{c} {0} {a.b} {a!r}"),
        ("{a}", {"a": r"\1 \g<0>"}, r"\1 \g<0>"),
        ("{knowledge}", {"knowledge": "K"}, "{knowledge}"),
    ],
)
def test_10_2_only_declared_tokens_are_replaced(text: str, values: dict[str, Any], filled: str) -> None:
    assert fill(text, [Parameter("knowledge"), *optional("a", "b")], values) == filled


def test_10_2_a_required_variable_must_be_given_even_if_the_text_does_not_name_it() -> None:
    with pytest.raises(Invalid, match=r"^Miss parameter: a$"):
        fill("x", [Parameter("knowledge"), Parameter("a")], {"b": 1})


def test_10_2_what_a_missing_optional_one_becomes_can_be_chosen() -> None:
    assert fill("<{a}>", optional("a"), {}, missing_optional="") == "<>"


@given(text=TEXTS, values=st.dictionaries(KEYS, st.text(), max_size=4))
def test_10_2_without_declarations_no_text_changes(text: str, values: dict[str, str]) -> None:
    assert fill(text, [], values) == text


@given(text=TEXTS, keys=st.sets(st.sampled_from(["a", "b", "ab"])), word=st.text())
def test_10_2_filling_is_one_pass_over_the_declared_tokens(text: str, keys: set[str], word: str) -> None:
    values: dict[str, str] = dict.fromkeys(("a", "b", "ab", "c"), word)

    parts = re.split(r"(\{(?:a|b|ab)\})", text)
    expected = "".join(word if part[1:-1] in keys and part.startswith("{") else part for part in parts)
    assert fill(text, optional(*keys), values) == expected


@given(st.dictionaries(st.just("parameters"), st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_10_2_declarations_are_read_from_whatever_is_stored(config: dict[str, Any]) -> None:
    assert declared(config) == ()


def test_10_2_declarations_keep_their_order_and_the_first_of_a_key() -> None:
    parameters: list[Any] = [{"key": "b", "optional": True}, {"key": "a"}, {"key": "b"}, {"key": ""}, 5]

    assert declared({"parameters": parameters}) == (Parameter("b", is_optional=True), Parameter("a"))


@pytest.mark.parametrize(
    ("prologue", "values", "first_words"),
    [
        ("Hi {who}", {"who": "Ada"}, "Hi Ada"),
        ("Hi {who}", {}, "Hi {who}"),
        ("Hi {title}", {}, "Hi  "),
        ("Hi {undeclared}", {"undeclared": 7}, "Hi 7"),
        ("{knowledge}", {"knowledge": "x"}, "{knowledge}"),
        ("", {}, ""),
        (None, {}, "Hi! I'm your assistant. What can I do for you?"),
    ],
)
def test_10_2_the_opener_takes_what_was_given_and_leaves_the_rest(
    prologue: str | None, values: dict[str, Any], first_words: str
) -> None:
    parameters = [{"key": "who", "optional": False}, {"key": "title", "optional": True}, {"key": "knowledge"}]

    assert opener({"prologue": prologue, "parameters": parameters}, values) == first_words


@pytest.mark.promise("conversations:2.2-weight")
@given(st.floats(0, 1).map(lambda weight: round(weight, 12)))
def test_2_2_the_weight_that_is_echoed_is_the_one_sent(weight: float) -> None:
    sent = {"prompt": {"keywords_similarity_weight": weight}}

    stored = read_fields(sent, default_system="").columns["vector_similarity_weight"]

    assert round(1 - stored, WEIGHT_DIGITS) == weight


@pytest.mark.promise("conversations:2.1-name")
@given(st.one_of(st.text(max_size=300), st.integers(), st.none(), st.lists(st.text())))
def test_2_3_a_name_is_trimmed_and_fits_or_is_refused(name: Any) -> None:
    try:
        read = read_name({"name": name}, missing="none")
    except Invalid as error:
        assert error.message  # noqa: PT017 (either outcome is right)
    else:
        assert read == name.strip()
        assert 1 <= len(read.encode()) <= 255


@given(page=st.integers(0, 10**30), size=st.integers(0, 10**30))
def test_2_5_any_page_fits_what_postgres_counts_with(page: int, size: int) -> None:
    listing = read_listing(page=str(page), page_size=str(size))

    assert 0 <= listing.limit <= PAGE_SIZE_MOST
    assert 0 <= listing.offset < 2**63
    if page <= 10**6 and size <= PAGE_SIZE_MOST:
        assert listing.offset == max(page - 1, 0) * size


@given(st.text(), st.text())
def test_2_5_any_text_is_a_page_or_refused(page: str, desc: str) -> None:
    try:
        listing = read_listing(page=page, desc=desc)
    except Invalid as error:
        assert error.message == "page and page_size must be non-negative integers"  # noqa: PT017
    else:
        assert page.isascii()
        assert page.isdigit()
        assert listing.is_descending == (desc not in ("False", "false"))


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("", None),
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2025-01-31 10:00:01", datetime(2025, 1, 31, 10, 0, 1, tzinfo=UTC)),
        ("2025-01-31T10:00:00+02:00", datetime(2025, 1, 31, 8, tzinfo=UTC)),
        ("2025-01-31T10:00:00Z", datetime(2025, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_8_1_dates(value: str, moment: datetime | None) -> None:
    assert read_moment("from_date", value) == moment


def test_8_1_the_last_day_is_whole() -> None:
    assert read_moment("to_date", "2025-01-31", is_end=True) == datetime(2025, 1, 31, 23, 59, 59, 999999, UTC)


@pytest.mark.parametrize("value", ["x", "2025-13-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00"])
def test_8_1_no_dates(value: str) -> None:
    with pytest.raises(Invalid, match="from_date"):
        read_moment("from_date", value)


@given(st.integers(0, 50), st.integers(0, 20), st.integers(0, 60))
def test_a_stretch_that_ends_early_tells_the_total(there: int, limit: int, offset: int) -> None:
    total = Listing(limit=limit, offset=offset).total(max(0, min(limit, there - offset)))

    assert total in (None, there)
    if offset == 0 and there < limit:
        assert total == there


def test_what_is_found_goes_where_the_assistant_says_and_not_where_a_caller_does() -> None:
    said = {"name": "Ann {knowledge}"}
    filled = fill("Hello {name}. {knowledge}", [Parameter(key="name", is_optional=False)], said)
    assert filled.count("{knowledge}") == 1
    assert filled.replace("\u2060", "") == "Hello Ann {knowledge}. {knowledge}"
