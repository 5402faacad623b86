"""What a retrieval request says, and what is said of one that cannot be served (knowledge.md 4.1, 4.2)."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.ids import DatasetId
from app.domain.retrieval import SearchRequest
from tests.chats.world import Api, invalid, missing
from tests.knowledge.searching import EARLY_EXIT, contents, noted, refused, search
from tests.knowledge.world import World, add_chunk, make_dataset, upload

NOBODYS = "f" * 32


@pytest.mark.promise("4.1-dataset-ids", "4.1-question", "4.1-types")
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "`dataset_ids` is required."),
        ({"question": "q", "document_ids": ["x"]}, "`dataset_ids` is required."),
        ({"question": "q", "dataset_ids": None}, "`dataset_ids` is required."),
        ({"question": "q", "dataset_ids": []}, "`dataset_ids` is required."),
        ({"question": "q", "dataset_ids": ""}, "`dataset_ids` is required."),
        ({"question": "q", "dataset_ids": "x"}, "`dataset_ids` should be a list"),
        ({"question": "q", "dataset_ids": {"x": 1}}, "`dataset_ids` should be a list"),
        ({"question": "q", "dataset_ids": [1]}, "`dataset_ids` should be a list of strings"),
    ],
)
async def test_datasets_have_to_be_named(api: Api, sent: dict[str, Any], message: str) -> None:
    assert await api.refusal("POST", "/retrieval", json=sent) == invalid(message)


@pytest.mark.promise("4.1-question")
async def test_a_question_has_to_be_there(api: Api) -> None:
    dataset = await make_dataset(api)
    told = await api.refusal("POST", "/retrieval", json={"dataset_ids": [dataset["id"]]})
    assert told == invalid("`question` is required.")


@pytest.mark.promise("4.1-question", "4.1-document-ids", "4.1-top-k", "4.1-types", "4.1-highlight", "4.1-flags")
@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"question": None}, "`question` is required."),
        ({"question": 7}, "`question` should be a string"),
        ({"document_ids": "x"}, "`documents` should be a list"),
        ({"document_ids": ""}, "`documents` should be a list"),
        ({"document_ids": {}}, "`documents` should be a list"),
        ({"document_ids": [7]}, "`document_ids` should be a list of strings"),
        ({"page": None}, "`page` should be an integer"),
        ({"page": "a"}, "`page` should be an integer"),
        ({"page": 1.5}, "`page` should be an integer"),
        ({"page": True}, "`page` should be an integer"),
        ({"page_size": []}, "`page_size` should be an integer"),
        ({"page_size": None}, "`page_size` should be an integer"),
        ({"similarity_threshold": "high"}, "`similarity_threshold` should be a number"),
        ({"similarity_threshold": "nan"}, "`similarity_threshold` should be a number"),
        ({"similarity_threshold": None}, "`similarity_threshold` should be a number"),
        ({"vector_similarity_weight": {}}, "`vector_similarity_weight` should be a number"),
        ({"top_k": 0}, "`top_k` must be greater than 0"),
        ({"top_k": -1}, "`top_k` must be greater than 0"),
        ({"top_k": "x"}, "`top_k` should be an integer"),
        ({"rerank_id": 7}, "`rerank_id` should be a string"),
        ({"rerank_id": "nope"}, "LookupError('Model(nope) not authorized')"),
        ({"keyword": "maybe"}, "`keyword` should be a boolean"),
        ({"keyword": []}, "`keyword` should be a boolean"),
        ({"use_kg": 7}, "`use_kg` should be a boolean"),
        ({"toc_enhance": {}}, "`toc_enhance` should be a boolean"),
        ({"highlight": "maybe"}, "`highlight` should be a boolean"),
        ({"highlight": 1}, "`highlight` should be a boolean"),
        ({"cross_languages": "German"}, "`cross_languages` should be a list"),
        ({"cross_languages": [7]}, "`cross_languages` should be a list of strings"),
        (
            {"cross_languages": [str(n) for n in range(17)]},
            "`cross_languages` should name at most 16 languages of at most 64 characters",
        ),
        (
            {"cross_languages": ["x" * 65]},
            "`cross_languages` should name at most 16 languages of at most 64 characters",
        ),
        ({"metadata_condition": "x"}, "metadata_condition must be an object."),
        ({"metadata_condition": []}, "metadata_condition must be an object."),
        ({"metadata_condition": {"conditions": "x"}}, "`conditions` should be a list."),
        ({"question": "q\x00"}, "Text must not contain NUL characters"),
    ],
)
async def test_bad_values_are_told(api: Api, sent: dict[str, Any], message: str) -> None:
    dataset = await make_dataset(api)
    assert await refused(api, dataset["id"], **sent) == invalid(message)


@pytest.mark.promise("4.1-defaults", "4.1-flags")
async def test_what_is_not_sent_is_what_the_contract_says(
    world: World, api: Api, as_22: Api, fixture: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = noted(world, monkeypatch)

    await search(api, fixture[0])
    await search(as_22, fixture[0])
    await search(api, fixture[0], use_kg="False", toc_enhance="false")
    await search(api, fixture[0], use_kg="True", toc_enhance="true")

    bare = SearchRequest(
        question="chunk",
        dataset_ids=(DatasetId(fixture[0]),),
        document_ids=(),
        page=1,
        page_size=30,
        similarity_threshold=0.2,
        vector_similarity_weight=0.3,
        top_k=1024,
        rerank_id=None,
        highlight=False,
        has_tokens=True,
        metadata_condition=None,
        cross_languages=(),
        keyword=False,
        use_kg=False,
        toc_enhance=False,
    )
    assert asked == [
        bare,
        replace(bare, highlight=True),
        bare,
        replace(bare, use_kg=True, toc_enhance=True),
    ]


@pytest.mark.promise("4.1-order", "4.1-dataset-access")
@pytest.mark.parametrize("sent", [{}, {"question": None}, {"top_k": 0}, {"page": None}, {"document_ids": "x"}])
async def test_whose_datasets_they_are_is_told_first(api: Api, sent: dict[str, Any]) -> None:
    own = await make_dataset(api)
    message = f"You don't own the dataset {NOBODYS}."

    assert await refused(api, own["id"], NOBODYS, **sent) == missing(message)


@pytest.mark.promise("4.1-order", "4.1-mixed-embeddings")
async def test_datasets_that_do_not_go_together_are_told_before_the_question(api: Api) -> None:
    """The stray quote is literal; what stands after the @ of a model's name is not compared."""
    one = await make_dataset(api)
    other = await make_dataset(api, embedding_model="other-embedding@builtin")

    for question in ("x", "", None):
        answer = await refused(api, one["id"], other["id"], question=question)
        assert answer == invalid('Datasets use different embedding models."')


