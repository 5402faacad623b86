"""What tags and tables of contents add to a search (knowledge.md 4.3, 5.10, 5.12)."""

from typing import Any

import pytest

from app.domain.contents import ContentsEntry
from app.domain.errors import UpstreamFailed
from app.domain.ids import ChunkId, DatasetId, DocumentId
from app.domain.retrieval import ModelCall
from app.retrieval.tags import TagSource, query_tags, tag_similarity
from app.retrieval.toc import chunk_scores, heading_scores, toc_boosts
from tests.chats.world import Api
from tests.knowledge.speaking import Speaker, talker, world
from tests.knowledge.world import World, api, make_dataset, parsed, rival

__all__ = ["api", "rival", "talker", "world"]


async def dataset_with_tags(world: World, api: Api, **config: Any) -> Any:
    tags = await make_dataset(api, chunk_method="tag")
    lines = b"boiler things\theating,water\nboiler parts\theating\nsmoke things\tsmoke"
    await parsed(world, api, tags["id"], ("tags.txt", lines))
    dataset = await make_dataset(api, parser_config={"tag_kb_ids": [tags["id"]], **config})
    async with world.database.unit(api.tenant_id) as unit:
        return await unit.datasets.get(DatasetId(dataset["id"]))


@pytest.mark.promise("5.10-tags-query", "4.3-rank-by-tags")
async def test_a_question_has_the_tags_of_its_words_with_a_score_of_one_at_least(world: World, api: Api) -> None:
    dataset = await dataset_with_tags(world, api, topn_tags=2)
    assert await query_tags(world.database, api.tenant_id, "Which boiler?", [dataset]) == {"heating": 1.0, "water": 1.0}
    assert await query_tags(world.database, api.tenant_id, "Why smoke?", [dataset]) == {"smoke": 1.0}
    assert await query_tags(world.database, api.tenant_id, "Anything else?", [dataset]) == {}
    assert await query_tags(world.database, api.tenant_id, "  ", [dataset]) == {}
    best = await dataset_with_tags(world, api, topn_tags=1)
    assert await query_tags(world.database, api.tenant_id, "boiler", [best]) == {"heating": 1.0}


@pytest.mark.promise("5.10-tags-foreign")
async def test_a_question_learns_no_tags_of_another_tenant(world: World, api: Api, rival: Api) -> None:
    dataset = await dataset_with_tags(world, api)
    assert await query_tags(world.database, rival.tenant_id, "boiler", [dataset]) == {}


async def test_a_dataset_without_tag_datasets_costs_no_statement(world: World, api: Api) -> None:
    made = await make_dataset(api)
    async with world.database.unit(api.tenant_id) as unit:
        dataset = await unit.datasets.get(DatasetId(made["id"]))
    assert dataset is not None
    with world.queries() as seen:
        assert await query_tags(world.database, api.tenant_id, "boiler", [dataset]) == {}
    assert seen == []


@pytest.mark.promise("4.3-rank-by-tags")
def test_rank_gains_ten_times_the_cosine_of_the_tags() -> None:
    assert tag_similarity({"a": 3.0}, {"a": 1.0}) == pytest.approx(10.0)
    assert tag_similarity({"a": 1.0, "b": 1.0}, {"a": 2.0}) == pytest.approx(10 / 2**0.5)
    assert tag_similarity({"a": 1.0}, {"b": 1.0}) == 0.0
    assert (
        tag_similarity({}, {"b": 1.0}) == tag_similarity({"a": 1.0}, {}) == tag_similarity({"a": 0.0}, {"a": 1.0}) == 0
    )


@pytest.mark.promise("5.10-tags-formula")
def test_a_score_is_the_share_among_hits_against_the_share_at_large() -> None:
    source = TagSource([], {"rare": 9, "common": 8990}, 1)
    assert source.share("rare") == pytest.approx(10 / 9999)
    assert source.scored({"rare": 9, "common": 90}, topn=3) == {"rare": round(0.1 * (10 / 1099) / (10 / 9999))}
    assert source.scored({"rare": 9, "common": 90}, topn=3, floor=1) == {"rare": 1.0, "common": 1.0}
    assert source.scored({"rare": 9, "common": 90}, topn=1, floor=1) == {"common": 1.0}
    assert source.scored({}, topn=3) == {}


# --- contents --------------------------------------------------------------------------------------------------------


async def document_with_contents(world: World, api: Api) -> tuple[DocumentId, list[ChunkId]]:
    dataset = await make_dataset(api)
    (document,) = await parsed(world, api, dataset["id"], ("a.txt", b"Nothing much."))
    ids = [ChunkId(name * 16) for name in "abc"]
    entries = [
        ContentsEntry(level=1, title="Heating", chunk_ids=tuple(ids[:2])),
        ContentsEntry(level=2, title="Boilers", chunk_ids=tuple(ids[1:])),
    ]
    async with world.database.unit(api.tenant_id) as unit:
        await unit.contents.keep(DocumentId(document["id"]), entries)
    return DocumentId(document["id"]), ids


@pytest.mark.promise("5.12-query")
async def test_the_contents_of_the_best_document_boost_its_chunks(world: World, api: Api) -> None:
    document_id, (a, b, c) = await document_with_contents(world, api)
    model = Speaker(answer=lambda _: "1: 1\n2: 4\n7: 5")
    calls: list[ModelCall] = []
    hits = [(DocumentId("other"), 0.9), (document_id, 0.5), (document_id, 0.6)]
    boosts = await toc_boosts(world.database, api.tenant_id, "Which boiler?", hits, model, calls=calls)
    assert boosts is not None
    assert boosts.document_id == document_id
    assert boosts.scores == {b: pytest.approx(0.5), c: pytest.approx(0.8)}
    assert a not in boosts.scores
    assert [call.purpose for call in calls] == ["toc"]
    assert "2:   Boilers" in model.asked[0]


def saying(answer: str | Exception) -> Speaker:
    return Speaker(answer=lambda _: answer)


@pytest.mark.promise("5.12-query")
async def test_contents_say_nothing_where_there_are_none_or_the_model_fails(world: World, api: Api) -> None:
    document_id, _ = await document_with_contents(world, api)
    for answer in ("", "none of them", "1: 0\n2: 1", '{"1": 5}', UpstreamFailed("away")):
        model = saying(answer)
        assert (
            await toc_boosts(world.database, api.tenant_id, "Which?", [(document_id, 1.0)], model, calls=[]) is None
        ), answer
        assert len(model.asked) == 1
    silent = Speaker()
    for hits in ([], [(DocumentId("other"), 1.0)], [(DocumentId("other"), 9.0), (document_id, 1.0)]):
        assert await toc_boosts(world.database, api.tenant_id, "Which?", hits, silent, calls=[]) is None
    assert silent.asked == []


@pytest.mark.promise("5.12-query")
def test_scores_are_of_known_headings_between_0_and_1() -> None:
    assert heading_scores("1: 5\n2 - 2.5\n- 3: 9\n4: -1\n5: 3\nall: 5", 4) == {0: 1.0, 1: 0.5, 2: 1.0, 3: 0.0}
    entry = ContentsEntry(level=1, title="x", chunk_ids=(ChunkId("a"),))
    assert chunk_scores([entry, entry], {0: 1.0, 1: 0.2}) == {ChunkId("a"): pytest.approx(0.6)}
    assert chunk_scores([entry, entry], {0: 0.2}) == {}
    assert chunk_scores([entry], heading_scores("1: 1.5", 1)) == {ChunkId("a"): pytest.approx(0.3)}
    assert chunk_scores([entry], heading_scores("1: 1.4", 1)) == {}
