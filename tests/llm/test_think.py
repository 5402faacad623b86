from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.llm.think import ThinkSplitter

TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "think>", "a", "\n", "<thi", "b c", "<b>", "ü"]), max_size=20
).map("".join)


def split(pieces: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    parts = [part for piece in pieces for part in splitter.feed(piece)] + splitter.flush()
    assert all(text for _, text in parts)
    return "".join(text for thinks, text in parts if thinks), "".join(text for thinks, text in parts if not thinks)


@given(text=TEXTS, cuts=st.lists(st.integers(0, 100), max_size=10))
def test_thinking_is_split_off_alike_however_the_text_is_cut(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})

    assert split([text[start:end] for start, end in pairwise(edges)]) == split([text])


def test_tags_that_straddle_pieces_are_found() -> None:
    assert split(["Hi <th", "ink>hm", "m</t", "hink>\n", "\nyes"]) == ("hmm", "Hi yes")


def test_text_that_only_looks_like_a_tag_stays() -> None:
    assert split(["1 <", " 2 and <thin", "g>"]) == ("", "1 < 2 and <thing>")


def test_thinking_that_never_closes_is_all_thinking() -> None:
    assert split(["<think>for ever </thin"]) == ("for ever </thin", "")


def test_a_model_whose_template_opens_the_thinking_starts_in_it() -> None:
    splitter = ThinkSplitter(starts_thinking=True)

    assert splitter.feed("hmm</think>yes") == [(True, "hmm"), (False, "yes")]
