import pytest

from app.domain.models import ChatMessage
from app.llm.base import TokenCounter
from app.llm.tokens import ApproximateTokenCounter, BpeTokenCounter, count_prompt

PROSE = "The refund is paid within thirty days after the goods came back to us, unless the seal was broken. " * 20


@pytest.fixture(scope="module")
def exact() -> BpeTokenCounter:
    return BpeTokenCounter()


def test_known_texts_have_their_known_counts(exact: BpeTokenCounter) -> None:
    assert [exact.count(text) for text in ("", "hello world", "hello \ud800")] == [0, 2, 2]


def test_the_spelling_of_a_special_token_is_counted_as_text(exact: BpeTokenCounter) -> None:
    assert exact.count("<|endoftext|>") > 1


def test_a_text_of_megabytes_is_counted_in_slices(exact: BpeTokenCounter) -> None:
    sentence = "The quick brown fox. "

    assert exact.count(sentence * 100_000) == pytest.approx(exact.count(sentence * 1000) * 100, rel=0.001)


def test_the_approximation_is_near_on_prose(exact: BpeTokenCounter) -> None:
    assert ApproximateTokenCounter().count(PROSE) == pytest.approx(exact.count(PROSE), rel=0.25)


@pytest.mark.parametrize("counter", [ApproximateTokenCounter(), BpeTokenCounter()])
def test_a_prompt_counts_every_message(counter: TokenCounter) -> None:
    one = [ChatMessage(role="user", content=PROSE)]

    assert count_prompt(one * 3, counter) > 2.9 * count_prompt(one, counter) > 0
    assert ApproximateTokenCounter().count("你好世界") == 4
