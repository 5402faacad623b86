import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.query import query_terms
from app.retrieval.scoring import (
    Candidate,
    candidates,
    clamp_weight,
    document_counts,
    idf,
    page_of,
    rank,
    term_weights,
)
from app.retrieval.text_index import bag


def make(chunk_id: str, *, term: float = 0.0, vector: float = 0.0, document: str = "d", **more: object) -> Candidate:
    values = {"cosine": vector, "is_lexical": term > 0} | more
    return Candidate(
        chunk_id=chunk_id, document_id=document, document_name=f"{document}.txt", term_similarity=term,
        vector_similarity=vector, **values,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.promise("7.3-idf")
def test_rarer_terms_weigh_more_and_weights_add_up_to_one() -> None:
    weights = term_weights(query_terms("common rare"), 1000, {"common": 900, "rare": 2})
    assert weights["rare"] > 2 * weights["common"]
    assert sum(weights.values()) == pytest.approx(1)


@pytest.mark.parametrize(("documents", "frequency"), [(0, 0), (10, 0), (10, 10), (10, 99), (-1, 5)])
def test_idf_is_finite_and_positive(documents: int, frequency: int) -> None:
    assert 0.9 < idf(documents, frequency) < 10


@pytest.mark.promise("4.3-score", "4.3-synonyms")
def test_the_score_is_the_weighted_sum_plus_rank_and_nearness_stands_for_missing_words() -> None:
    (hit,) = rank([make("1", term=0.5, vector=0.9, rank=2.0)], vector_similarity_weight=0.3, similarity_threshold=0.2)
    assert hit.term_similarity == pytest.approx(0.25 + 0.75 * 0.9)
    assert hit.similarity == pytest.approx(0.7 * hit.term_similarity + 0.3 * 0.9 + 2)


@pytest.mark.promise("4.3-bare-words", "4.3-vectors-alone")
def test_at_the_ends_words_and_vectors_stand_alone() -> None:
    pool = [make("words", term=0.9, vector=0.3), make("near", term=0.3, vector=0.9)]
    (words, near) = rank(pool, vector_similarity_weight=0, similarity_threshold=0)
    assert (words.candidate.chunk_id, words.similarity, near.similarity) == ("words", 0.9, 0.3)
    (near, words) = rank(pool, vector_similarity_weight=1, similarity_threshold=0)
    assert (near.candidate.chunk_id, near.similarity, words.similarity) == ("near", 0.9, 0.3)


def numbered(number: int, term: float, vector: float, rank_: float) -> Candidate:
    return make(f"{number:05}", term=term, vector=vector, rank=rank_)


measured = st.builds(
    numbered, st.integers(0, 99999), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 0.0, 1.0, 7.5])
)
pools = st.lists(measured, max_size=30, unique_by=lambda candidate: candidate.chunk_id)
weights = st.floats(0, 1) | st.sampled_from([0.0, 0.3, 1.0, 10.0])


@pytest.mark.promise("4.3-score", "4.3-term-range")
@given(pools, weights)
def test_what_is_shown_always_adds_up(pool: list[Candidate], weight: float) -> None:
    clamped = clamp_weight(weight) if any(candidate.vector_similarity for candidate in pool) else 0.0
    for hit in rank(pool, vector_similarity_weight=weight, similarity_threshold=0):
        assert 0 <= hit.term_similarity <= 1
        assert hit.term_similarity >= hit.candidate.term_similarity**2 - 1e-12
        sum_of_parts = (1 - clamped) * hit.term_similarity + clamped * hit.candidate.vector_similarity
        assert hit.similarity == pytest.approx(sum_of_parts + hit.candidate.rank)


@pytest.mark.promise("4.3-order")
@given(pools, weights, st.floats(0, 1), st.randoms(use_true_random=False))
def test_the_order_is_total_and_does_not_depend_on_where_candidates_came_from(
    pool: list[Candidate], weight: float, threshold: float, shuffled: Random
) -> None:
    hits = rank(pool, vector_similarity_weight=weight, similarity_threshold=threshold)
    other = list(pool)
    shuffled.shuffle(other)
    assert rank(other, vector_similarity_weight=weight, similarity_threshold=threshold) == hits
    assert all(hit.similarity >= threshold for hit in hits)
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    whole = rank(pool, vector_similarity_weight=weight, similarity_threshold=0)
    assert [hit for hit in whole if hit.similarity >= threshold] == hits


@given(measured, weights, st.floats(0, 1))
def test_more_words_and_more_nearness_never_hurt(one: Candidate, weight: float, more: float) -> None:
    def score(candidate: Candidate) -> float:
        anchor = make("anchor", vector=0.5)  # so that there are vectors at all
        hits = rank([candidate, anchor], vector_similarity_weight=weight, similarity_threshold=-1)
        return next(hit.similarity for hit in hits if hit.candidate.chunk_id != "anchor")

    assert score(replace(one, term_similarity=max(more, one.term_similarity))) >= score(one) - 1e-12
    assert score(replace(one, vector_similarity=max(more, one.vector_similarity))) >= score(one) - 1e-12


