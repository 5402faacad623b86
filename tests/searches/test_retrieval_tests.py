"""What search pages find: `POST /searchbots/retrieval_test` (conversations.md 7.6)."""

from typing import Any

import pytest

from app.domain.retrieval import SearchRequest
from tests.searches.world import BIRD, CAT, DOG, Api, World, add_document, make_dataset, make_search

BOTS = "/api/v1/searchbots"
TEST = f"{BOTS}/retrieval_test"
NOT_OWNED = "Only owner of knowledgebase authorized for this operation."


async def found(caller: Api, kb_id: Any, question: str = "cat", **sent: Any) -> Any:
    return await caller.ok("POST", TEST, json={"kb_id": kb_id, "question": question, **sent})


def texts(told: Any) -> list[str]:
    return [chunk["content_with_weight"] for chunk in told["chunks"]]


@pytest.mark.promise("conversations:7.6-raw-names")
async def test_chunks_have_the_names_of_the_index(api: Api, page: Api, pets: str) -> None:
    told = await found(page, pets)
    assert set(told) == {"total", "labels", "doc_aggs", "chunks"}
    [chunk] = told["chunks"]
    assert set(chunk) == {
        "chunk_id", "content_with_weight", "content_ltks", "doc_id", "docnm_kwd", "kb_id", "important_kwd", "image_id",
        "similarity", "vector_similarity", "term_similarity", "positions", "doc_type_kwd",
    }  # fmt: skip
    assert (chunk["content_with_weight"], chunk["docnm_kwd"], chunk["kb_id"]) == (CAT, "pets.txt", pets)
    assert (told["total"], told["labels"]) == (1, {})
    assert told["doc_aggs"] == [{"doc_name": "pets.txt", "doc_id": chunk["doc_id"], "count": 1}]
    assert chunk["content_ltks"].split()[:2] == ["the", "cat"]
    assert (chunk["important_kwd"], chunk["image_id"], chunk["positions"], chunk["doc_type_kwd"]) == ([], "", [], "")
    path = f"/api/v1/datasets/{pets}/documents/{chunk['doc_id']}/chunks"
    await api.ok("POST", path, json={"content": "Moo.", "important_keywords": ["cow", "milk"]})
    [cow] = (await found(page, pets, "cow"))["chunks"]
    assert (cow["important_kwd"], cow["content_with_weight"]) == (["cow", "milk"], "Moo.")


@pytest.mark.promise("conversations:7.6-test-parameters")
async def test_every_parameter_of_a_retrieval_test(world: World, api: Api, page: Api) -> None:
    dataset = await make_dataset(api)
    first = await add_document(api, dataset, "cat one", "cat two", "cat three", name="a.txt", author="Ann", year=1)
    second = await add_document(api, dataset, "cat four", name="b.txt", author="Bob")
    other = await make_dataset(api, "cat five")

    assert len(texts(await found(page, [dataset, other]))) == 5
    assert len(texts(await found(page, dataset, size=3))) == 3
    assert len(texts(await found(page, dataset, page=2, size=3))) == 1
    assert len(texts(await found(page, dataset, page="2", size="3"))) == 1
    assert texts(await found(page, dataset, doc_ids=[second])) == ["cat four"]
    assert texts(await found(page, dataset, similarity_threshold=1.5)) == []
    for weight in (0.0, 1.0):
        for chunk in (await found(page, dataset, vector_similarity_weight=weight))["chunks"]:
            part = chunk["vector_similarity"] if weight else chunk["term_similarity"]
            assert chunk["similarity"] == pytest.approx(part)
    marked = await found(page, dataset, highlight=True)
    assert all("<em>cat</em>" in chunk["highlight"] for chunk in marked["chunks"])
    manual = {"method": "manual", "manual": [{"key": "author", "op": "=", "value": "bob"}]}
    assert texts(await found(page, dataset, meta_data_filter=manual)) == ["cat four"]
    assert texts(await found(page, dataset, meta_data_filter=manual, doc_ids=[first])) == []
    shown = await found(page, dataset, include_metadata=True)
    assert {chunk["document_metadata"]["author"] for chunk in shown["chunks"]} == {"Ann", "Bob"}
    shown = await found(page, dataset, include_metadata=True, metadata_fields=["year"], doc_ids=[first])
    assert [chunk["document_metadata"] for chunk in shown["chunks"]] == [{"year": 1}] * 3
    model = world.says("cat")
    words: dict[str, Any] = {"similarity_threshold": 0.1, "vector_similarity_weight": 0.0}
    assert texts(await found(page, dataset, question="moggy", **words)) == []
    assert len(texts(await found(page, dataset, question="moggy", keyword=True, **words))) == 4
    assert "moggy" in model.calls[0].messages[0].content
    model = world.says("cat")
    assert texts(await found(page, dataset, question="Katze", **words)) == []
    assert len(texts(await found(page, dataset, question="Katze", cross_languages=["English"], **words))) == 4
    assert "Katze" in model.calls[0].messages[0].content
    assert texts(await found(page, dataset, use_kg=True))[0].startswith("cat")  # there is no graph
    assert (await found(page, dataset, question=""))["chunks"] == []