@pytest.mark.promise("4.1-mixed-embeddings")
async def test_models_of_one_name_go_together_whoever_provides_them(
    world: World, api: Api, fixture: tuple[str, str]
) -> None:
    other = await make_dataset(api)
    await world.rows(
        api,
        "UPDATE datasets SET embedding_model = 'scripted-embedding@Other' WHERE id = :id RETURNING 1",
        id=other["id"],
    )

    assert (await search(api, fixture[0], other["id"]))["total"] == 4


@pytest.mark.promise("4.1-dataset-access")
async def test_another_tenants_datasets_look_like_missing_ones(api: Api, rival: Api, fixture: tuple[str, str]) -> None:
    assert await refused(rival, fixture[0]) == missing(f"You don't own the dataset {fixture[0]}.")
    assert await refused(rival, NOBODYS) == missing(f"You don't own the dataset {NOBODYS}.")


@pytest.mark.promise("4.1-document-ids")
async def test_documents_have_to_be_in_the_datasets(
    world: World, api: Api, rival: Api, fixture: tuple[str, str]
) -> None:
    other = await make_dataset(api)
    [elsewhere] = await upload(api, other["id"], ("b.txt", b"chunk"))
    foreign = await make_dataset(rival)
    [theirs] = await upload(rival, foreign["id"], ("c.txt", b"chunk"))

    for wrong in (NOBODYS, elsewhere["id"], theirs["id"]):
        answer = await refused(api, fixture[0], document_ids=[fixture[1], wrong])
        assert answer == missing(f"The datasets don't own the document {wrong}")
    assert (await search(api, fixture[0], document_ids=[fixture[1]]))["total"] == 4
    assert (await search(api, fixture[0], document_ids=[]))["total"] == 4
    assert (await search(api, fixture[0], document_ids=None))["total"] == 4


