"""Showing and deleting graphs (knowledge.md 4.7)."""

from typing import Any

import pytest

from app.domain.graph import Entity, Relation
from app.domain.ids import DatasetId
from repositories.graph import Vectored
from repositories.jobs import GRAPH
from routers import index_jobs
from tests.chats.world import Api, missing
from tests.ingest.graph_models import RuleChatModel
from tests.knowledge.graph_world import ADA, BABBAGE, chat, job, queue, ready, run, shown
from tests.knowledge.world import World, make_dataset
from tests.routes import include

__all__ = ["chat"]

PATHS = ("knowledge_graph", "graph")


@pytest.mark.promise("4.7-node-link", "4.7-aliases")
@pytest.mark.parametrize("path", PATHS)
async def test_the_graph_is_node_link_json(world: World, api: Api, chat: RuleChatModel, path: str) -> None:
    dataset_id, [ada] = await ready(world, api, ADA)
    await run(world, api, dataset_id)

    found = await api.ok("GET", f"/datasets/{dataset_id}/{path}")

    person, engine = sorted(found["graph"].pop("nodes"), key=lambda node: node["id"])
    assert person.pop("pagerank") == pytest.approx(0.5)
    assert person == {
        "id": "ADA LOVELACE",
        "entity_name": "ADA LOVELACE",
        "entity_type": "person",
        "description": "Wrote notes.",
        "rank": 1,
        "source_id": [ada],
    }
    assert engine["entity_name"] == "ENGINE"
    assert found == {
        "graph": {
            "directed": False,
            "multigraph": False,
            "graph": {"source_id": [ada]},
            "edges": [
                {
                    "source": "ADA LOVELACE",
                    "target": "ENGINE",
                    "src_id": "ADA LOVELACE",
                    "tgt_id": "ENGINE",
                    "description": "She described it.",
                    "keywords": ["notes"],
                    "weight": 8.0,
                    "source_id": [ada],
                }
            ],
        },
        "mind_map": {},
    }


@pytest.mark.promise("4.7-none")
async def test_without_a_graph_it_is_empty(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset = await make_dataset(api)

    assert await api.ok("GET", f"/datasets/{dataset['id']}/knowledge_graph") == {"graph": {}, "mind_map": {}}


async def _store(world: World, api: Api, dataset_id: str, entities: list[Entity], relations: list[Relation]) -> None:
    vector = Vectored(embedding=[1.0, 0.0], vector_of=b"x")
    async with world.database.unit(api.tenant_id) as unit:
        await unit.graph.put(
            DatasetId(dataset_id),
            entities,
            relations,
            {each.name: vector for each in entities},
            {each.pair: vector for each in relations},
        )


def _relation(source: str, target: str, weight: float) -> Relation:
    return Relation(source=source, target=target, description="d", weight=weight)


@pytest.mark.promise("4.7-caps")
async def test_the_highest_ranked_nodes_and_the_heaviest_edges_among_them_are_shown(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset = await make_dataset(api)
    entities = [
        Entity(name=f"N{number:03}", type="t", description="d", pagerank=number / 1000) for number in range(300)
    ]
    among = [_relation("N299", f"N{number:03}", number) for number in range(100, 290)]
    left_out = [_relation("N000", "N299", 999), _relation("N001", "N002", 998)]
    loop = _relation("N298", "N298", 997)
    await _store(world, api, dataset["id"], entities, [*among, *left_out, loop])

    graph = await shown(api, dataset["id"])

    assert [node["id"] for node in graph["nodes"]] == [f"N{number:03}" for number in range(299, 43, -1)]
    assert len(graph["nodes"]) == 256
    assert [edge["target"] for edge in graph["edges"]] == [f"N{number:03}" for number in range(289, 161, -1)]
    assert len(graph["edges"]) == 128


@pytest.mark.promise("4.7-no-access")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_the_graph_of_others_is_not_there(
    world: World, api: Api, rival: Api, as_22: Api, chat: RuleChatModel, method: str, path: str
) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)

    assert await rival.refusal(method, f"/datasets/{dataset_id}/{path}") == missing("No authorization.")
    assert await api.refusal(method, f"/datasets/{'0' * 32}/{path}") == missing("No authorization.")
    assert await api.refusal(method, f"/datasets/%00/{path}") == missing("No authorization.")
    told = await as_22.raw(method, f"/datasets/{'0' * 32}/{path}")
    assert (told.status_code, told.json()) == (200, {"code": 109, "message": "No authorization."})
    assert await shown(api, dataset_id)


@pytest.mark.promise("4.7-delete", "4.7-aliases")
@pytest.mark.parametrize("path", PATHS)
async def test_deleting_removes_all_it_was_made_of(world: World, api: Api, chat: RuleChatModel, path: str) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE, community=True)
    other, _ = await ready(world, api, ADA, community=True)
    await run(world, api, dataset_id)
    await run(world, api, other)

    assert await api.ok("DELETE", f"/datasets/{dataset_id}/{path}") is True

    for table in ("graph_documents", "graph_entities", "graph_relations", "graph_communities"):
        rows: Any = await world.rows(api, f"SELECT DISTINCT dataset_id FROM {table}")  # noqa: S608 (a constant)
        assert [row.dataset_id for row in rows] == [other], table
    assert await shown(api, dataset_id) == {}
    assert await job(world, api, dataset_id) is None
    assert await job(world, api, other) is not None
    assert [row.n for row in await world.rows(api, "SELECT count(*) AS n FROM documents")] == [3]
    assert await api.ok("DELETE", f"/datasets/{dataset_id}/{path}") is True