@pytest.mark.promise("conversations:7.6-test-parameters")
@pytest.mark.promise("conversations:7.6-test-defaults")
async def test_what_a_retrieval_test_searches_for(world: World, api: Api, page: Api, pets: str) -> None:
    """By itself; as its body says; as its search app is set; and the body before the search app."""
    requests = world.noted_searches()
    world.says("Katze")
    settings: dict[str, Any] = {
        "similarity_threshold": 0.1, "vector_similarity_weight": 0.6, "top_k": 77, "use_kg": True, "keyword": True,
        "highlight": True, "cross_languages": ["German"],
    }  # fmt: skip
    app = await make_search(api, **settings, meta_data_filter={"method": "disabled"})
    bare = await make_search(api)
    await found(page, pets)
    await found(page, pets, page=2, size=7, **settings)
    await found(page, pets, search_id=app)
    own: dict[str, Any] = {
        "similarity_threshold": 0.0, "vector_similarity_weight": 0.3, "top_k": 1024, "use_kg": False, "keyword": False,
        "highlight": False, "cross_languages": [],
    }  # fmt: skip
    await found(page, pets, search_id=app, **own)
    await found(page, pets, search_id=bare)

    def told(request: SearchRequest) -> dict[str, Any]:
        return {name: getattr(request, name) for name in settings} | {"cross_languages": [*request.cross_languages]}

    assert [told(each) for each in requests] == [
        own, settings, settings, own, {**own, "similarity_threshold": 0.2},
    ]  # fmt: skip
    assert [(each.page, each.page_size) for each in requests] == [(1, 30), (2, 7), (1, 30), (1, 30), (1, 30)]
    for sent in ({"rerank_id": "nobody"}, {"search_id": await make_search(api, rerank_id="nobody")}):
        refused = await page.refusal("POST", TEST, json={"kb_id": pets, "question": "cat", **sent})
        assert refused[:2] == (400, 102)
        assert "nobody" in refused[2]


@pytest.mark.promise("conversations:7.6-test-defaults")
async def test_the_search_app_says_what_the_body_does_not(api: Api, page: Api) -> None:
    dataset = await make_dataset(api)
    first = await add_document(api, dataset, "cat one", "cat two", name="a.txt", author="Ann")
    await add_document(api, dataset, "cat three", name="b.txt", author="Bob")
    search_id = await make_search(
        api,
        doc_ids=[first],
        highlight=True,
        vector_similarity_weight=0.0,
        reference_metadata={"include": True, "fields": ["author"]},
    )
    told = await found(page, dataset, search_id=search_id)
    assert sorted(texts(told)) == ["cat one", "cat two"]
    assert all(chunk["similarity"] == pytest.approx(chunk["term_similarity"]) for chunk in told["chunks"])
    assert all("highlight" in chunk for chunk in told["chunks"])
    assert all(chunk["document_metadata"] == {"author": "Ann"} for chunk in told["chunks"])
    own = await found(page, dataset, search_id=search_id, doc_ids=[], highlight=False, include_metadata=False)
    assert len(texts(own)) == 3
    assert all("highlight" not in chunk and "document_metadata" not in chunk for chunk in own["chunks"])
    strict = await make_search(api, similarity_threshold=5.0)
    assert texts(await found(page, dataset, search_id=strict)) == []
    assert len(texts(await found(page, dataset, search_id=strict, similarity_threshold=0.0))) == 3