@pytest.mark.promise("4.1-empty-question", "4.2-early-exit")
async def test_an_empty_question_finds_nothing(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """And asks no model, whether anything was parsed or not."""
    fresh = await make_dataset(api)
    before = len(world.embedding.calls)

    for question in ("", "  "):
        assert await search(api, fixture[0], question=question) == EARLY_EXIT
    assert await search(api, fresh["id"], question="") == EARLY_EXIT
    assert len(world.embedding.calls) == before


@pytest.mark.promise("4.1-nothing-parsed")
async def test_a_search_before_any_parsing_says_so(api: Api) -> None:
    dataset = await make_dataset(api)
    await upload(api, dataset["id"], ("a.txt", b"not parsed"))

    assert await refused(api, dataset["id"]) == invalid("No chunk found! Check the chunk status please!")


@pytest.mark.promise("4.1-unknown", "A-retrieve")
async def test_unknown_fields_and_the_nulls_of_the_sdk_are_fine(api: Api, fixture: tuple[str, str]) -> None:
    nulls: dict[str, Any] = {"metadata_condition": None, "cross_languages": None, "rerank_id": None}
    found = await search(api, fixture[0], keyword=False, use_kg=False, **nulls, colour="red", limit=7)

    assert found["total"] == 4
    read = "id content important_keywords questions dataset_id document_name document_id positions similarity"
    for chunk in found["chunks"]:
        assert set(f"{read} vector_similarity term_similarity document_keyword".split()) <= set(chunk)


@pytest.mark.promise("4.1-weight", "4.5-fixture")
@pytest.mark.parametrize("weight", [-3, 0, 0.3, 0.5, 1, 10, "0.5"])
async def test_the_question_chunk_finds_exactly_the_four_added_chunks(
    api: Api, fixture: tuple[str, str], weight: Any
) -> None:
    """Whatever the weight: it is clamped."""
    found = await search(api, fixture[0], vector_similarity_weight=weight, similarity_threshold=0.2)

    assert sorted(contents(found)) == [f"chunk test {n}" for n in range(4)]
    assert found["doc_aggs"] == [{"doc_name": "ragflow_test_upload_0.txt", "doc_id": fixture[1], "count": 4}]
    clamped = min(1.0, max(0.0, float(weight)))
    for chunk in found["chunks"]:
        score = (1 - clamped) * chunk["term_similarity"] + clamped * chunk["vector_similarity"]
        assert chunk["similarity"] == pytest.approx(score)


@pytest.mark.promise("4.1-threshold")
async def test_the_threshold_is_one_of_final_scores(api: Api, fixture: tuple[str, str]) -> None:
    scores = [chunk["similarity"] for chunk in (await search(api, fixture[0], question="chunk test 2"))["chunks"]]
    least = scores[0]

    found = await search(api, fixture[0], question="chunk test 2", similarity_threshold=least)
    assert [chunk["similarity"] for chunk in found["chunks"]] == [each for each in scores if each >= least]
    assert (await search(api, fixture[0], similarity_threshold=1.5))["total"] == 0


@pytest.mark.promise("4.1-highlight", "4.2-highlight")
@pytest.mark.parametrize(
    ("sent", "is_marked"),
    [
        ({}, False),
        ({"highlight": None}, False),
        ({"highlight": False}, False),
        ({"highlight": "False"}, False),
        ({"highlight": True}, True),
        ({"highlight": "true"}, True),
        ({"highlight": "True"}, True),
    ],
)
async def test_words_are_marked_on_demand(
    api: Api, fixture: tuple[str, str], sent: dict[str, Any], is_marked: bool
) -> None:
    chunks = (await search(api, fixture[0], **sent))["chunks"]

    assert ["highlight" in chunk for chunk in chunks] == [is_marked] * 4
    if is_marked:
        assert all(chunk["highlight"] == chunk["content"].replace("chunk", "<em>chunk</em>") for chunk in chunks)


@pytest.mark.promise("4.1-highlight-compat")
@pytest.mark.parametrize(
    ("sent", "is_marked"),
    [
        ({}, True),
        ({"highlight": None}, True),
        ({"highlight": "maybe"}, True),
        ({"highlight": True}, True),
        ({"highlight": False}, False),
        ({"highlight": "False"}, False),
        ({"highlight": "false"}, False),
    ],
)
async def test_words_are_marked_unless_forbidden_under_22(
    as_22: Api, fixture: tuple[str, str], sent: dict[str, Any], is_marked: bool
) -> None:
    chunks = (await search(as_22, fixture[0], **sent))["chunks"]

    assert ["highlight" in chunk for chunk in chunks] == [is_marked] * 4


@pytest.mark.promise("4.2-highlight")
async def test_a_hit_without_a_snippet_repeats_its_content(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """Where at least one hit has one; and no chunk has the key when none has."""
    vector = world.embedding.vector("chunk")
    await add_chunk(world, api, *fixture, "nothing of that", vector)

    chunks = (await search(api, fixture[0], highlight=True))["chunks"]
    shown = {chunk["content"]: chunk["highlight"] for chunk in chunks}
    assert shown["nothing of that"] == "nothing of that"
    assert shown["chunk test 0"] == "<em>chunk</em> test 0"

    await add_chunk(world, api, *fixture, "quite another thing", world.embedding.vector("zebra"))
    unmarked = (await search(api, fixture[0], question="zebra", highlight=True))["chunks"]
    assert contents({"chunks": unmarked}) == ["quite another thing"]
    assert "highlight" not in unmarked[0]


@pytest.mark.promise("4.1-top-k-compat", "4.1-rerank-unknown", "4.1-types-compat", "4.1-dataset-ids-compat")
@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        ({"top_k": 0}, 100, "must be greater than 0"),
        ({"top_k": -1}, 100, "must be greater than 0"),
        ({"rerank_id": "unknown"}, 100, "LookupError('Model(unknown) not authorized')"),
        ({"page": None}, 100, "`page`"),
        ({"page": "a"}, 100, "`page`"),
        ({"page_size": None}, 100, "`page_size`"),
        ({"dataset_ids": []}, 102, "`dataset_ids` is required."),
        ({"dataset_ids": "x"}, 102, "`dataset_ids` should be a list"),
        ({"dataset_ids": [NOBODYS]}, 102, f"You don't own the dataset {NOBODYS}."),
        ({"document_ids": "x"}, 102, "`documents` should be a list"),
        ({"document_ids": [NOBODYS]}, 102, f"The datasets don't own the document {NOBODYS}"),
        ({"question": None}, 102, "`question` is required."),
    ],
)
async def test_ragflows_own_codes(
    as_22: Api, fixture: tuple[str, str], sent: dict[str, Any], code: int, words: str
) -> None:
    answer = await as_22.raw("POST", "/retrieval", json={"question": "q", "dataset_ids": [fixture[0]], **sent})

    assert answer.status_code == 200
    assert answer.json()["code"] == code
    assert words in answer.json()["message"]