@pytest.mark.promise("4.7-index-delete", "4.7-index-wipe-false")
async def test_ending_the_job_deletes_the_graph_unless_it_is_to_stay(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    include(world.app, index_jobs.router)
    dataset_id, _ = await ready(world, api, ADA, community=True)
    await run(world, api, dataset_id)
    before = await shown(api, dataset_id)
    path = f"/datasets/{dataset_id}/index"

    assert await api.ok("DELETE", path, params={"type": "graph", "wipe": "false"}) is True
    assert await job(world, api, dataset_id) is None
    assert await api.ok("GET", path, params={"type": "graph"}) == {}
    assert await shown(api, dataset_id) == before

    assert await api.ok("DELETE", path, params={"type": "graph"}) is True
    for table in ("graph_documents", "graph_entities", "graph_relations", "graph_communities"):
        assert not await world.rows(api, f"SELECT 1 FROM {table}")  # noqa: S608 (a constant)


@pytest.mark.promise("4.7-delete")
async def test_deleting_ends_the_job_that_makes_it(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await queue(world, api, dataset_id)

    await api.ok("DELETE", f"/datasets/{dataset_id}/knowledge_graph")
    await world.work()

    assert (await job(world, api, dataset_id), chat.asked) == (None, [])
    assert await shown(api, dataset_id) == {}


@pytest.mark.promise("4.7-delete")
async def test_a_deleted_graph_can_be_made_again(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    before = await shown(api, dataset_id)
    await api.ok("DELETE", f"/datasets/{dataset_id}/knowledge_graph")

    assert (await run(world, api, dataset_id)).kind == GRAPH
    assert (await shown(api, dataset_id))["nodes"] == before["nodes"]


async def test_a_deleted_dataset_takes_its_graph_along(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, community=True)
    await run(world, api, dataset_id)

    await api.ok("DELETE", "/datasets", json={"ids": [dataset_id]})
    await world.work()

    assert await api.refusal("GET", f"/datasets/{dataset_id}/graph") == missing("No authorization.")
    for table in ("graph_documents", "graph_entities", "graph_relations", "graph_communities"):
        assert not await world.rows(api, f"SELECT 1 FROM {table}")  # noqa: S608 (a constant)
