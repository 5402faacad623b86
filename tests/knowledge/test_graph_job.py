"""The job that makes a graph: what it stores, skips, costs, and how it goes on (knowledge.md 5.11)."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.chats.world import Api
from tests.ingest.graph_models import RuleChatModel, saying
from tests.knowledge.graph_world import ADA, BABBAGE, chat, job, names, ready, run, shown, with_chat
from tests.knowledge.world import World, make_dataset, parse, upload

__all__ = ["chat"]


@pytest.mark.promise("5.11-light", "5.11-merge-entities", "5.11-merge-relations", "5.11-progress")
async def test_documents_become_one_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada, babbage) = await ready(world, api, ADA, BABBAGE)

    done = await run(world, api, dataset_id)

    assert (done.state, done.progress) == ("done", 1.0), done.progress_msg
    graph = await shown(api, dataset_id)
    engine = names(graph)["ENGINE"]
    assert set(names(graph)) == {"ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"}
    assert (engine["entity_type"], engine["description"]) == ("category", "A machine.<SEP>Made of brass.")
    assert (engine["rank"], set(engine["source_id"])) == (2, {ada, babbage})
    assert engine["pagerank"] == max(node["pagerank"] for node in graph["nodes"])
    assert [(edge["source"], edge["target"], edge["weight"]) for edge in graph["edges"]] == [
        ("ADA LOVELACE", "ENGINE", 8.0),
        ("CHARLES BABBAGE", "ENGINE", 5.0),
    ]
    lines = done.progress_msg.split("\n")
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
    for name in ("0.txt", "1.txt"):
        assert sum(f" {name}: 2 entities, 1 relations." in line for line in lines) == 1
    assert "3 entities, 2 relations" in lines[-1]


@pytest.mark.promise("5.11-rows")
async def test_notes_rows_and_vectors_are_stored(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, documents = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)

    notes = await world.rows(api, "SELECT document_id, subgraph FROM graph_documents")
    entities = await world.rows(api, "SELECT name, embedding::text AS embedding, dimensions FROM graph_entities")
    relations = await world.rows(
        api, "SELECT source, target, description, embedding::text AS embedding FROM graph_relations"
    )

    assert {row.document_id for row in notes} == set(documents)
    assert all(len(row.subgraph["entities"]) == 2 for row in notes)
    assert {row.name for row in entities} == {"ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"}
    assert {(row.source, row.target) for row in relations} == {
        ("ADA LOVELACE", "ENGINE"),
        ("CHARLES BABBAGE", "ENGINE"),
    }
    for row in entities:
        assert _close(row.embedding, world.embedding.vector(row.name))
        assert row.dimensions == 64
    for row in relations:
        assert _close(row.embedding, world.embedding.vector(f"{row.source}->{row.target}: {row.description}"))


def _close(stored: str, expected: Sequence[float]) -> bool:
    return [float(each) for each in stored[1:-1].split(",")] == pytest.approx(expected, abs=1e-6)


@pytest.mark.promise("5.11-hidden")
async def test_the_graph_is_hidden_from_normal_search(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, b"plain words about looms", ADA)
    before = await world.rows(api, "SELECT count(*) AS n FROM chunks")
    await run(world, api, dataset_id)

    found = await api.ok("POST", "/retrieval", json={"dataset_ids": [dataset_id], "question": "looms"})

    assert await world.rows(api, "SELECT count(*) AS n FROM chunks") == before
    assert [chunk["content"] for chunk in found["chunks"]] == ["plain words about looms"]


@pytest.mark.promise("5.11-merge-any-order")
async def test_the_order_of_documents_makes_no_difference(world: World, api: Api, chat: RuleChatModel) -> None:
    forth, ids = await ready(world, api, ADA, BABBAGE)
    back, ids_back = await ready(world, api, BABBAGE, ADA)
    await run(world, api, forth)
    await run(world, api, back)

    def plain(graph: Any, order: list[str]) -> Any:
        for each in (*graph["nodes"], *graph["edges"]):
            each["source_id"] = sorted(order.index(document) for document in each["source_id"])
        return graph["nodes"], graph["edges"]

    assert plain(await shown(api, forth), ids) == plain(await shown(api, back), ids_back[::-1])


async def ranks(world: World, api: Api) -> dict[str, float]:
    return {row.name: row.pagerank for row in await world.rows(api, "SELECT name, pagerank FROM graph_entities")}


@pytest.mark.promise("5.11-skip", "5.11-pagerank")
async def test_a_document_in_the_graph_is_not_read_again(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    asked, embedded = len(chat.asked), len(world.embedding.calls)
    assert await ranks(world, api) == pytest.approx({"ADA LOVELACE": 0.5, "ENGINE": 0.5})

    again = await run(world, api, dataset_id)
    assert (len(chat.asked), len(world.embedding.calls)) == (asked, embedded)
    assert "0 documents to read, 1 are in the graph already." in again.progress_msg

    [more] = await upload(api, dataset_id, ("more.txt", BABBAGE))
    await parse(api, dataset_id, more["id"])
    await world.work()
    before = len(world.embedding.calls)
    await run(world, api, dataset_id)

    assert all("Ada" not in talk[1].content for talk in chat.asked[asked:])
    assert "CHARLES BABBAGE" in names(await shown(api, dataset_id))
    made = [text for call in world.embedding.calls[before:] for text in call]
    assert sorted(made) == ["CHARLES BABBAGE", "CHARLES BABBAGE->ENGINE: He drew it."]
    engine = 0.9 / 1.85  # a star of weights 8 and 5: c = 0.05 + 0.85(1 - c)
    assert await ranks(world, api) == pytest.approx(
        {
            "ENGINE": engine,
            "ADA LOVELACE": 0.05 + 0.85 * engine * 8 / 13,
            "CHARLES BABBAGE": 0.05 + 0.85 * engine * 5 / 13,
        }
    )


@pytest.mark.promise("5.11-usage")
async def test_each_call_is_in_the_ledger_once(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)

    rows = await world.rows(
        api,
        "SELECT kind, model, count(*) AS calls, sum(completion_tokens) AS out FROM usage_ledger WHERE purpose = 'graph'"
        " GROUP BY 1, 2 ORDER BY 1",
    )
    assert [(row.kind, row.model, row.calls, row.out) for row in rows] == [
        ("chat", "rules", len(chat.asked), 7 * len(chat.asked)),
        ("embedding", "scripted-embedding", 1, 0),
    ]
    assert len(chat.asked) == 4


@pytest.mark.promise("5.11-resolution", "5.11-resolution-batches")
async def test_names_that_mean_the_same_become_one(world: World, api: Api, chat: RuleChatModel) -> None:
    alike = ADA.replace(b"Ada Lovelace", b"Ada Lovelase")
    dataset_id, documents = await ready(world, api, ADA, ADA + b"\nmore", alike, resolution=True)

    done = await run(world, api, dataset_id)

    assert "1 names mean the same as others." in done.progress_msg
    graph = await shown(api, dataset_id)
    assert set(names(graph)) == {"ADA LOVELACE", "ENGINE"}
    assert set(names(graph)["ADA LOVELACE"]["source_id"]) == set(documents)
    assert graph["edges"][0]["weight"] == 24.0


class Watching(RuleChatModel):
    """Looks at the job when a community is asked about."""

    look: Any = None
    seen: Any = None

    async def before(self) -> None:
        if "JSON" in self.asked[-1][-1].content:
            self.seen = await self.look()


@pytest.mark.promise("5.11-communities", "5.11-progress")
async def test_communities_are_reported_on(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE, community=True)
    model = Watching()
    model.look = lambda: job(world, api, dataset_id)
    with_chat(world, model)

    done = await run(world, api, dataset_id)

    assert (model.seen.state, model.seen.progress) == ("running", pytest.approx(0.8))
    assert all(f" {name}: 2 entities, 1 relations." in model.seen.progress_msg for name in ("0.txt", "1.txt"))

    rows = await world.rows(api, "SELECT title, report, findings, weight, entities FROM graph_communities")
    assert [(row.title, row.report, row.findings, row.weight) for row in rows] == [
        ("The engine people", "They built it.", ["It ran."], 7.0)
    ]
    assert rows[0].entities == ["ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"]
    assert "1 community reports" in done.progress_msg


async def test_without_the_options_nobody_is_asked_about_names_and_communities(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA, ADA.replace(b"Ada", b"Adah"))

    await run(world, api, dataset_id)

    assert all(talk[0].role == "system" for talk in chat.asked)
    assert not await world.rows(api, "SELECT 1 FROM graph_communities")


@pytest.mark.promise("5.11-types-only", "5.11-options")
async def test_the_types_of_the_dataset_are_asked_for(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, entity_types=["category"])

    await run(world, api, dataset_id)

    graph = await shown(api, dataset_id)
    assert (set(names(graph)), graph["edges"]) == ({"ENGINE"}, [])
    assert "of these types: category." in chat.asked[0][0].content


@pytest.mark.promise("5.11-units")
async def test_chunks_are_read_together_and_in_order(world: World, api: Api, chat: RuleChatModel) -> None:
    """Those that are switched off and summaries of others are not read."""
    dataset = await make_dataset(api, parser_config={"chunk_token_num": 8, "delimiter": "\n"})
    lines = "\n".join(f"This is the line of number {number} here." for number in range(12))
    [document] = await upload(api, dataset["id"], ("a.txt", lines.encode()))
    await parse(api, dataset["id"], document["id"])
    await world.work()
    changed = "UPDATE chunks SET {} WHERE content LIKE '%number {} %' RETURNING 1"
    assert await world.rows(api, changed.format("is_available = false", 5))
    assert await world.rows(api, changed.format("layer = 1", 7))

    await run(world, api, dataset["id"])

    [first, _] = chat.asked
    assert [int(n) for n in re.findall(r"number (\d+)", first[1].content)] == [0, 1, 2, 3, 4, 6, 8, 9, 10, 11]


@pytest.mark.promise("5.11-summaries")
async def test_what_many_documents_say_is_summarised_too(world: World, api: Api, chat: RuleChatModel) -> None:
    """Seven descriptions of each of two documents are fourteen."""
    texts: list[bytes] = []
    for document in range(2):
        lines = ["ENTITY<|>Bob<|>person<|>A man."]
        for number in range(7):
            lines.append(f"ENTITY<|>Ada<|>person<|>note {document}{number}")
            lines.append(f"RELATION<|>Ada<|>Bob<|>tie {document}{number}<|>k<|>1")
        texts.append("\n".join(lines).encode())
    dataset_id, _ = await ready(world, api, *texts)

    await run(world, api, dataset_id)

    graph = await shown(api, dataset_id)
    assert {name: node["description"] for name, node in names(graph).items()} == {
        "ADA": "Summary of 14 notes.",
        "BOB": "A man.",
    }
    assert [edge["description"] for edge in graph["edges"]] == ["Summary of 14 notes."]


@pytest.mark.promise("5.9-types")
async def test_a_document_of_the_method_knowledge_graph_has_its_own_types(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.txt", ADA.replace(b"category", b"time")))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    await api.ok("PUT", path, json={"chunk_method": "knowledge_graph"})
    await parse(api, dataset["id"], document["id"])
    await world.work()

    await run(world, api, dataset["id"])

    assert "of these types: organization, person, location, event, time." in chat.asked[0][0].content
    assert set(names(await shown(api, dataset["id"]))) == {"ADA LOVELACE", "ENGINE"}


async def test_a_dataset_of_nothing_parsed_makes_an_empty_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset = await make_dataset(api)
    await upload(api, dataset["id"], ("a.txt", ADA))

    done = await run(world, api, dataset["id"])

    assert (done.state, chat.asked) == ("done", [])
    assert await shown(api, dataset["id"]) == {}


@pytest.mark.promise("5.11-garbage")
@pytest.mark.parametrize("garbage", ["", "I would rather not.", "ENTITY<|><|><|>\x00", "{" * 10_000, "ENTITY<|>" * 500])
async def test_garbage_of_the_model_makes_an_empty_graph(
    world: World, api: Api, chat: RuleChatModel, garbage: str
) -> None:
    dataset_id, _ = await ready(world, api, ADA, community=True, resolution=True)
    chat.answer = saying(garbage)

    assert (await run(world, api, dataset_id)).state == "done"
    assert await shown(api, dataset_id) == {}