@pytest.mark.promise("4.1-bodies")
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'"x"',
        b"7",
        b"\xff",
        b'{"dataset_ids":[[]],"question":"q"}',
        b'{"dataset_ids":[null],"question":"q"}',
    ],
)
async def test_what_is_no_request_is_refused(api: Api, content: bytes) -> None:
    for kind in ("application/json", "text/plain"):
        status, code, message = await api.refusal("POST", "/retrieval", content=content, headers={"Content-Type": kind})
        assert (status, code) == (400, 102)
        assert message


@pytest.mark.promise("4.1-bodies-compat")
@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"', b"7", b"\xff"])
async def test_ragflows_own_code_of_what_is_no_request(as_22: Api, content: bytes) -> None:
    for kind in ("application/json", "text/plain"):
        answer = await as_22.raw("POST", "/retrieval", content=content, headers={"Content-Type": kind})
        told = answer.json()
        assert answer.status_code == 200
        assert told == {"code": 100, "message": told["message"], "data": None}
        assert told["message"]


@pytest.mark.promise("4.1-bodies")
async def test_the_media_type_does_not_matter(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 0.4: this family of bodies is loose."""
    content = b'{"question":"chunk","dataset_ids":["%s"]}' % fixture[0].encode()
    answer = await api.ok("POST", "/retrieval", content=content, headers={"Content-Type": "text/plain"})

    assert answer["total"] == 4


@pytest.mark.promise("4.1-bodies")
async def test_long_and_foreign_questions_are_searched_for(api: Api, fixture: tuple[str, str]) -> None:
    for question in (
        "chunk " * 20_000,
        "🚀 chunk \u202e",
        "' OR 1=1 -- \\ chunk",
        "chunk & | ! ( ) :* <->",
        "質問 chunk",
    ):
        assert (await search(api, fixture[0], question=question, similarity_threshold=0.0))["total"] >= 4
