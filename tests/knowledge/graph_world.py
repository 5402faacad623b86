"""The knowledge world with a chat model that makes graphs by rule, and the routes of graphs."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from app.domain.datasets import Dataset
from app.domain.ids import DatasetId
from app.domain.retrieval import ModelCall
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.retrieval.graph import graph_chunk
from repositories.jobs import GRAPH
from routers import graph as graph_routes
from tests.chats.world import Api
from tests.ingest.graph_models import RuleChatModel
from tests.knowledge.world import ENTRIES, World, make_dataset, parse, upload
from tests.routes import include

CHAT_ENTRY = ModelEntry(name="rules", provider="builtin", kind="chat", default=True)
ADA = b"ENTITY<|>Ada Lovelace<|>person<|>Wrote notes.\nENTITY<|>Engine<|>category<|>A machine.\n" + (
    b"RELATION<|>Ada Lovelace<|>Engine<|>She described it.<|>notes<|>8"
)
BABBAGE = b"ENTITY<|>Charles Babbage<|>person<|>Built it.\nENTITY<|>Engine<|>category<|>Made of brass.\n" + (
    b"RELATION<|>Charles Babbage<|>Engine<|>He drew it.<|>drawings<|>5"
)


def with_chat(world: World, model: Any) -> None:
    """Give app and workers a catalogue whose chat model is `model`."""

    def embedding(entry: ModelEntry) -> Any:
        return world.models[entry.name]

    world.catalogue = ModelCatalogue(
        (*ENTRIES, CHAT_ENTRY), chat=lambda _: model, embedding=embedding, rerank=embedding
    )
    world.app.state.catalogue = world.catalogue


@pytest.fixture
def chat(world: World) -> RuleChatModel:
    """The chat model of the world; also adds the routes of graphs."""
    model = RuleChatModel()
    with_chat(world, model)
    include(world.app, graph_routes.router)
    return model


async def ready(world: World, api: Api, *texts: bytes, **sent: Any) -> tuple[str, list[str]]:
    """Make a dataset of parsed documents, one a text; its id and theirs."""
    graphrag = {"use_graphrag": True, **sent}
    dataset = await make_dataset(api, parser_config={"delimiter": "\n", "graphrag": graphrag})
    files = [(f"{number}.txt", text) for number, text in enumerate(texts)]
    ids: list[str] = []
    for start in range(0, len(files), 5):
        ids += [document["id"] for document in await upload(api, dataset["id"], *files[start : start + 5])]
    await parse(api, dataset["id"], *ids)
    await world.work()
    return dataset["id"], ids


async def queue(world: World, api: Api, dataset_id: str) -> None:
    """Queue the job that makes the graph."""
    async with world.database.unit(api.tenant_id) as unit:
        assert await unit.jobs.add_one(GRAPH, dataset_id) is not None


async def run(world: World, api: Api, dataset_id: str) -> Any:
    """Make the graph; the job's row."""
    await queue(world, api, dataset_id)
    with anyio.fail_after(60):
        while (found := await job(world, api, dataset_id)).state in ("queued", "running"):
            await world.work()  # ends while a job waits to be tried again
    return found


async def job(world: World, api: Api, dataset_id: str, kind: str = GRAPH) -> Any:
    """Return the row of the dataset's youngest job."""
    async with world.database.unit(api.tenant_id) as unit:
        return await unit.jobs.latest(kind, [dataset_id])


async def shown(api: Api, dataset_id: str) -> Any:
    """Return the graph as the route tells it."""
    return (await api.ok("GET", f"/datasets/{dataset_id}/knowledge_graph"))["graph"]


async def dataset_of(world: World, api: Api, dataset_id: str) -> Dataset:
    """Return the stored dataset."""
    async with world.database.unit(api.tenant_id) as unit:
        found = await unit.datasets.get(DatasetId(dataset_id))
    assert found is not None
    return found


async def ask(
    world: World,
    api: Api,
    question: str,
    *dataset_ids: str,
    calls: list[ModelCall] | None = None,
    vector: Sequence[float] | None = None,
) -> str | None:
    """Return the content of the chunk of `use_kg`."""
    return await graph_chunk(
        world.database,
        world.catalogue,
        api.tenant_id,
        question,
        [await dataset_of(world, api, each) for each in dataset_ids],
        vector=vector or world.embedding.vector(question),
        calls=calls if calls is not None else [],
        deadline_s=1e12,
    )


def names(graph: Any) -> dict[str, Any]:
    """Return the nodes by name."""
    return {node["id"]: node for node in graph["nodes"]}