@pytest.mark.promise("4.3-order")
def test_equal_texts_of_two_documents_are_two_candidates() -> None:
    pool = [make("same", term=0.5, document=document) for document in ("x", "y")]
    kept = candidates(pool, similarity_threshold=0.2, vector_only_floor=0.75, top_k=10)
    assert [candidate.document_id for candidate in kept] == ["x", "y"]


@pytest.mark.promise("4.3-no-vectors")
def test_without_any_vector_the_score_is_the_term_similarity() -> None:
    plain, lifted = make("1", term=0.5), make("2", term=0.5, rank=2.0)
    hits = rank([plain, lifted], vector_similarity_weight=0.9, similarity_threshold=0.2)
    assert [(hit.candidate.chunk_id, hit.similarity) for hit in hits] == [("2", 2.5), ("1", 0.5)]


@pytest.mark.promise("4.3-order")
def test_ties_go_by_chunk_id_and_the_threshold_is_inclusive() -> None:
    hits = rank(
        [make("b", term=0.2), make("a", term=0.2), make("c", term=0.19)],
        vector_similarity_weight=0,
        similarity_threshold=0.2,
    )
    assert [hit.candidate.chunk_id for hit in hits] == ["a", "b"]


@pytest.mark.promise("4.5-fixture")
@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 10])
@pytest.mark.parametrize("top_k", [1, 10, 1024])
def test_the_fixture_of_the_contract_gives_four_of_five_at_every_weight(weight: float, top_k: int) -> None:
    texts = ["This is the content of a test TXT file.", *(f"chunk test {number}" for number in range(4))]
    weights = term_weights(query_terms("chunk"), 5, {"chunk": 4})
    pool = [
        make(str(at), term=sum(share for word, share in weights.items() if word in bag(text, "")), vector=0.3 + at / 10)
        for at, text in enumerate(texts)
    ]
    kept = candidates(pool, similarity_threshold=0.2, vector_only_floor=0.75, top_k=top_k)
    hits = rank(kept, vector_similarity_weight=weight, similarity_threshold=0.2)
    sizes = [len(page_of(hits, page=page, page_size=size).hits) for page, size in ((1, 30), (2, 2), (3, 2), (1, 5))]
    assert sizes == [4, 2, 0, 4]
    assert page_of(hits, page=3, page_size=2).total == 4


@pytest.mark.promise("4.5-lexical-and-near")
def test_beside_lexical_hits_only_very_near_vectors_are_candidates() -> None:
    pool = [make("lexical", term=0.4, vector=0.1), make("near", vector=0.8), make("far", vector=0.5)]
    kept = candidates(pool, similarity_threshold=0.2, vector_only_floor=0.75, top_k=1024)
    assert [candidate.chunk_id for candidate in kept] == ["lexical", "near"]


@pytest.mark.promise("4.5-no-lexical")
def test_without_lexical_hits_vectors_above_the_threshold_are_candidates() -> None:
    pool = [make("a", vector=0.5), make("b", vector=0.9), make("c", vector=0.199), make("b", vector=0.9)]
    pool.append(make("d", vector=0.2))
    kept = candidates(pool, similarity_threshold=0.2, vector_only_floor=0.75, top_k=1024)
    assert [candidate.chunk_id for candidate in kept] == ["b", "a", "d"]
    assert len(candidates(pool, similarity_threshold=0.2, vector_only_floor=0.75, top_k=1)) == 1


@pytest.mark.promise("4.2-total")
def test_documents_are_counted_over_all_hits() -> None:
    hits = rank(
        [make("1", term=0.9, document="x"), make("2", term=0.8, document="y"), make("3", term=0.7, document="y")],
        vector_similarity_weight=0,
        similarity_threshold=0,
    )
    assert [(count.document_id, count.document_name, count.count) for count in document_counts(hits)] == [
        ("y", "y.txt", 2),
        ("x", "x.txt", 1),
    ]


@given(st.lists(st.floats(0, 1), max_size=50), st.integers(1, 10))
def test_pages_put_together_are_the_ranking(scores: list[float], size: int) -> None:
    hits = rank(
        [make(f"{at:03}", term=score) for at, score in enumerate(scores)],
        vector_similarity_weight=0.3,
        similarity_threshold=0.2,
    )
    pages = [page_of(hits, page=number, page_size=size).hits for number in range(1, len(hits) // size + 2)]
    assert [hit for page in pages for hit in page] == hits
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)


def test_weights_are_clamped() -> None:
    assert [clamp_weight(weight) for weight in (-1, 0.4, 10, math.nan, math.inf)] == [0, 0.4, 1, 0, 1]
