"""Retrieval for Dify, and the later search routes (knowledge.md 4.8, 8)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from httpx import Response

from app.domain.errors import UpstreamFailed
from app.domain.ids import DatasetId
from app.domain.principals import Scope
from app.domain.retrieval import SearchRequest
from app.retrieval import service
from routers import dify
from tests.chats.world import Api, invalid, missing
from tests.knowledge.searching import noted, purposes
from tests.knowledge.world import World, make_dataset
from tests.routes import include

PATH = "/dify/retrieval"


@pytest.fixture(autouse=True)
def served(world: World) -> None:
    """Dify's routes beside the others."""
    include(world.app, dify.router)


def told(answer: Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()


async def ask(api: Api, **sent: Any) -> tuple[int, Any]:
    return told(await api.raw("POST", PATH, json=sent))


@pytest.mark.promise("4.8-shape", "4.8-no-filter", "4.8-defaults")
async def test_records_have_no_envelope(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """Without a condition all documents are searched; metadata is told, and our own keys win."""
    await world.rows(api, """UPDATE documents SET meta_fields = '{"author": "Toby", "doc_id": "x"}' RETURNING 1""")

    status, body = await ask(api, knowledge_id=fixture[0], query="chunk test 3")

    assert (status, set(body)) == (200, {"records"})
    assert len(body["records"]) == 5  # the least score is 0
    first = body["records"][0]
    assert first == {
        "content": "chunk test 3",
        "score": first["score"],
        "title": "ragflow_test_upload_0.txt",
        "metadata": {"author": "Toby", "doc_id": fixture[1], "document_id": fixture[1]},
    }
    scores = [record["score"] for record in body["records"]]
    assert scores == sorted(scores, reverse=True)
    assert await purposes(world, api) == [("query", "embedding")]


@pytest.mark.promise("4.8-defaults")
async def test_what_dify_does_not_say_has_a_default(
    world: World, api: Api, fixture: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = noted(world, monkeypatch)
    named = {"knowledge_id": fixture[0], "query": "chunk"}

    await ask(api, **named)
    await api.raw("GET", PATH, params=named)
    await ask(api, **named, retrieval_setting={"top_k": 7, "score_threshold": 0.5}, use_kg=True)

    bare = SearchRequest(
        question="chunk",
        dataset_ids=(DatasetId(fixture[0]),),
        page=1,
        page_size=1024,
        top_k=1024,
        similarity_threshold=0.0,
        vector_similarity_weight=0.3,
        has_tokens=True,
    )
    assert asked == [bare, bare, replace(bare, page_size=7, top_k=7, similarity_threshold=0.5, use_kg=True)]


@pytest.mark.promise("4.8-use-kg")
async def test_the_graphs_record_stands_first(
    api: Api, fixture: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(*_: Any, **__: Any) -> str:
        return "---- Entities ----"

    monkeypatch.setattr(service, "graph_chunk", told)
    asked = {"knowledge_id": fixture[0], "query": "chunk test 3"}
    without = (await ask(api, **asked))[1]["records"]

    status, body = await ask(api, **asked, use_kg=True)
    by_query = await api.raw("GET", PATH, params={**asked, "use_kg": "true"})

    assert (status, body["records"][1:]) == (200, without)
    assert body["records"][0] == {
        "content": "---- Entities ----",
        "score": 1.0,
        "title": "Related content in Knowledge Graph",
        "metadata": {"doc_id": "", "document_id": ""},
    }
    assert (by_query.status_code, by_query.json()) == (200, body)


@pytest.mark.promise("4.8-settings")
async def test_settings_bound_what_is_returned(api: Api, fixture: tuple[str, str]) -> None:
    asked = {"knowledge_id": fixture[0], "query": "chunk test 3"}

    assert len((await ask(api, **asked, retrieval_setting={"top_k": 2}))[1]["records"]) == 2
    whole = (await ask(api, **asked))[1]["records"]
    best = await ask(api, **asked, retrieval_setting={"score_threshold": whole[1]["score"]})
    assert best[1]["records"] == [each for each in whole if each["score"] >= whole[1]["score"]]
    assert len(best[1]["records"]) < len(whole)
    assert (await ask(api, **asked, retrieval_setting={"score_threshold": 2}))[1] == {"records": []}
    assert (
        len((await ask(api, **asked, retrieval_setting=None, metadata_condition=None, use_kg=None))[1]["records"]) == 5
    )


@pytest.mark.promise("4.8-metadata-condition")
async def test_a_condition_filters(world: World, api: Api, fixture: tuple[str, str]) -> None:
    await world.rows(api, """UPDATE documents SET meta_fields = '{"author": "Toby"}' RETURNING 1""")
    asked = {"knowledge_id": fixture[0], "query": "chunk"}

    def author(name: str) -> Any:
        return {"conditions": [{"name": "author", "comparison_operator": "is", "value": name}]}

    assert len((await ask(api, **asked, metadata_condition=author("toby")))[1]["records"]) == 4
    assert (await ask(api, **asked, metadata_condition=author("ann"))) == (200, {"records": []})


@pytest.mark.promise("4.8-missing-field")
@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ({"knowledge_id": "x"}, "query"),
        ({"query": "x"}, "knowledge_id"),
        ({}, "knowledge_id,query"),
        ({"knowledge_id": None, "query": None}, "knowledge_id,query"),
    ],
)
async def test_missing_fields_are_named(api: Api, sent: Any, names: str) -> None:
    words = f"required argument are missing: {names}; "
    assert await ask(api, **sent) == (200, {"code": 101, "message": words, "data": None})
    query = {name: value for name, value in sent.items() if value is not None}
    answer = await api.raw("GET", PATH, params=query)
    assert told(answer) == (200, {"code": 101, "message": words, "data": None})


@pytest.mark.promise("4.8-key")
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ragflow-nobody"])
async def test_without_a_good_key_nothing_is_told(world: World, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}
    for method, path in (("POST", PATH), ("GET", PATH), ("GET", f"{PATH}/health")):
        answer = await world.client.request(method, f"/api/v1{path}", headers=headers)
        assert told(answer) == (403, {"code": 403, "message": "API-KEY is invalid!"})


@pytest.mark.promise("4.8-key")
async def test_a_key_of_another_scope_is_refused(world: World) -> None:
    chatter = await world.caller(frozenset({Scope.CHAT}))
    status, body = await ask(chatter, knowledge_id="x", query="x")

    assert (status, body["code"], set(body)) == (403, 403, {"code", "message"})


@pytest.mark.promise("4.8-not-found", "4.8-access")
async def test_what_is_not_the_callers_is_not_there(rival: Api, fixture: tuple[str, str]) -> None:
    for dataset_id in (fixture[0], "f" * 32, "x", ""):
        answer = await ask(rival, knowledge_id=dataset_id, query="chunk")
        assert answer == (404, {"code": 404, "message": "Knowledgebase not found!"})


@pytest.mark.promise("4.8-nothing-parsed")
async def test_a_dataset_without_chunks_says_so(api: Api) -> None:
    dataset = await make_dataset(api)

    words = "No chunk found! Check the chunk status please!"
    assert await ask(api, knowledge_id=dataset["id"], query="x") == (404, {"code": 404, "message": words})


@pytest.mark.promise("4.8-bad-values")
@pytest.mark.parametrize(
    "sent",
    [
        {"knowledge_id": 7, "query": "x"},
        {"knowledge_id": "x", "query": ["x"]},
        {"knowledge_id": "x", "query": "x", "retrieval_setting": "x"},
        {"knowledge_id": "x", "query": "x", "retrieval_setting": {"top_k": 0}},
        {"knowledge_id": "x", "query": "x", "retrieval_setting": {"top_k": "many"}},
        {"knowledge_id": "x", "query": "x", "retrieval_setting": {"score_threshold": "high"}},
        {"knowledge_id": "x", "query": "x", "metadata_condition": "x"},
        {"knowledge_id": "x", "query": "x", "use_kg": "maybe"},
    ],
)
async def test_bad_values_are_400(api: Api, sent: Any) -> None:
    status, body = await ask(api, **sent)

    assert (status, body["code"], set(body)) == (400, 400, {"code", "message"})


@pytest.mark.promise("4.8-bad-values")
async def test_what_is_no_request_is_a_400(api: Api) -> None:
    for content in (b"{", b"[]", b"7", b"\xff"):
        status, body = told(await api.raw("POST", PATH, content=content))
        assert (status, body["code"], set(body)) == (400, 400, {"code", "message"})


@pytest.mark.promise("4.8-failure")
async def test_a_failure_is_a_500_with_its_text(world: World, api: Api, fixture: tuple[str, str]) -> None:
    world.embedding.fails_with = UpstreamFailed("The embedding model is down.")

    answer = await ask(api, knowledge_id=fixture[0], query="chunk")
    assert answer == (500, {"code": 500, "message": "The embedding model is down."})


@pytest.mark.promise("4.8-get")
async def test_the_same_can_be_asked_in_a_query_string(world: World, api: Api, fixture: tuple[str, str]) -> None:
    await world.rows(api, """UPDATE documents SET meta_fields = '{"author": "Toby"}' RETURNING 1""")
    condition = {"conditions": [{"name": "author", "comparison_operator": "is", "value": "toby"}]}
    asked: dict[str, Any] = {"knowledge_id": fixture[0], "query": "chunk test 3"}
    setting = {"top_k": 3, "score_threshold": 0.1}

    by_body = await ask(api, **asked, retrieval_setting=setting, metadata_condition=condition)
    params = {**asked, **setting, "metadata_condition": json.dumps(condition), "use_kg": "false"}
    assert told(await api.raw("GET", PATH, params=params)) == by_body
    assert len(by_body[1]["records"]) == 3
    for bad in ({"top_k": "x"}, {"metadata_condition": "{"}, {"metadata_condition": "[]"}, {"use_kg": "maybe"}):
        status, body = told(await api.raw("GET", PATH, params={**asked, **bad}))
        assert (status, body["code"], set(body)) == (400, 400, {"code", "message"})


@pytest.mark.promise("4.8-health")
async def test_health_tells_that_the_key_is_good(api: Api) -> None:
    assert told(await api.raw("GET", f"{PATH}/health")) == (200, {"status": "ok"})


@pytest.mark.promise("8-search-routes")
async def test_later_routes_show_all_that_is_found(api: Api, rival: Api, fixture: tuple[str, str]) -> None:
    """Their threshold is 0 unless one is sent; types are strict."""
    dataset_id = fixture[0]
    body = {"question": "chunk test 3"}
    named = {**body, "dataset_ids": [dataset_id]}
    whole = await api.ok("POST", "/retrieval", json={**named, "similarity_threshold": 0})

    assert whole["total"] == 5
    assert await api.ok("POST", "/datasets/search", json=named) == whole
    assert await api.ok("POST", f"/datasets/{dataset_id}/search", json=body) == whole
    none = await api.ok("POST", "/datasets/search", json={**named, "similarity_threshold": 1.5})
    assert none == {"total": 0, "chunks": [], "doc_aggs": []}
    assert await rival.refusal("POST", "/datasets/search", json=named) == missing(
        f"You don't own the dataset {dataset_id}."
    )
    assert await rival.refusal("POST", f"/datasets/{dataset_id}/search", json=body) == missing(
        f"You don't own the dataset {dataset_id}."
    )
    for path in ("/datasets/search", f"/datasets/{dataset_id}/search"):
        for wrong in ({"page": "1"}, {"question": 7}, {"top_k": 1.5}, {"keyword": "true"}, {"highlight": "true"}):
            status, code, message = await api.refusal("POST", path, json={**named, **wrong})
            assert (status, code) == (400, 102)
            assert next(iter(wrong)) in message
        assert await api.refusal("POST", path, json={**named, "top_k": 0}) == invalid("`top_k` must be greater than 0")
