"""Documents taken out of a graph: exactly their share goes, and nothing they said is found (knowledge.md 2.5, 5.11)."""

from typing import Any

import pytest

from repositories.jobs import GRAPH, GRAPH_REFRESH
from tests.chats.world import Api
from tests.ingest.graph_models import RuleChatModel
from tests.knowledge.graph_world import ADA, BABBAGE, ask, chat, job, ready, run, shown
from tests.knowledge.world import World, parse

__all__ = ["chat"]

MORE = b"ENTITY<|>Ada Lovelace<|>person<|>Was a countess.\nENTITY<|>Engine<|>event<|>Never finished.\n" + (
    b"RELATION<|>Engine<|>Ada Lovelace<|>It fascinated her.<|>interest<|>3"
)


async def _everything(world: World, api: Api, dataset_id: str) -> Any:
    """Return all of the graph but its communities, with vectors, as values."""
    own = {"dataset": dataset_id}
    entities = await world.rows(
        api,
        "SELECT name, type, description, round(pagerank::numeric, 9) AS rank, degree, aliases, document_ids,"
        " embedding::text AS vector, vector_of FROM graph_entities WHERE dataset_id = :dataset ORDER BY name",
        **own,
    )
    relations = await world.rows(
        api,
        "SELECT source, target, description, weight, keywords, document_ids, embedding::text AS vector, vector_of"
        " FROM graph_relations WHERE dataset_id = :dataset ORDER BY source, target",
        **own,
    )
    return [tuple(row) for row in entities], [tuple(row) for row in relations]


@pytest.mark.promise("2.5-graph-share", "5.11-forget")
@pytest.mark.parametrize("resolution", [False, True])
async def test_what_is_left_is_what_the_other_documents_make(
    world: World,
    api: Api,
    chat: RuleChatModel,
    resolution: bool,
) -> None:
    """The graph after a deletion is, row by row, the graph that was never told of the document."""
    alike = MORE.replace(b"Ada Lovelace", b"Ada Lovelase")
    texts = [ADA, BABBAGE, MORE, alike]
    for gone in range(4):
        dataset_id, documents = await ready(world, api, *texts, resolution=resolution)
        await run(world, api, dataset_id)

        await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [documents[gone]]})
        await world.work()  # the job that ranks anew

        left = await _everything(world, api, dataset_id)
        async with world.database.unit(api.tenant_id) as unit:  # the same documents, read as if for the first time
            for table in ("graph_entities", "graph_relations"):
                await unit.graph._connection.exec_driver_sql(f"DELETE FROM {table} WHERE dataset_id = '{dataset_id}'")  # noqa: S608
        await run(world, api, dataset_id)
        assert left == await _everything(world, api, dataset_id), gone


@pytest.mark.promise("2.5-graph-share", "5.11-forget")
async def test_nothing_of_a_deleted_document_is_found_from_that_moment(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    secret = ADA.replace(b"She described it.", b"Her cipher is zebra.").replace(b"Wrote notes.", b"Zebra keeper.")
    dataset_id, (gone, _) = await ready(world, api, secret, MORE, community=True)
    await run(world, api, dataset_id)
    question = "ADA LOVELACE ENGINE cipher"
    before = await ask(world, api, question, dataset_id)
    assert before is not None
    assert "zebra" in before
    assert "The engine people" in before

    await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [gone]})

    after = await ask(world, api, question, dataset_id)
    graph = await shown(api, dataset_id)
    assert after is not None
    assert "zebra" not in after.lower()
    assert "The engine people" not in after, "reports may tell of the document; they go"
    assert "Was a countess." in after
    assert "zebra" not in str(graph).lower()
    assert gone not in str(graph)
    stored = await world.rows(
        api,
        "SELECT (SELECT string_agg(e::text, ' ') FROM graph_entities e) || (SELECT string_agg(r::text, ' ') FROM"
        " graph_relations r) || (SELECT string_agg(d::text, ' ') FROM graph_documents d) AS all",
    )
    assert "zebra" not in stored[0].all.lower()


@pytest.mark.promise("2.5-graph-share")
async def test_orphans_go_and_shared_things_stay(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada, babbage) = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)

    await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})

    graph = await shown(api, dataset_id)
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert set(nodes) == {"CHARLES BABBAGE", "ENGINE"}
    assert (nodes["ENGINE"]["description"], nodes["ENGINE"]["source_id"]) == ("Made of brass.", [babbage])
    assert [edge["source"] for edge in graph["edges"]] == ["CHARLES BABBAGE"]
    assert graph["graph"]["source_id"] == [babbage]


async def test_ranks_follow_by_a_job_that_asks_no_chat_model(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)
    asked = len(chat.asked)
    await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})

    await world.work()

    assert (await job(world, api, dataset_id, GRAPH_REFRESH)).state == "done"
    assert len(chat.asked) == asked
    graph = await shown(api, dataset_id)
    assert [(node["rank"], node["pagerank"]) for node in graph["nodes"]] == [(1, pytest.approx(0.5))] * 2


@pytest.mark.promise("2.5-graph-share")
async def test_deleting_all_documents_leaves_no_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE, community=True)
    await run(world, api, dataset_id)

    await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": None})
    await world.work()

    assert await shown(api, dataset_id) == {}
    for table in ("graph_documents", "graph_entities", "graph_relations", "graph_communities"):
        assert not await world.rows(api, f"SELECT 1 FROM {table}")  # noqa: S608 (a constant)


async def test_a_document_outside_the_graph_leaves_it_alone(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada,) = await ready(world, api, ADA)

    await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})

    assert await job(world, api, dataset_id, GRAPH_REFRESH) is None


@pytest.mark.promise("5.11-forget")
async def test_a_document_that_is_parsed_again_is_out_of_the_graph_until_it_is_read_again(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)
    before = await _everything(world, api, dataset_id)

    await parse(api, dataset_id, ada)
    assert "ADA LOVELACE" not in str(await shown(api, dataset_id))
    await world.work()
    assert "ADA LOVELACE" not in str(await shown(api, dataset_id))

    asked = len(chat.asked)
    assert (await run(world, api, dataset_id)).kind == GRAPH
    assert await _everything(world, api, dataset_id) == before
    assert len(chat.asked) == asked, "the same text was answered before"


@pytest.mark.promise("5.11-forget")
async def test_a_name_that_only_the_deleted_document_used_goes(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (gone, _, _) = await ready(
        world,
        api,
        ADA + b"\nENTITY<|>Ada Lovelace<|>person<|>x",
        MORE.replace(b"Lovelace", b"Lovelase"),
        BABBAGE,
        resolution=True,
    )
    await run(world, api, dataset_id)
    assert "ADA LOVELACE" in str(await shown(api, dataset_id))
    assert "ADA LOVELASE" not in str(await shown(api, dataset_id))

    await api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [gone]})

    graph = await shown(api, dataset_id)
    assert "ADA LOVELACE" not in str(graph)
    assert ("ADA LOVELASE", "ENGINE", 3.0) in [
        (each["source"], each["target"], each["weight"]) for each in graph["edges"]
    ]
    assert not await world.rows(api, "SELECT 1 FROM graph_entities WHERE 'ADA LOVELACE' = ANY(aliases)")


async def test_disabled_documents_are_not_read_and_what_only_they_tell_is_not_found(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)
    await world.rows(api, "UPDATE documents SET is_enabled = false WHERE id = :id RETURNING id", id=ada)

    told = await ask(world, api, "ADA LOVELACE CHARLES BABBAGE ENGINE", dataset_id)

    assert told is not None
    assert "CHARLES BABBAGE" in told
    assert "ADA LOVELACE" not in told
