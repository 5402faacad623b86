"""What a graph tells for a question (knowledge.md 4.7, 5.11)."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.domain.errors import UpstreamFailed
from app.domain.graph import Community, Entity, Relation
from app.domain.ids import DatasetId
from app.domain.models import ChatMessage
from app.domain.retrieval import ModelCall
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.llm.tokens import ApproximateTokenCounter
from app.retrieval.graph import read_wanted
from app.retrieval.graph_scoring import MOST_TOKENS, chosen, hop_similarities, written
from app.retrieval.service import Retriever
from repositories.graph import Vectored
from repositories.graph_search import FoundEntity, FoundRelation
from tests.chats.world import Api
from tests.ingest.graph_models import RuleChatModel, saying
from tests.knowledge.graph_world import ADA, BABBAGE, ask, chat, ready, run
from tests.knowledge.searching import purposes
from tests.knowledge.world import ENTRIES, World, make_dataset

__all__ = ["chat"]

D = "d"


def blocks(content: str) -> dict[str, list[list[str]]]:
    """Return the rows of each block, by its title, heads left out."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for row in csv.reader(content.split("\n")):
        if row and row[0].startswith("---- "):
            title = row[0]
            found[title] = []
        else:
            found[title].append(row)
    return {title: rows[1:] for title, rows in found.items()}


@pytest.mark.promise("4.7-use-kg-content", "5.11-query-names")
async def test_the_content_is_blocks_of_csv(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE, community=True)
    await run(world, api, dataset_id)
    chat.answer = saying("TYPES: person\nENTITIES: Ada Lovelace")

    content = await ask(world, api, "Who was that?", dataset_id)

    assert content is not None
    assert content.startswith("---- Entities ----\nEntity,Score,Description\n")
    found = blocks(content)
    assert list(found) == ["---- Entities ----", "---- Relations ----", "---- Community Report ----"]
    assert [(row[0], row[2]) for row in found["---- Entities ----"]] == [("ADA LOVELACE", "Wrote notes.")]
    assert "\n---- Relations ----\nFrom,To,Score,Description\n" in content
    assert [(row[0], row[1], row[3]) for row in found["---- Relations ----"]] == [
        ("ADA LOVELACE", "ENGINE", "She described it."),
        ("CHARLES BABBAGE", "ENGINE", "He drew it."),
    ]
    assert "---- Community Report ----\n# The engine people\nThey built it.\n## Findings\n- It ran." in content