@pytest.mark.promise("conversations:7.6-auto-filter")
async def test_a_model_may_write_the_filter(world: World, api: Api, page: Api) -> None:
    dataset = await make_dataset(api)
    await add_document(api, dataset, "cat one", name="a.txt", author="Ann")
    await add_document(api, dataset, "cat two", name="b.txt", author="Bob")
    search_id = await make_search(api, kb_ids=[dataset], meta_data_filter={"method": "auto"}, chat_id="other")
    wanted = '{"conditions": [{"name": "author", "comparison_operator": "=", "value": "Bob"}]}'
    other = world.says(wanted, model="other")
    assert texts(await found(page, dataset, "cat by Bob", search_id=search_id)) == ["cat two"]
    assert len(other.calls) == 1


@pytest.mark.promise("conversations:7.6-test-errors")
async def test_what_a_retrieval_test_refuses(api: Api, page: Api, rival: Api, pets: str) -> None:
    async def refused(**sent: Any) -> tuple[int, int, str]:
        return await page.refusal("POST", TEST, json=sent)

    lacking = "required argument are missing: kb_id,question; "
    assert await refused() == (400, 102, lacking)
    assert await refused(kb_id=pets) == (400, 102, "required argument are missing: question; ")
    nothings: tuple[Any, ...] = ("", [], None)
    for empty in nothings:
        assert await refused(kb_id=empty, question="x") == (400, 102, "Please specify dataset firstly.")
    assert (await refused(kb_id=7, question="x"))[:2] == (400, 102)
    assert (await refused(kb_id=[7], question="x"))[:2] == (400, 102)
    foreign = await make_dataset(rival, CAT)
    for named in (foreign, [pets, foreign], "nothing"):
        assert await refused(kb_id=named, question="x") == (404, 105, NOT_OWNED)
    empty_one = await make_dataset(api)
    assert await refused(kb_id=empty_one, question="x") == (
        404,
        105,
        "No chunk found! Check the chunk status please!",
    )
    asked = {"kb_id": pets, "question": "x"}
    assert await refused(**asked, top_k=0) == (400, 102, "`top_k` must be greater than 0")
    assert await refused(**asked, search_id="nothing") == (404, 105, "Can't find this Search App!")
    foreign_app = await make_search(rival)
    assert await refused(**asked, search_id=foreign_app) == (404, 105, "Can't find this Search App!")
    for name, value in (
        ("size", "x"), ("page", []), ("doc_ids", "x"), ("similarity_threshold", "x"), ("question", 7),
        ("vector_similarity_weight", {}), ("rerank_id", 7), ("highlight", 7), ("cross_languages", "x"),
        ("meta_data_filter", []), ("metadata_fields", "x"), ("include_metadata", "x"), ("use_kg", "x"),
        ("search_id", 7), ("rerank_id", "nothing"), ("meta_data_filter", {"method": "guess"}),
    ):  # fmt: skip
        status, code, _ = await refused(**(asked | {"include_metadata": True} | {name: value}))
        assert (status, code) == (400, 102), name
    assert (await refused(**asked, doc_ids=["nothing"]))[:2] == (404, 105)


@pytest.mark.promise("conversations:7.6-dataset-gone")
async def test_a_dataset_that_goes_away_meanwhile_is_told_as_gone(
    world: World, api: Api, page: Api, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = world.parts.retriever
    search = retriever.search

    async def deletes_first(*told: Any, **more: Any) -> Any:
        await api.ok("DELETE", "/api/v1/datasets", json={"ids": [pets]})
        return await search(*told, **more)

    monkeypatch.setattr(retriever, "search", deletes_first)
    refused = await page.refusal("POST", TEST, json={"kb_id": pets, "question": "cat"})
    assert refused == (404, 105, "Knowledgebase not found!")
    pets = await make_dataset(api, CAT)
    told = await page.refusal_22("POST", TEST, json={"kb_id": pets, "question": "cat"})
    assert told == {"code": 102, "message": "Knowledgebase not found!"}


async def test_birds_are_in_the_fixture(page: Api, pets: str) -> None:
    """The three chunks are told apart by their words."""
    assert texts(await found(page, pets, "birds dawn")) == [BIRD]
    assert texts(await found(page, pets, "bone")) == [DOG]
