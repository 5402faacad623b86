"""What is put first, and what lifts chunks: the graph, tags and tables of contents (knowledge.md 4.3, 4.7, 5.12)."""

from typing import Any

import orjson
import pytest

from app.retrieval import service
from tests.chats.world import Api
from tests.knowledge.searching import EARLY_EXIT, contents, four_of_five, helped_by, purposes, search
from tests.knowledge.world import World, make_dataset


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A graph that always says the same; how it was asked. The real one is in test_graph_query.py."""
    asked: list[dict[str, Any]] = []

    async def told(*_: Any, **named: Any) -> str | None:
        asked.append(named)
        return "---- Entities ----\nEntity,Score\nADA,1\n"

    monkeypatch.setattr(service, "graph_chunk", told)
    return asked


@pytest.mark.promise("4.1-use-kg")
async def test_under_a_filter_the_graph_is_not_asked(
    api: Api, fixture: tuple[str, str], graph: list[dict[str, Any]]
) -> None:
    """It is made of all documents, those that the filter leaves out too."""
    found = await search(api, fixture[0], document_ids=[fixture[1]], use_kg=True)

    assert found["total"] == 4
    assert graph == []


@pytest.mark.promise("4.1-use-kg", "4.7-graph-chunk")
async def test_the_graphs_chunk_stands_first_and_is_not_counted(
    api: Api, fixture: tuple[str, str], graph: list[dict[str, Any]]
) -> None:
    without = await search(api, fixture[0], highlight=True)
    assert graph == []

    found = await search(api, fixture[0], highlight=True, use_kg=True)

    told, *rest = found["chunks"]
    assert (rest, found["total"], found["doc_aggs"]) == (without["chunks"], 4, without["doc_aggs"])
    graph_id = told.pop("id")
    assert len(graph_id) == 32
    content = "---- Entities ----\nEntity,Score\nADA,1\n"
    assert told == {
        "content": content,
        "content_ltks": "",
        "document_id": "",
        "document_keyword": "Related content in Knowledge Graph",
        "document_name": "Related content in Knowledge Graph",
        "dataset_id": [fixture[0]],
        "important_keywords": [],
        "questions": [],
        "image_id": "",
        "positions": [],
        "doc_type_kwd": "",
        "similarity": 1.0,
        "vector_similarity": 1.0,
        "term_similarity": 0,
        "highlight": content,
    }
    assert len(graph[0]["vector"]) == 64
    again = (await search(api, fixture[0], highlight=True, use_kg=True))["chunks"][0]
    assert len({again.pop("id"), graph_id}) == 2
    assert again == told
    assert await search(api, fixture[0], question="", use_kg=True) == EARLY_EXIT


@pytest.mark.promise("4.1-use-kg")
async def test_without_a_graph_nothing_is_put_first(api: Api, fixture: tuple[str, str]) -> None:
    assert await search(api, fixture[0], use_kg=True) == await search(api, fixture[0])


@pytest.mark.promise("4.3-tags")
async def test_tags_that_question_and_chunk_share_lift_the_chunk(
    world: World, api: Api, fixture: tuple[str, str]
) -> None:
    """By 10 times the cosine of the two."""
    tags, document = await four_of_five(world, api)
    await world.rows(
        api,
        "UPDATE chunks SET tags = '{paper}' WHERE document_id = :id AND content LIKE 'chunk%' RETURNING 1",
        id=document,
    )
    await world.rows(
        api,
        """UPDATE chunks SET tag_weights = '{"paper": 5}'
           WHERE dataset_id = :id AND content = 'chunk test 3' RETURNING 1""",
        id=fixture[0],
    )
    await world.rows(
        api,
        """UPDATE chunks SET tag_weights = '{"paper": 3, "stone": 4}'
           WHERE dataset_id = :id AND content = 'chunk test 2' RETURNING 1""",
        id=fixture[0],
    )
    before = await search(api, fixture[0])
    config = orjson.dumps([tags]).decode()
    await world.rows(
        api,
        """UPDATE datasets SET parser_config = jsonb_set(parser_config, '{tag_kb_ids}', CAST(:ids AS jsonb))
           WHERE id = :id RETURNING 1""",
        id=fixture[0],
        ids=config,
    )

    found = await search(api, fixture[0])

    plain = {chunk["content"]: chunk["similarity"] for chunk in before["chunks"]}
    lifted = {chunk["content"]: chunk["similarity"] for chunk in found["chunks"]}
    assert contents(found)[:2] == ["chunk test 3", "chunk test 2"]
    assert lifted.pop("chunk test 3") == pytest.approx(plain.pop("chunk test 3") + 10)
    assert lifted.pop("chunk test 2") == pytest.approx(plain.pop("chunk test 2") + 6)
    assert lifted == plain


@pytest.mark.promise("4.1-toc-enhance")
async def test_a_table_of_contents_lifts_and_fetches_chunks(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """The chunk under the good heading is found although it shares no word with the question."""
    ids = {
        row.content: row.id
        for row in await world.rows(api, "SELECT id, content FROM chunks WHERE document_id = :id", id=fixture[1])
    }
    other = next(content for content in ids if not content.startswith("chunk"))
    toc = [
        {"level": 1, "title": "Files", "chunk_ids": [ids[other]]},
        {"level": 1, "title": "Chunks", "chunk_ids": [ids["chunk test 0"]]},
        {"level": 1, "title": "Nothing", "chunk_ids": [ids["chunk test 1"]]},
    ]
    await world.rows(
        api,
        "UPDATE documents SET toc = CAST(:toc AS jsonb) WHERE id = :id RETURNING 1",
        id=fixture[1],
        toc=orjson.dumps(toc).decode(),
    )
    plain = {chunk["content"]: chunk["similarity"] for chunk in (await search(api, fixture[0]))["chunks"]}
    assert other not in plain
    model = helped_by(world, "1: 5\n2: 2.5\n3: 1")

    found = await search(api, fixture[0], toc_enhance=True)

    lifted = {chunk["content"]: chunk["similarity"] for chunk in found["chunks"]}
    assert set(lifted) == {*plain, other}
    assert found["total"] == 5
    assert lifted["chunk test 0"] == pytest.approx(plain["chunk test 0"] + 0.5)
    assert lifted["chunk test 1"] == pytest.approx(plain["chunk test 1"])
    assert 1 <= lifted[other] <= 2
    assert len(model.calls) == 1
    assert ("toc", "chat") in await purposes(world, api)

    await world.rows(api, "UPDATE chunks SET is_available = false WHERE id = :id RETURNING 1", id=ids[other])
    again = await search(api, fixture[0], toc_enhance=True)
    assert other not in contents(again)


@pytest.mark.promise("4.1-toc-enhance", "4.1-helper-fails")
async def test_without_a_table_of_contents_nothing_changes(world: World, api: Api, fixture: tuple[str, str]) -> None:
    model = helped_by(world, "1: 5")

    assert await search(api, fixture[0], toc_enhance=True) == await search(api, fixture[0])
    assert model.calls == []


@pytest.mark.promise("4.7-graph-chunk")
async def test_the_graphs_chunk_names_all_datasets(
    world: World, api: Api, fixture: tuple[str, str], graph: list[dict[str, Any]]
) -> None:
    other = await make_dataset(api)

    found = await search(api, other["id"], fixture[0], use_kg=True, question="zebra", similarity_threshold=0.9)

    assert [chunk["dataset_id"] for chunk in found["chunks"]] == [[other["id"], fixture[0]]]
    assert found["total"] == 0
