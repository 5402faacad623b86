import math

import numpy as np

from app.retrieval.quotes import Quote, Sentence, pick_quotes, quotable_sentences, quote_answer

PASSAGE = """# Refunds and returns

Refunds are **paid** within 30 days
of the purchase. See [the page](http://x/y) for details, e.g. on fees.

- Keep the receipt until then.
- Yes.

| a | b |
|---|---|
| 1 | 2 |

```sh
rm -rf this is no sentence.
```
"""


def test_sentences_are_taken_from_prose_and_lists_only() -> None:
    assert [
        (s.text, s.chunk_number, s.ordinal) for s in quotable_sentences([PASSAGE, "Keep the receipt until then."])
    ] == [
        ("Refunds are paid within 30 days of the purchase.", 0, 0),
        ("See the page for details, e.g. on fees.", 0, 1),
        ("Keep the receipt until then.", 0, 2),
    ]


def test_a_remark_in_brackets_does_not_end_a_sentence() -> None:
    passage = (
        "It solves a problem (by definition!) in a simple way. (A remark of its own.) Another sentence follows here."
    )
    assert [sentence.text for sentence in quotable_sentences([passage])] == [
        "It solves a problem (by definition!) in a simple way.",
        "(A remark of its own.)",
        "Another sentence follows here.",
    ]


def sentences(*chunks: int) -> list[Sentence]:
    counts: dict[int, int] = {}
    made: list[Sentence] = []
    for at, chunk in enumerate(chunks):
        made.append(Sentence(text=f"s{at}", chunk_number=chunk, ordinal=counts.get(chunk, 0)))
        counts[chunk] = counts.get(chunk, 0) + 1
    return made


def pick(scores: list[float], *chunks: int, most: int = 3) -> list[tuple[str, int]]:
    rows = len(scores)
    vectors = np.column_stack([scores, np.diag([math.sqrt(1 - score**2) for score in scores])])
    quotes = pick_quotes(np.eye(rows + 1)[0], vectors, sentences(*chunks), most=most)
    return [(quote.text, quote.chunk_number) for quote in quotes]


def test_the_nearest_sentences_are_picked_best_first() -> None:
    assert pick([0.2, 0.7, 0.2, 0.8], 0, 0, 1, 1) == [("s3", 1), ("s1", 0)]


def test_nothing_is_picked_below_the_floor() -> None:
    assert pick([0.2, 0.4], 0, 0) == []
    assert pick_quotes([1.0], [], []) == []


def test_a_sentence_that_follows_and_is_nearly_as_near_comes_along() -> None:
    assert pick([0.8, 0.7, 0.2], 0, 0, 0) == [("s0 s1", 0)]
    assert pick([0.8, 0.45], 0, 0) == [("s0", 0)]
    assert pick([0.8, 0.7], 0, 1) == [("s0", 0), ("s1", 1)]


def test_touching_sentences_become_one_quote_in_reading_order() -> None:
    assert pick([0.72, 0.85], 0, 0) == [("s0 s1", 0)]


def test_there_are_at_most_so_many_sentences() -> None:
    assert pick([0.8] * 5, 0, 0, 0, 0, 0) == [("s0 s1 s2", 0)]
    assert pick([0.8] * 5, 0, 1, 2, 3, 4, most=2) == [("s0", 0), ("s1", 1)]


def test_quotes_make_an_answer_with_markers() -> None:
    quotes = [Quote(text="One.", chunk_number=2, similarity=0.8), Quote(text="Two.", chunk_number=0, similarity=0.7)]
    assert quote_answer(quotes) == "One. [ID:2]\n\nTwo. [ID:0]"
    assert quote_answer([]) == ""
