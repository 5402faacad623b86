"""Retrieval: the conformance fixture, scores, paging, filters, languages (knowledge.md 3.2, 4)."""

from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, add_chunk, make_dataset, parse, parsed, shown, upload

FIXTURE = b"This is the content of a test TXT file."


@pytest.fixture
async def fixture(world: World, api: Api) -> tuple[str, str]:
    """One parsed chunk and four added ones (knowledge.md 3.2); dataset and document."""
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("ragflow_test_upload_0.txt", FIXTURE))
    for number in range(4):
        await add_chunk(world, api, dataset["id"], document["id"], f"chunk test {number}")
    return dataset["id"], document["id"]


async def search(api: Api, *dataset_ids: str, question: str = "chunk", **sent: Any) -> Any:
    return await api.ok("POST", "/retrieval", json={"question": question, "dataset_ids": list(dataset_ids), **sent})


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 10])
async def test_the_question_chunk_finds_exactly_the_four_added_chunks(
    api: Api, fixture: tuple[str, str], weight: float
) -> None:
    """knowledge.md 4.5: exactly 4 of 5 at every weight, threshold 0.2."""
    found = await search(api, fixture[0], vector_similarity_weight=weight, similarity_threshold=0.2)

    assert sorted(chunk["content"] for chunk in found["chunks"]) == [f"chunk test {n}" for n in range(4)]
    assert found["total"] == 4
    assert found["doc_aggs"] == [{"doc_name": "ragflow_test_upload_0.txt", "doc_id": fixture[1], "count": 4}]


@pytest.mark.parametrize(
    ("sent", "rows"),
    [
        ({"page": 2, "page_size": 2}, 2),
        ({"page": 3, "page_size": 2}, 0),
        ({"page_size": 5}, 4),
        ({"top_k": 1}, 4),
        ({"top_k": 10}, 4),
        ({"page": 10**30}, 0),
        ({"page_size": 0}, 0),
    ],
)
async def test_hits_are_ranked_once_and_sliced_globally(
    api: Api, fixture: tuple[str, str], sent: dict[str, Any], rows: int
) -> None:
    """knowledge.md 4.4 P; lexical hits are not limited by `top_k`."""
    if sent.get("page", 0) > 2**63:
        await api.refusal("POST", "/retrieval", json={"question": "chunk", "dataset_ids": [fixture[0]], **sent})
        return
    found = await search(api, fixture[0], **sent)

    assert (len(found["chunks"]), found["total"]) == (rows, 4)


