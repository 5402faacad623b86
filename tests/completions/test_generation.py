"""Which of an assistant's settings reach its model; makers may store anything beside them (conversations.md 2.2)."""

from typing import Any

import pytest

from app.domain.models import GenerationOptions
from app.services.generation import options_of


@pytest.mark.parametrize(
    ("stop", "kept"),
    [("END", ("END",)), (["a", "b"], ("a", "b")), (["a", 1, None, ""], ("a",)), (5, ()), ({"a": 1}, ()), ("", ())],
)
def test_an_answer_ends_at_texts_and_at_nothing_else(stop: Any, kept: tuple[str, ...]) -> None:
    assert options_of({"stop": stop}) == GenerationOptions(stop=kept)


@pytest.mark.parametrize("setting", [{"temperature": True}, {"top_p": "0.3"}, {"max_tokens": True}, {"max_tokens": 0}])
def test_what_is_no_number_is_a_note(setting: dict[str, Any]) -> None:
    assert options_of(setting) == GenerationOptions()
