"""The arithmetic of the benches that need texts from Debian, without those texts."""

import math
from pathlib import Path

import pytest
from lxml import html  # type: ignore[import-untyped]

from app.domain.ids import TenantId
from bench import retrieval, retrieval_corpus, scale

QUESTIONS = [(0, "first?"), (1, "second?"), (2, "third?"), (3, "fourth?")]


def test_quality_is_that_of_the_right_document_among_ten() -> None:
    ranking = {0: [0, 9], 1: [9, 1], 2: [*range(10, 20), 2], 3: []}

    told = retrieval.quality(ranking, QUESTIONS, lambda _: True)

    assert told.first == 1 / 4
    assert told.recall == 2 / 4
    assert told.mrr == (1 + 1 / 2) / 4
    assert told.ndcg == pytest.approx((1 + 1 / math.log2(3)) / 4)
    assert retrieval.quality(ranking, QUESTIONS, lambda number: number == 1).recall == 1


def test_half_of_the_questions_is_for_tuning_the_same_half_each_time() -> None:
    half = retrieval.tuned_on(100)
    assert len(half) == 50
    assert half == retrieval.tuned_on(100)


def test_a_question_quoted_elsewhere_is_struck_out(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/doc/python3.11/html/faq"
    folder.mkdir(parents=True)
    answer = "<p>It was made to be read with ease, and that is all there is to say.</p>"
    link = "<a href='#a' title='Why is it so?'>Why is it so?</a>"
    other = f"<p>See {link} or ask: why is  it so? Elsewhere it is told at length.</p>"
    page = f"""<div class="body"><section><h1>FAQ</h1>
        <section><h2>Why is it so?</h2>{answer}</section><section><h2>And what is next?</h2>{other}</section>
        </section></div>"""
    (folder / "general.html").write_text(f"<html><body>{page}</body></html>")

    corpus = retrieval_corpus.build(tmp_path)

    assert [page.question for page in corpus.pages] == ["Why is it so?", "And what is next?"]
    texts = [page.parsed.markdown for page in corpus.pages]
    assert texts[0] == html.fromstring(answer).text_content()
    assert texts[1] == "See or ask:  Elsewhere it is told at length."
    assert corpus.struck == 2


def test_a_million_chunks_are_spread_from_half_of_them_to_fifty() -> None:
    sizes = scale.FULL.sizes()
    assert len(sizes) == 200
    assert sizes[TenantId("tenant000")] == 500_000
    assert min(sizes.values()) == sizes[TenantId("tenant199")] == 50
    assert 999_000 < sum(sizes.values()) <= 1_000_000
