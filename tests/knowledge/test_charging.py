"""What models cost background jobs is in the ledger, whatever becomes of the job; and nothing is paid for twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from app.domain.graph import Entity, Relation
from app.domain.models import Embeddings
from app.ingest.graph.vectors import GraphVectors
from app.ingest.renaming import RenameJobs
from app.ingest.retrying import ABANDONED, RetryConfig
from repositories.jobs import RENAME
from tests.chats.world import Api
from tests.knowledge.working import until, working
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, shown, upload


class Halting:
    """An embedding model that answers so many times, and then not until it is let on."""

    name, provider, dimensions = "scripted-embedding", "builtin", 64

    def __init__(self, world: World, answers: int) -> None:
        self._inner = world.embedding
        self._answers = answers
        self.asked: list[Sequence[str]] = []
        self.gate = anyio.Event()

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        self.asked.append(texts)
        if len(self.asked) > self._answers:
            await self.gate.wait()
        return await self._inner.embed(texts, deadline_s=deadline_s)


def halting(world: World, answers: int) -> Halting:
    model = Halting(world, answers)
    world.models["scripted-embedding"] = model
    return model


async def charged(world: World, api: Api) -> list[tuple[str, str, str]]:
    rows = await world.rows(api, "SELECT kind, purpose, model, prompt_tokens FROM usage_ledger ORDER BY created_at")
    assert all(row.prompt_tokens > 0 for row in rows)
    return [(row.kind, row.purpose, row.model) for row in rows]


@pytest.mark.promise("2.7-stop")
async def test_what_was_embedded_before_a_stop_is_in_the_ledger(world: World, api: Api) -> None:
    model = halting(world, answers=1)  # the file's name; then the chunks
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    async with working(world.worker_parts()):
        await parse(api, dataset["id"], made["id"])
        await until(lambda: _is(len(model.asked) == 2))
        await api.ok("DELETE", f"/datasets/{dataset['id']}/chunks", json={"document_ids": [made["id"]]})
        await until(lambda: _has_rows(world, api))
    assert await charged(world, api) == [("embedding", "ingest", "scripted-embedding")]
    assert (await shown(api, dataset["id"], made["id"]))["run"] == "CANCEL"


async def test_a_large_document_is_charged_as_it_is_embedded(world: World, api: Api) -> None:
    """Whatever ends the worker, at most one batch is missing."""
    model = halting(world, answers=2)
    dataset = await make_dataset(api, parser_config={"chunk_token_num": 1})
    [made] = await upload(api, dataset["id"], ("a.txt", b"\n".join(b"line %d of many" % n for n in range(100))))
    async with working(world.worker_parts()):
        await parse(api, dataset["id"], made["id"])
        await until(lambda: _is(len(model.asked) == 3))
        assert await charged(world, api) == [("embedding", "ingest", "scripted-embedding")]
        model.gate.set()
        await until(lambda: _run_is(api, dataset["id"], made["id"], "DONE"))
    [row] = await world.rows(api, "SELECT sum(prompt_tokens) AS tokens, count(*) AS lines FROM usage_ledger")
    texts = [text for batch in model.asked for text in batch]
    told = await world.embedding.embed(texts, deadline_s=0)
    assert (row.tokens, row.lines) == (told.usage.prompt_tokens, 2)


@pytest.mark.promise("1.5-embedding-with-chunks")
async def test_a_model_that_changes_while_a_document_is_parsed_embeds_it_anew(world: World, api: Api) -> None:
    """No dataset holds vectors of two models."""
    model = halting(world, answers=1)
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    async with working(world.worker_parts()):
        await parse(api, dataset["id"], made["id"])
        await until(lambda: _is(len(model.asked) == 2))
        await api.ok("PUT", f"/datasets/{dataset['id']}", json={"embedding_model": "other-embedding@builtin"})
        model.gate.set()
        await until(lambda: _run_is(api, dataset["id"], made["id"], "DONE"))
    assert "was changed meanwhile." in (await shown(api, dataset["id"], made["id"]))["progress_msg"]
    assert [tuple(batch) for batch in world.models["other-embedding"].calls] == [("a.txt",), ("some words",)]
    assert {line[2] for line in await charged(world, api)} == {"scripted-embedding", "other-embedding"}
    await assert_exact_counters(world, api)


@pytest.mark.promise("5.11-resumes")
async def test_vectors_of_a_graph_are_made_once(world: World, api: Api) -> None:
    entities = [Entity(name=f"E{n}", type="person", description="") for n in range(100)]
    relations = [Relation(source="E1", target="E2", description="knows")]
    model = halting(world, answers=100)
    told: list[tuple[int, int]] = []

    async def tell(done: int, count: int) -> None:
        told.append((done, count))

    async def made() -> Any:
        vectors = GraphVectors(world.database, model, api.tenant_id)
        return await vectors.missing(entities, relations, ({}, {}), on_batch=tell)

    first, again = await made(), await made()

    assert again == first
    assert len(first.entities) == 100
    assert [len(batch) for batch in model.asked] == [64, 37]
    assert told == [(64, 101), (101, 101)] * 2
    assert len(await charged(world, api)) == 2


async def test_a_rename_that_ends_its_workers_again_and_again_is_given_up(world: World, api: Api) -> None:
    async with world.database.unit(api.tenant_id) as unit:
        job_id = await unit.jobs.add_one(RENAME, "d1", {"old_name": "a.txt"})
    assert job_id is not None
    async with world.database.dispatch() as dispatch:
        claimed = await dispatch.jobs.claim(owner="w", kinds=[RENAME], lease_s=5)
    assert claimed is not None
    tried = replace(claimed, attempts=4)
    await RenameJobs(world.database, world.catalogue, retry=RetryConfig(attempts=3)).run(tried)
    [job] = await world.rows(api, "SELECT state, error FROM jobs")
    assert job.state == "failed"
    assert job.error.endswith(ABANDONED.format(3))


async def _is(value: bool) -> bool:
    return value


async def _has_rows(world: World, api: Api) -> bool:
    return bool(await world.rows(api, "SELECT 1 FROM usage_ledger"))


async def _run_is(api: Api, dataset_id: str, document_id: str, run: str) -> bool:
    return bool((await shown(api, dataset_id, document_id))["run"] == run)
