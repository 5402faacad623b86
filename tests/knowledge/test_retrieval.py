"""Retrieval: the conformance fixture, scores, paging, filters, languages (knowledge.md 3.2, 4)."""

from typing import Any

import pytest

from app.ingest.chunking import chunk_id
from tests.chats.world import Api, missing
from tests.knowledge.searching import FIXTURE, purposes, search
from tests.knowledge.world import World, add_chunk, make_dataset, parse, parsed, shown, upload


@pytest.mark.promise("4.2-chunk-keys", "4.2-document-name", "4.2-no-vectors", "4.2-highlight")
async def test_a_hit_has_the_fields_of_the_contract(api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.2, and the score of 4.3."""
    [hit, *_] = (await search(api, fixture[0], question="test 3", highlight=True))["chunks"]

    assert set(hit) == {
        "id", "content", "content_ltks", "document_id", "document_keyword", "document_name", "dataset_id",
        "important_keywords", "questions", "image_id", "positions", "doc_type_kwd", "similarity",
        "vector_similarity", "term_similarity", "highlight",
    }  # fmt: skip
    assert hit["content"] == hit["content_ltks"] == "chunk test 3"
    assert (hit["id"], hit["document_id"]) == (chunk_id("chunk test 3", fixture[1]), fixture[1])
    assert hit["dataset_id"] == fixture[0]
    assert (hit["image_id"], hit["doc_type_kwd"]) == ("", "")
    assert (hit["important_keywords"], hit["questions"], hit["positions"]) == ([], [], [])
    assert hit["term_similarity"] == pytest.approx(1.0)
    assert hit["similarity"] == pytest.approx(0.7 * hit["term_similarity"] + 0.3 * hit["vector_similarity"])
    assert hit["highlight"] == "chunk <em>test</em> <em>3</em>"
    assert hit["document_name"] == hit["document_keyword"] == "ragflow_test_upload_0.txt"

    path = f"/datasets/{fixture[0]}/documents/{fixture[1]}/chunks"
    told = {"content": "Tokens of a WALRUS", "important_keywords": ["sea"], "questions": ["Where?"]}
    made = (await api.ok("POST", path, json=told))["chunk"]
    [hit, *_] = (await search(api, fixture[0], question="walrus"))["chunks"]
    assert (hit["id"], hit["content_ltks"]) == (made["id"], "token of a walrus")
    assert (hit["important_keywords"], hit["questions"]) == (["sea"], ["Where?"])
    [parsed_one] = (await search(api, fixture[0], question="TXT"))["chunks"]
    assert parsed_one["positions"] == [[1, 0, 0, 0, 0]]


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


@pytest.mark.promise("4.5-unavailable")
async def test_disabled_documents_are_not_found(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.5: unavailable chunks are excluded."""
    await world.rows(api, "UPDATE documents SET is_enabled = false RETURNING 1")

    assert (await search(api, fixture[0]))["total"] == 0


@pytest.mark.promise("4.3-pagerank")
async def test_pagerank_is_added_unscaled(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.3."""
    other = await make_dataset(api)
    await parsed(world, api, other["id"], ("b.txt", b"chunk elsewhere"))

    async def scores() -> dict[str, float]:
        return {hit["content"]: hit["similarity"] for hit in (await search(api, other["id"], fixture[0]))["chunks"]}

    before = await scores()
    await api.ok("PUT", f"/datasets/{fixture[0]}", json={"pagerank": 7})

    assert len(before) == 5
    assert await scores() == pytest.approx({text: old + 7 * ("test" in text) for text, old in before.items()})


@pytest.mark.promise("4.3-rerank", "4.3-pagerank", "4.1-helper-ledger")
async def test_a_rerank_model_takes_the_place_of_the_vectors(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 4.3 step 4: it is given the original text; a dataset's rank is not scaled by the weight."""
    ranker = world.models["ranker"] = _Ranker()
    await add_chunk(world, api, *fixture, "Chunks, TESTED!")

    found = await search(api, fixture[0], rerank_id="ranker", vector_similarity_weight=1)

    assert [chunk["content"] for chunk in found["chunks"]] == [f"chunk test {n}" for n in (3, 2, 1)]
    assert found["chunks"][0]["vector_similarity"] == 1.0
    assert [chunk["similarity"] for chunk in found["chunks"]] == pytest.approx([1, 2 / 3, 1 / 3])
    assert sorted(ranker.passages) == ["Chunks, TESTED!", *(f"chunk test {n}" for n in range(4))]
    assert await purposes(world, api) == [("query", "embedding"), ("query", "rerank")]

    await api.ok("PUT", f"/datasets/{fixture[0]}", json={"pagerank": 7})
    lifted = await search(api, fixture[0], rerank_id="ranker", vector_similarity_weight=1)
    assert [chunk["similarity"] for chunk in lifted["chunks"][:3]] == pytest.approx([8, 7 + 2 / 3, 7 + 1 / 3])


class _Ranker:
    name = "ranker"
    provider = "builtin"

    def __init__(self) -> None:
        self.passages: list[str] = []

    async def rerank(self, _query: str, passages: list[str], *, deadline_s: float) -> tuple[list[float], Any]:
        from app.domain.models import Usage

        self.passages += passages
        return [int(passage[-1]) / 3 if passage[-1].isdigit() else 0.0 for passage in passages], Usage()


@pytest.mark.promise("4.1-helper-ledger")
async def test_a_search_is_in_the_ledger(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """design.md 1.6: one row per model call, the day's sums beside it."""
    await search(api, fixture[0])

    ledger = await world.rows(api, "SELECT purpose, kind, model FROM usage_ledger ORDER BY id")
    assert [(row.purpose, row.kind) for row in ledger] == [("ingest", "embedding"), ("query", "embedding")]


async def test_a_search_asks_the_database_a_bounded_number_of_times(
    world: World, api: Api, fixture: tuple[str, str]
) -> None:
    """However many hits there are; now and then the key is looked up too."""
    await search(api, fixture[0])
    with world.queries() as one:
        await search(api, fixture[0], page_size=1)
    with world.queries() as many:
        await search(api, fixture[0], page_size=30)

    few, more = ([each for each in seen if "api_keys" not in each] for seen in (one, many))
    assert few == more
    assert len(few) <= 8


@pytest.mark.promise("4.5-read-your-writes")
async def test_what_is_parsed_is_found_at_once_and_what_is_deleted_no_more(world: World, api: Api) -> None:
    """knowledge.md 7.5: read your writes."""
    dataset = await make_dataset(api)
    kept, gone = await parsed(world, api, dataset["id"], ("a.txt", b"red apples"), ("b.txt", b"green apples"))
    assert (await search(api, dataset["id"], question="apples"))["total"] == 2

    await api.ok("DELETE", f"/datasets/{dataset['id']}/documents", json={"ids": [gone["id"]]})

    found = await search(api, dataset["id"], question="apples")
    assert [chunk["document_id"] for chunk in found["chunks"]] == [kept["id"]]


@pytest.mark.promise("4.5-unavailable")
async def test_a_new_upload_is_not_found_before_it_is_parsed(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """knowledge.md 2.8: UNSTART documents have no chunks."""
    [document] = await upload(api, fixture[0], ("later.txt", b"chunk of later"))

    assert (await search(api, fixture[0]))["total"] == 4
    await parse(api, fixture[0], document["id"])
    await world.work()
    assert (await shown(api, fixture[0], document["id"]))["run"] == "DONE"
    assert (await search(api, fixture[0]))["total"] == 5
