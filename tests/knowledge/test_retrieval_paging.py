"""Pages of a ranking: made once, sliced globally (knowledge.md 4.2, 4.4)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import DatasetId, DocumentId
from app.domain.retrieval import SearchRequest
from app.retrieval.results import page, ranked
from app.retrieval.scoring import Candidate
from tests.chats.world import Api
from tests.knowledge.searching import contents, search
from tests.knowledge.world import World


@pytest.mark.promise("4.4-global-slice", "4.4-top-k", "4.1-paging-values")
@pytest.mark.parametrize(
    ("sent", "rows"),
    [
        ({"page": 1, "page_size": 2}, 2),
        ({"page": 2, "page_size": 2}, 2),
        ({"page": 3, "page_size": 2}, 0),
        ({"page_size": 5}, 4),
        ({"page_size": 1}, 1),
        ({"top_k": 1}, 4),
        ({"top_k": 10}, 4),
        ({"top_k": "10"}, 4),
        ({"page": "2", "page_size": "3"}, 1),
        ({"page": 2.0, "page_size": 3.0}, 1),
        ({"page": 2**63 - 1}, 0),
        ({"page": 0}, 4),
        ({"page": -7}, 4),
        ({"page_size": 0}, 0),
        ({"page_size": -1}, 0),
        ({"page_size": 2**40}, 4),
    ],
)
async def test_hits_are_ranked_once_and_sliced_globally(
    api: Api, fixture: tuple[str, str], sent: dict[str, Any], rows: int
) -> None:
    found = await search(api, fixture[0], **sent)

    assert (len(found["chunks"]), found["total"]) == (rows, 4)


@pytest.mark.promise("4.4-concatenation", "4.2-total", "4.2-order")
async def test_all_pages_together_are_one_page_of_all(api: Api, fixture: tuple[str, str]) -> None:
    """For every page size; and every page tells the same total and the same documents."""
    whole = await search(api, fixture[0], question="chunk test 2", similarity_threshold=0.0)
    assert whole["total"] == len(whole["chunks"]) == 5
    scores = [chunk["similarity"] for chunk in whole["chunks"]]
    assert scores == sorted(scores, reverse=True)
    for size in range(1, 7):
        pages = [
            await search(
                api, fixture[0], question="chunk test 2", similarity_threshold=0.0, page=number, page_size=size
            )
            for number in range(1, 5 // size + 3)
        ]
        assert [chunk for one in pages for chunk in one["chunks"]] == whole["chunks"]
        assert {one["total"] for one in pages} == {5}
        assert all(one["doc_aggs"] == whole["doc_aggs"] for one in pages)


@pytest.mark.promise("4.4-concatenation")
async def test_pages_of_a_reranked_search_fit_together(
    world: World, api: Api, fixture: tuple[str, str], ranker: None
) -> None:
    whole = await search(api, fixture[0], rerank_id="ranker", similarity_threshold=0.0)
    pages = [
        await search(api, fixture[0], rerank_id="ranker", similarity_threshold=0.0, page=number, page_size=3)
        for number in (1, 2)
    ]

    assert contents(pages[0]) + contents(pages[1]) == contents(whole)
    assert whole["total"] == pages[0]["total"] == pages[1]["total"] == 4


class _Ranker:
    name = "ranker"
    provider = "builtin"

    async def rerank(self, _query: str, passages: list[str], *, deadline_s: float) -> tuple[list[float], Any]:
        from app.domain.models import Usage

        return [int(passage[-1]) / 3 if passage[-1].isdigit() else 0.0 for passage in passages], Usage()


@pytest.fixture
def ranker(world: World) -> None:
    world.models["ranker"] = _Ranker()


@pytest.mark.promise("4.4-concatenation", "4.2-total")
@given(
    measures=st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["a", "b", "c"]), st.integers(0, 2)), max_size=40
    ),
    size=st.integers(1, 45),
    weight=st.floats(0, 1),
    threshold=st.floats(0, 1),
)
def test_pages_of_any_ranking_fit_together(
    measures: list[tuple[float, float, str, int]], size: int, weight: float, threshold: float
) -> None:
    pool = [
        Candidate(
            chunk_id=f"{number:03}",
            document_id=document,
            document_name=document,
            term_similarity=term,
            vector_similarity=vector,
            rank=float(rank),
        )
        for number, (term, vector, document, rank) in enumerate(measures)
    ]

    def asked(number: int) -> SearchRequest:
        return SearchRequest(
            question="x",
            dataset_ids=(DatasetId("d"),),
            document_ids=(DocumentId("a"),),
            page=number,
            page_size=size,
            similarity_threshold=threshold,
            vector_similarity_weight=weight,
        )

    whole = ranked(pool, asked(1))
    pages = [page(pool, asked(number)) for number in range(1, len(pool) // size + 3)]
    assert [hit for one in pages for hit in one.hits] == whole
    assert {one.total for one in pages} == {len(whole)}
    assert all(sum(each.count for each in one.documents) == len(whole) for one in pages)
    assert all(hit.similarity >= threshold for hit in whole)
