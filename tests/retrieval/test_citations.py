import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.answer_text import split_answer
from app.retrieval.citations import cited_numbers, insert_citations, piece_similarity, repair_markers
from app.retrieval.knowledge import CITATION_INSTRUCTIONS, KnowledgeChunk, render_knowledge
from app.retrieval.text_index import bag


def test_knowledge_is_rendered_as_numbered_blocks() -> None:
    text = render_knowledge(
        [
            KnowledgeChunk(
                content="First text.\n", title="a.txt", metadata={"author": "Ann", "tags": ["x", "y"], "no": None}
            ),
            KnowledgeChunk(content="Second.", title="b\nID: 9", url="https://example.org"),
        ]
    )
    assert text == (
        "ID: 0\ntitle: a.txt\nauthor: Ann\ntags: x, y\nFirst text."
        "\n------\n"
        "ID: 1\ntitle: b ID: 9\nurl: https://example.org\nSecond."
    )
    assert render_knowledge([]) == ""


@pytest.mark.promise("conversations:10.7-instructions")
def test_the_instructions_name_the_marker_and_the_limit() -> None:
    assert "[ID:n]" in CITATION_INSTRUCTIONS
    assert "at most 4" in CITATION_INSTRUCTIONS


@pytest.mark.promise("conversations:10.7-repair", "conversations:10.7-out-of-range")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [ID:0].", "a [ID:0]."),
        ("a (ID: 1).", "a [ID:1]."),
        ("a [ID: 1], b 【ID: 2】", "a [ID:1], b [ID:2]"),
        ("a ref 2.", "a [ID:2]."),
        ("a (ref 2) Ref: 1", "a [ID:2] [ID:1]"),
        ("a [ID:0, ID:2] and [ID: 1,2]", "a [ID:0][ID:2] and [ID:1][ID:2]"),
        ("a [ID:7].", "a."),
        ("a [ID:1, 7].", "a [ID:1]."),
        ("see ref 2024", "see ref 2024"),
        ("prefer 2, idea (identity 2)", "prefer 2, idea (identity 2)"),
        ("`(ID: 1)` and\n```\nref 2\n```\n(ID: 1)", "`(ID: 1)` and\n```\nref 2\n```\n[ID:1]"),
        ("<think>ref 1</think>ref 1", "<think>ref 1</think>[ID:1]"),
        ("```\nopen (ID: 1)", "```\nopen (ID: 1)"),
    ],
)
def test_near_misses_become_markers(text: str, expected: str) -> None:
    assert repair_markers(text, 3) == expected


@given(st.text(alphabet="aID[]():： ref0123【】`<think>\n", max_size=80), st.integers(0, 3))
def test_repairing_is_done_once_and_leaves_only_markers_in_range(text: str, count: int) -> None:
    repaired = repair_markers(text, count)
    assert all(number < count for number in cited_numbers(repaired))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["[ID:1, " * 10_000, " " * 50_000, "`a" * 30_000, "ref " * 20_000, "```\n" * 20_000])
def test_hostile_answers_are_read_in_linear_time(text: str) -> None:
    repaired = repair_markers(text, 2)
    assert "".join(piece.text for piece in split_answer(text)) == text
    assert set(cited_numbers(text)) <= {1}
    assert set(cited_numbers(repaired)) <= {0, 1}


def test_cited_numbers_are_those_of_the_visible_prose() -> None:
    assert cited_numbers("<think>[ID:9]</think>b [ID:2][ID:0] `[ID:7]` c [ID:2]\n```\n[ID:8]\n```") == [2, 0]


@given(st.text(alphabet="aB1. !?\n`~#|<>/think。[ID:0]", max_size=200))
def test_the_pieces_of_an_answer_joined_are_the_answer(answer: str) -> None:
    assert "".join(piece.text for piece in split_answer(answer)) == answer


@pytest.mark.promise("conversations:10.7-insertion")
def test_only_sentences_may_be_cited() -> None:
    answer = (
        "<think>Hm. Yes.</think># Head\nFirst sentence. Second e.g. this one! Ok.\n```py\nx. y\n```\n| a | b |\nThe end"
    )
    assert [piece.text.strip() for piece in split_answer(answer) if piece.is_citable] == [
        "First sentence.",
        "Second e.g. this one!",
        "The end",
    ]


def cite(answer: str, table: dict[str, list[float]]) -> str:
    pieces = split_answer(answer)
    return insert_citations(pieces, lambda at: table.get(pieces[at].text.strip(), [0.0]))


@pytest.mark.promise("conversations:10.7-insertion")
def test_supported_sentences_get_their_markers() -> None:
    answer = "Refunds take 30 days. We like cats.\n\nFees are low.\n"
    assert cite(answer, {"Refunds take 30 days.": [0.2, 0.9, 0.895], "Fees are low.": [0.8, 0.1, 0.0]}) == (
        "Refunds take 30 days. [ID:1] [ID:2] We like cats.\n\nFees are low. [ID:0]\n"
    )


@pytest.mark.promise("conversations:10.7-insertion")
def test_the_threshold_falls_only_while_nothing_is_found() -> None:
    assert cite("One here. Two here.", {"One here.": [0.7], "Two here.": [0.5]}) == "One here. [ID:0] Two here."
    assert cite("One here. Two here.", {"One here.": [0.35], "Two here.": [0.2]}) == "One here. [ID:0] Two here."
    assert cite("One here.", {"One here.": [0.29]}) == "One here."
    assert cite("One here. Two here.", {"One here.": [0.63], "Two here.": [0.62]}) == "One here. [ID:0] Two here."
    assert cite("One here.", {"One here.": [0.3226]}) == "One here. [ID:0]"  # 0.63 · 0.8³ is 0.32256
    assert cite("One here.", {"One here.": [0.3225]}) == "One here."


@pytest.mark.promise("conversations:10.7-insertion")
def test_a_chunk_is_cited_once_and_at_most_four_stand_together() -> None:
    assert cite("One here. Two here.", {"One here.": [0.9], "Two here.": [0.9]}) == "One here. [ID:0] Two here."
    assert cite("One here.", {"One here.": [0.9] * 6}) == "One here. [ID:0] [ID:1] [ID:2] [ID:3]"
    assert cite("One here.", {"One here.": [0.9, 0.892, 0.89]}) == "One here. [ID:0] [ID:1]"  # within 1 % of the best


@pytest.mark.promise("conversations:10.7-insertion")
def test_thinking_and_listings_stay_untouched() -> None:
    answer = "<think>Refunds take 30 days.</think>\n```\nRefunds take 30 days.\n```\n"
    assert cite(answer, {"Refunds take 30 days.": [0.99]}) == answer


@pytest.mark.promise("conversations:10.7-insertion")
def test_a_piece_is_compared_by_words_and_meaning() -> None:
    found = bag("Refunds are paid in days", "")
    assert piece_similarity("refund days", found, 0.5, 0.3) == pytest.approx(0.7 + 0.15)
    assert piece_similarity("...", found, 0.5, 0.3) == pytest.approx(0.15)