async def test_pages_do_not_overlap_and_keep_their_order(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.4 P."""
    whole = [chunk["id"] for chunk in (await search(api, fixture[0]))["chunks"]]
    pages = [
        chunk["id"] for page in (1, 2) for chunk in (await search(api, fixture[0], page=page, page_size=2))["chunks"]
    ]

    assert pages == whole


async def test_a_hit_has_the_fields_of_the_contract(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.2, and the score of 4.3."""
    [hit, *_] = (await search(api, fixture[0], question="test 3", highlight=True))["chunks"]

    assert set(hit) == {
        "id", "content", "content_ltks", "document_id", "document_keyword", "document_name", "dataset_id",
        "important_keywords", "questions", "image_id", "positions", "doc_type_kwd", "similarity",
        "vector_similarity", "term_similarity", "highlight",
    }  # fmt: skip
    assert hit["content"] == "chunk test 3"
    assert hit["term_similarity"] == pytest.approx(1.0)
    assert hit["similarity"] == pytest.approx(0.7 * hit["term_similarity"] + 0.3 * hit["vector_similarity"])
    assert hit["highlight"] == "chunk <em>test</em> <em>3</em>"
    assert hit["document_name"] == hit["document_keyword"] == "ragflow_test_upload_0.txt"


async def test_an_empty_question_finds_nothing(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.1, 4.2: and `doc_aggs` is an object then."""
    assert await search(api, fixture[0], question="") == {"total": 0, "chunks": [], "doc_aggs": {}}


@pytest.mark.parametrize(
    ("keywords", "hits"), [("chunk", 4), ("1", 1), ("ragflow", 1), ("unknown", 0), ("", 5), ("!!!", 0)]
)
async def test_lists_of_chunks_search_by_words(api: Api, fixture: tuple[str, str], keywords: str, hits: int) -> None:
    """knowledge.md 3.2: the suite's fixture; a word of the file name hits parsed chunks only."""
    path = f"/datasets/{fixture[0]}/documents/{fixture[1]}/chunks"
    found = await api.ok("GET", path, params={"keywords": keywords})

    assert (found["total"], len(found["chunks"])) == (hits, hits)
    assert found["doc"]["id"] == fixture[1]


async def test_lists_of_chunks_show_snippets_and_order(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 3.2: snippets with `<em>`; rows without a page come last."""
    path = f"/datasets/{fixture[0]}/documents/{fixture[1]}/chunks"
    all_chunks = (await api.ok("GET", path))["chunks"]
    found = (await api.ok("GET", path, params={"keywords": "chunk"}))["chunks"]

    assert all_chunks[0]["content"] == FIXTURE.decode()
    assert all_chunks[0]["positions"] == [[1, 0, 0, 0, 0]]
    assert found[0]["content"].startswith("<em>chunk</em> test")
    [one] = (await api.ok("GET", path, params={"id": all_chunks[0]["id"]}))["chunks"]
    assert one == all_chunks[0]
    assert await api.refusal("GET", path, params={"id": "nope"}) == missing(f"Chunk not found: {fixture[0]}/nope")


TEXTS = {
    "running.txt": "The runners were running through the parks.",
    "chinese.txt": "北京是中国的首都，人口超过两千万。",
    "cafe.txt": "Das Café öffnet um neun Uhr.",
    "full.txt": "Ｆｕｌｌｗｉｄｔｈ letters are folded.",
}


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("run in a park", "running.txt"),
        ("中国首都", "chinese.txt"),
        ("人口", "chinese.txt"),
        ("cafe", "cafe.txt"),
        ("CAFÉ", "cafe.txt"),
        ("fullwidth", "full.txt"),
    ],
)
async def test_words_are_found_by_stem_script_and_fold(world: World, api: Api, question: str, name: str) -> None:
    """knowledge.md 7.1, 7.5: stemming, CJK, Unicode folding."""
    dataset = await make_dataset(api)
    await parsed(world, api, dataset["id"], *[(each, text.encode()) for each, text in TEXTS.items()])

    found = await search(api, dataset["id"], question=question, vector_similarity_weight=0)

    assert [chunk["document_name"] for chunk in found["chunks"]] == [name]


async def test_metadata_restricts_documents(world: World, api: Api) -> None:
    """knowledge.md 4.6 P: what matches nothing finds nothing."""
    dataset = await make_dataset(api)
    files = [("a.txt", b"the same words"), ("b.txt", b"the same words too")]
    a, _ = await parsed(world, api, dataset["id"], *files)
    await world.rows(
        api,
        """UPDATE documents SET meta_fields = '{"author": "Toby", "year": 2020}' WHERE id = :id RETURNING 1""",
        id=a["id"],
    )

    def condition(operator: str, value: Any, name: str = "author") -> dict[str, Any]:
        return {"conditions": [{"name": name, "comparison_operator": operator, "value": value}]}

    for fits in (
        condition("=", "toby"),
        condition("is", "Toby"),
        condition("≥", "2020", "year"),
        condition("contains", "OB"),
    ):
        found = await search(api, dataset["id"], question="same words", metadata_condition=fits)
        assert [chunk["document_id"] for chunk in found["chunks"]] == [a["id"]], fits
    for misfits in (condition("=", "Ann"), condition("=", "x", "unknown"), condition("<", 2020, "year")):
        nothing = await search(api, dataset["id"], question="same words", metadata_condition=misfits)
        assert nothing == {"total": 0, "chunks": [], "doc_aggs": {}}
    assert (await search(api, dataset["id"], question="same words", metadata_condition={}))["total"] == 2


async def test_documents_can_be_named_and_must_be_there(world: World, api: Api) -> None:
    """knowledge.md 4.1 `document_ids`."""
    dataset = await make_dataset(api)
    a, b = await parsed(world, api, dataset["id"], ("a.txt", b"same words"), ("b.txt", b"same words"))

    found = await search(api, dataset["id"], question="same words", document_ids=[b["id"]])

    assert [chunk["document_id"] for chunk in found["chunks"]] == [b["id"]]
    body = {"question": "x", "dataset_ids": [dataset["id"]], "document_ids": ["f" * 32]}
    assert await api.refusal("POST", "/retrieval", json=body) == missing(
        "The datasets don't own the document " + "f" * 32
    )
    assert a["chunk_count"] == 1


async def test_disabled_documents_are_not_found(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.5: unavailable chunks are excluded."""
    await world.rows(api, "UPDATE documents SET is_enabled = false RETURNING 1")

    assert (await search(api, fixture[0]))["total"] == 0


async def test_pagerank_is_added_unscaled(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.3."""
    before = (await search(api, fixture[0]))["chunks"][0]["similarity"]
    await api.ok("PUT", f"/datasets/{fixture[0]}", json={"pagerank": 7})

    assert (await search(api, fixture[0]))["chunks"][0]["similarity"] == pytest.approx(before + 7)


async def test_datasets_with_different_models_are_not_searched_together(world: World, api: Api) -> None:
    """knowledge.md 4.1: the stray quote is literal."""
    one = await make_dataset(api)
    other = await make_dataset(api, embedding_model="other-embedding@builtin")
    body = {"question": "x", "dataset_ids": [one["id"], other["id"]]}

    assert await api.refusal("POST", "/retrieval", json=body) == invalid('Datasets use different embedding models."')


async def test_a_search_before_any_parsing_says_so(api: Api) -> None:
    """knowledge.md 4.1."""
    dataset = await make_dataset(api)
    body = {"question": "x", "dataset_ids": [dataset["id"]]}

    assert await api.refusal("POST", "/retrieval", json=body) == invalid(
        "No chunk found! Check the chunk status please!"
    )


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "`dataset_ids` is required."),
        ({"dataset_ids": []}, "`dataset_ids` is required."),
        ({"dataset_ids": "x"}, "`dataset_ids` should be a list"),
        ({"dataset_ids": ["x"]}, "`question` is required."),
        ({"dataset_ids": ["x"], "question": "q", "document_ids": "x"}, "`documents` should be a list"),
        ({"dataset_ids": ["x"], "question": "q", "top_k": -1}, "`top_k` must be greater than 0"),
        ({"dataset_ids": ["x"], "question": "q", "top_k": 0}, "`top_k` must be greater than 0"),
        ({"dataset_ids": ["x"], "question": "q", "page": None}, "`page` should be an integer"),
        ({"dataset_ids": ["x"], "question": "q", "page": "a"}, "`page` should be an integer"),
        ({"dataset_ids": ["x"], "question": "q", "highlight": "maybe"}, "`highlight` should be a boolean"),
        ({"dataset_ids": [1], "question": "q"}, "`dataset_ids` should be a list of strings"),
        ({"dataset_ids": ["x"], "question": "q\x00"}, "Text must not contain NUL characters"),
    ],
)
async def test_bad_requests_are_told_what_is_wrong(api: Api, sent: dict[str, Any], message: str) -> None:
    """knowledge.md 4.1."""
    assert await api.refusal("POST", "/retrieval", json=sent) == invalid(message)


async def test_an_unknown_rerank_model_is_refused(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.1 `rerank_id`."""
    body = {"question": "chunk", "dataset_ids": [fixture[0]], "rerank_id": "nope"}

    assert await api.refusal("POST", "/retrieval", json=body) == invalid("Model(nope) not authorized")


async def test_a_rerank_model_takes_the_place_of_the_vectors(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.3 step 4: it is given the original text."""
    world.models["ranker"] = _Ranker()

    found = await search(api, fixture[0], rerank_id="ranker", vector_similarity_weight=1)

    assert [chunk["content"] for chunk in found["chunks"]] == [f"chunk test {n}" for n in (3, 2, 1)]
    assert found["chunks"][0]["vector_similarity"] == 1.0


class _Ranker:
    name = "ranker"
    provider = "builtin"

    async def rerank(self, _query: str, passages: list[str], *, deadline_s: float) -> tuple[list[float], Any]:
        from app.domain.models import Usage

        return [int(passage[-1]) / 3 if passage[-1].isdigit() else 0.0 for passage in passages], Usage()


async def test_a_search_is_in_the_ledger(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """design.md 1.6: one row per model call, the day's sums beside it."""
    await search(api, fixture[0])

    ledger = await world.rows(api, "SELECT purpose, kind, model FROM usage_ledger ORDER BY id")
    assert [(row.purpose, row.kind) for row in ledger] == [("ingest", "embedding"), ("query", "embedding")]


async def test_another_tenants_datasets_are_missing(api: Api, rival: Api, fixture: tuple[str, str]) -> None:
    """design.md 1.4, knowledge.md 0.6."""
    body = {"question": "chunk", "dataset_ids": [fixture[0]]}

    assert await rival.refusal("POST", "/retrieval", json=body) == missing(f"You don't own the dataset {fixture[0]}.")


async def test_a_search_asks_the_database_a_bounded_number_of_times(
    world: World, api: Api, fixture: tuple[str, str]
) -> None:
    """However many hits there are."""
    await search(api, fixture[0])
    with world.queries() as one:
        await search(api, fixture[0], page_size=1)
    with world.queries() as many:
        await search(api, fixture[0], page_size=30)

    assert len(one) == len(many) <= 14


async def test_what_is_parsed_is_found_at_once_and_what_is_deleted_no_more(world: World, api: Api) -> None:
    """knowledge.md 7.5: read your writes."""
    dataset = await make_dataset(api)
    kept, gone = await parsed(world, api, dataset["id"], ("a.txt", b"red apples"), ("b.txt", b"green apples"))
    assert (await search(api, dataset["id"], question="apples"))["total"] == 2

    await api.ok("DELETE", f"/datasets/{dataset['id']}/documents", json={"ids": [gone["id"]]})

    found = await search(api, dataset["id"], question="apples")
    assert [chunk["document_id"] for chunk in found["chunks"]] == [kept["id"]]


async def test_a_new_upload_is_not_found_before_it_is_parsed(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 2.8: UNSTART documents have no chunks."""
    [document] = await upload(api, fixture[0], ("later.txt", b"chunk of later"))

    assert (await search(api, fixture[0]))["total"] == 4
    await parse(api, fixture[0], document["id"])
    await world.work()
    assert (await shown(api, fixture[0], document["id"]))["run"] == "DONE"
    assert (await search(api, fixture[0]))["total"] == 5