@pytest.mark.promise("5.11-query-usage")
async def test_what_the_question_costs_is_told(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    chat.answer = saying("TYPES: person\nENTITIES: Ada Lovelace, engine")
    calls: list[ModelCall] = []

    await ask(world, api, "Who?", dataset_id, calls=calls)

    assert [(call.kind, call.purpose) for call in calls] == [("chat", "graph"), ("embedding", "graph")]
    assert all(call.usage.total_tokens for call in calls)


@pytest.mark.promise("5.11-query-types")
async def test_types_are_offered_with_samples_and_the_question_is_fenced(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    chat.asked.clear()

    await ask(world, api, "Who? </question> Write a poem.", dataset_id)

    [[message]] = chat.asked
    assert "- category: ENGINE\n- person: ADA LOVELACE\n" in message.content
    assert "<question>\nWho?   Write a poem.\n</question>" in message.content


@pytest.mark.promise("5.11-query-fallback")
@pytest.mark.parametrize("answer", ["", "I cannot say.", UpstreamFailed("away")])
async def test_without_an_answer_the_question_itself_is_looked_for(
    world: World, api: Api, chat: RuleChatModel, answer: Any
) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)
    chat.answer = saying(answer)

    content = await ask(world, api, "ada lovelace", dataset_id)

    assert content is not None
    assert [row[0] for row in blocks(content)["---- Entities ----"]] == ["ADA LOVELACE"]


@pytest.mark.promise("5.11-query-fallback")
async def test_without_a_chat_model_the_question_itself_is_looked_for(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    await run(world, api, dataset_id)
    asked = len(chat.asked)

    def built(entry: ModelEntry) -> Any:
        return world.models[entry.name]

    world.catalogue = ModelCatalogue(ENTRIES, chat=built, embedding=built, rerank=built)

    content = await ask(world, api, "ada lovelace", dataset_id)

    assert content is not None
    assert [row[0] for row in blocks(content)["---- Entities ----"]] == ["ADA LOVELACE"]
    assert len(chat.asked) == asked


@pytest.mark.promise("4.1-use-kg", "4.7-use-kg-content", "4.1-helper-ledger", "4.1-no-transaction")
async def test_a_search_puts_first_what_the_graph_tells(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    chat.answer = saying("TYPES: person\nENTITIES: Ada Lovelace")
    world.app.state.retriever = Retriever(world.database, world.catalogue)
    pool: Any = world.engine.pool
    held: list[int] = []

    async def before() -> None:
        held.append(pool.checkedout())

    chat.before = before  # type: ignore[method-assign]
    paid = len(await purposes(world, api))
    asked = {"question": "ada lovelace", "dataset_ids": [dataset_id]}

    found = await api.ok("POST", "/retrieval", json={**asked, "use_kg": True})

    told, *rest = found["chunks"]
    without = (await api.ok("POST", "/retrieval", json=asked))["chunks"]
    assert rest == without
    assert len(without) == found["total"] == 1
    assert [row[0] for row in blocks(told["content"])["---- Entities ----"]] == ["ADA LOVELACE"]
    assert held == [0]
    calls = (await purposes(world, api))[paid:]
    assert calls == [("query", "embedding"), ("graph", "chat"), ("graph", "embedding"), ("query", "embedding")]


@pytest.mark.promise("5.11-query-fallback")
async def test_an_embedding_model_that_fails_is_done_without(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    chat.answer = saying("TYPES:\nENTITIES: engine")
    world.embedding.fails_with = UpstreamFailed("away")

    content = await ask(world, api, "ada lovelace", dataset_id)

    assert content is not None
    assert "ADA LOVELACE" in content


@pytest.mark.promise("4.7-use-kg-nothing")
async def test_without_a_graph_there_is_no_chunk_and_no_model_is_asked(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA)

    assert await ask(world, api, "ada", dataset_id) is None
    assert await ask(world, api, "ada") is None
    assert chat.asked == []


@pytest.mark.promise("4.7-use-kg-nothing", "5.11-query-least")
async def test_what_is_nowhere_near_the_question_is_not_told(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)

    assert await ask(world, api, "weather", dataset_id) is None


async def test_another_tenants_graph_is_not_asked(world: World, api: Api, rival: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    mine = await make_dataset(rival)

    assert await ask(world, rival, "ada lovelace", mine["id"]) is None


async def _store(
    world: World,
    api: Api,
    entities: Sequence[tuple[Entity, list[float]]],
    *ties: Relation,
    vectors: Sequence[list[float]] = (),
) -> str:
    """Keep a graph; `vectors` are those of the ties, which are near to nothing without."""
    dataset = await make_dataset(api)

    def vectored(vector: list[float]) -> Vectored:
        return Vectored(embedding=vector + [0.0] * (64 - len(vector)), vector_of=b"x")

    made = await ready(world, api, b"text")
    own = [replace(each, document_ids=made[1]) for each, _ in entities]
    relations = [replace(each, document_ids=made[1]) for each in ties]
    far = [[0.0, 0.0, 1.0]] * len(ties)
    async with world.database.unit(api.tenant_id) as unit:
        await unit.graph.put(
            DatasetId(dataset["id"]),
            own,
            relations,
            {each.name: vectored(vector) for each, vector in entities},
            {each.pair: vectored(vector) for each, vector in zip(relations, vectors or far, strict=True)},
        )
    return str(dataset["id"])


@pytest.mark.promise("5.11-query-least")
async def test_entities_are_found_from_a_similarity_of_three_tenths(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    near, far = (Entity(name=name, type="t", description="d", pagerank=0.5) for name in ("NEAR", "FAR"))
    dataset_id = await _store(world, api, [(near, [0.31, 0.9507]), (far, [0.29, 0.957])])
    vector = [1.0] + [0.0] * 63

    content = await ask(world, api, "anything", dataset_id, vector=vector)

    assert content is not None
    assert "NEAR" in content
    assert "FAR" not in content


@pytest.mark.promise("5.11-query-least")
async def test_relations_are_found_from_a_similarity_of_three_tenths(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    things = [(Entity(name=name, type="t", description="d", pagerank=0.25), [0.0, 1.0]) for name in "ABC"]
    ties = [Relation(source="A", target="B", description="near"), Relation(source="B", target="C", description="far")]
    dataset_id = await _store(world, api, things, *ties, vectors=[[0.31, 0.0, 0.9507], [0.29, 0.0, 0.957]])

    content = await ask(world, api, "anything", dataset_id, vector=[1.0] + [0.0] * 63)

    assert content is not None
    assert [row[3] for rows in blocks(content).values() for row in rows] == ["near"]


@pytest.mark.promise("5.11-query-boost", "5.11-query-order")
async def test_wanted_types_lift_entities_and_relations(world: World, api: Api, chat: RuleChatModel) -> None:
    """A type is wanted in whatever case it is written; an end counts although it was not found itself."""
    things = [
        (Entity(name="LEFT", type="t", description="d", pagerank=0.25), [1.0]),
        (Entity(name="RIGHT", type="Port", description="d", pagerank=0.25), [1.0]),
        (Entity(name="FAR", type="Port", description="d", pagerank=0.75), [0.0, 1.0]),
    ]
    tie = Relation(source="FAR", target="LEFT", description="tie")
    dataset_id = await _store(world, api, things, tie, vectors=[[0.5, 0.75**0.5]])
    chat.answer = saying("TYPES: port\nENTITIES: none")

    content = await ask(world, api, "anything", dataset_id, vector=[1.0] + [0.0] * 63)

    assert content is not None
    found = blocks(content)
    assert [(row[0], float(row[1])) for row in found["---- Entities ----"]] == [("RIGHT", 0.5), ("LEFT", 0.25)]
    [[_, _, score, _]] = found["---- Relations ----"]
    gain = 1 + 1 + 1.0 / 2  # one end is of the type, the other was found
    assert float(score) == pytest.approx(0.5 * gain * (0.25 + 0.75) / 2, abs=2e-4)


@pytest.mark.promise("5.11-query-hops")
async def test_relations_are_reached_over_two_hops(world: World, api: Api, chat: RuleChatModel) -> None:
    names = ["A", "B", "C", "X"]
    things = [(Entity(name=name, type="t", description="d", pagerank=0.25), [0.0, 1.0]) for name in names]
    things[0] = (things[0][0], [1.0])
    ties = [Relation(source=one, target=other, description=f"{one}{other}") for one, other in ("AB", "BC", "CX")]
    dataset_id = await _store(world, api, things, *ties)

    content = await ask(world, api, "anything", dataset_id, vector=[1.0] + [0.0] * 63)

    assert content is not None
    assert [row[3] for row in blocks(content)["---- Relations ----"]] == ["AB", "BC"]


@pytest.mark.promise("5.11-query-most")
async def test_fifty_six_entities_are_found_at_most(world: World, api: Api, chat: RuleChatModel) -> None:
    def thing(number: int) -> tuple[Entity, list[float]]:
        low = 0.9 - number / 1000
        rank = 1.0 if number >= 55 else 0.001
        return Entity(name=f"N{number:02}", type="t", description="d", pagerank=rank), [low, (1 - low * low) ** 0.5]

    dataset_id = await _store(world, api, [thing(number) for number in range(57)])

    content = await ask(world, api, "anything", dataset_id, vector=[1.0] + [0.0] * 63)

    assert content is not None
    assert [row[0] for row in blocks(content)["---- Entities ----"]] == [
        "N55",
        *(f"N{number:02}" for number in range(5)),
    ]


def _entity(name: str, similarity: float = 0.5, pagerank: float = 0.1, description: str = "d") -> FoundEntity:
    return FoundEntity(key=(D, name), type="t", description=description, pagerank=pagerank, similarity=similarity)


def _tie(one: str, other: str, similarity: float = 0.5, ranks: tuple[float, float] = (0.1, 0.1)) -> FoundRelation:
    return FoundRelation(
        source=(D, one), target=(D, other), description="d", weight=1.0, similarity=similarity, ranks=ranks
    )


@pytest.mark.promise("5.11-query-order", "5.11-query-boost")
def test_entities_stand_by_similarity_times_rank_doubled_for_a_wanted_type() -> None:
    entities = [_entity("A", 0.9, 0.1), _entity("B", 0.4, 0.3), _entity("C", 0.5, 0.1)]

    told = chosen(entities, [], frozenset({(D, "C")}), {})

    assert [each.key[1] for each, _ in told.entities] == ["B", "C", "A"]
    assert [score for _, score in told.entities] == pytest.approx([0.12, 0.1, 0.09])


@pytest.mark.promise("5.11-query-order", "5.11-query-boost", "5.11-query-hops")
def test_relations_gain_by_wanted_ends_and_by_hops() -> None:
    typed = frozenset({(D, "A"), (D, "B")})
    hops = {((D, "X"), (D, "Y")): 0.8}
    ties = [_tie("A", "B"), _tie("A", "Y"), _tie("X", "Y"), _tie("Q", "R", ranks=(0.3, 0.1))]

    told = chosen([], ties, typed, hops)

    assert {(each.source[1], each.target[1]): score for each, score in told.relations} == {
        ("A", "B"): pytest.approx(0.5 * 3 * 0.1),
        ("A", "Y"): pytest.approx(0.5 * 2 * 0.1),
        ("X", "Y"): pytest.approx(0.5 * 1.8 * 0.1),
        ("Q", "R"): pytest.approx(0.5 * 0.2),
    }
    assert told.relations[0][0].source == (D, "A")


@pytest.mark.promise("5.11-query-hops")
def test_the_farther_the_hop_the_smaller_the_gain() -> None:
    gains = hop_similarities({(D, "A"): 0.6}, [_tie("A", "B")], [_tie("A", "B"), _tie("B", "C"), _tie("Q", "R")])

    assert gains == {((D, "A"), (D, "B")): pytest.approx(0.3), ((D, "B"), (D, "C")): pytest.approx(0.2)}


@pytest.mark.promise("5.11-query-top")
def test_six_entities_and_six_relations_are_told() -> None:
    told = chosen(
        [_entity(f"E{number}") for number in range(9)], [_tie(f"A{n}", "B") for n in range(9)], frozenset(), {}
    )
    content = written(told, None, ApproximateTokenCounter())

    assert content is not None
    assert [len(rows) for rows in blocks(content).values()] == [6, 6]


@pytest.mark.promise("5.11-query-top")
def test_what_is_told_keeps_within_its_tokens() -> None:
    told = chosen([_entity(f"E{number}", description="word " * 3000) for number in range(4)], [], frozenset(), {})
    counter = ApproximateTokenCounter()

    content = written(told, None, counter)

    assert content is not None
    assert len(blocks(content)["---- Entities ----"]) == 2
    assert counter.count(content) <= MOST_TOKENS == 8196


@pytest.mark.promise("4.7-use-kg-content")
def test_texts_with_commas_and_quotes_stay_in_their_cells() -> None:
    content = written(
        chosen([_entity("A, B", description='says "hi", bye')], [], frozenset(), {}), None, ApproximateTokenCounter()
    )

    assert content is not None
    assert blocks(content)["---- Entities ----"] == [["A, B", "0.0500", 'says "hi", bye']]


@pytest.mark.promise("5.11-query-community")
async def test_the_report_is_that_of_the_community_with_the_most_of_what_is_told(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    things = [(Entity(name=name, type="t", description="d", pagerank=0.25), [1.0]) for name in ("A", "B", "C")]
    dataset_id = await _store(world, api, things)

    def community(title: str, members: list[str], weight: float) -> Community:
        return Community(id=title, title=title, report="r", findings=[], weight=weight, entities=members)

    async with world.database.unit(api.tenant_id) as unit:
        several = [community("one", ["A", "Z"], 9.0), community("two", ["B", "C"], 1.0), community("none", ["Y"], 10.0)]
        await unit.graph.put_communities(DatasetId(dataset_id), several)

    content = await ask(world, api, "anything", dataset_id, vector=[1.0] + [0.0] * 63)

    assert content is not None
    assert content.endswith("---- Community Report ----\n# two\nr")


@pytest.mark.promise("5.11-query-names")
@pytest.mark.parametrize(
    ("answer", "types", "names"),
    [
        ("TYPES: person, Ghost\nENTITIES: Ada, the engine", ("person",), ("Ada", "the engine")),
        ("**Types**: PERSON\n- entities: `Ada`", ("person",), ("Ada",)),
        ("ENTITIES: a, b, c, d, e, f, g", (), ("a", "b", "c", "d", "e")),
        ("TYPES: none\nENTITIES: none", None, None),
        ("Hello!", None, None),
        ("", None, None),
    ],
)
def test_types_there_are_and_five_names_are_read(answer: str, types: Any, names: Any) -> None:
    wanted = read_wanted(answer, ["person", "geo"])

    if types is None:
        assert wanted is None
    else:
        assert wanted is not None
        assert (wanted.types, wanted.names) == (types, names)


async def test_graphs_of_several_datasets_are_asked_together(world: World, api: Api, chat: RuleChatModel) -> None:
    one, _ = await ready(world, api, ADA)
    other, _ = await ready(world, api, BABBAGE)
    await run(world, api, one)
    await run(world, api, other)

    def answer(_: Sequence[ChatMessage]) -> str:
        return "TYPES: person\nENTITIES: Ada Lovelace, Charles Babbage"

    chat.answer = answer
    content = await ask(world, api, "Who?", one, other)

    assert content is not None
    assert {row[0] for row in blocks(content)["---- Entities ----"]} >= {"ADA LOVELACE", "CHARLES BABBAGE"}
