"""Jobs of the knowledge graph that fail, are killed, cancelled or overtaken (knowledge.md 5.11)."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from app.domain.errors import UpstreamFailed, UpstreamRefused
from app.domain.models import ChatMessage, Embeddings
from app.ingest.retrying import ABANDONED
from repositories.jobs import GRAPH
from tests.chats.world import Api
from tests.ingest.graph_models import RuleChatModel, by_rule
from tests.knowledge.graph_world import ADA, BABBAGE, chat, job, names, queue, ready, run, shown, with_chat
from tests.knowledge.working import until, working
from tests.knowledge.world import World, parse, upload

ROOT = Path(__file__).resolve().parents[2]

__all__ = ["chat"]


class Counting(RuleChatModel):
    """Counts how many documents are read at once; nobody is answered before there are four."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.are_four = anyio.Event()

    async def before(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == 4:
            self.are_four.set()
        with anyio.move_on_after(20):
            await self.are_four.wait()
        await anyio.sleep(0.05)  # a fifth would come now
        self.now -= 1


@pytest.mark.promise("5.11-parallel")
async def test_four_documents_are_read_at_once(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, *(ADA + b"\n%d" % number for number in range(9)))
    counting = Counting()
    with_chat(world, counting)

    await run(world, api, dataset_id)

    assert counting.most == 4
    assert len(names(await shown(api, dataset_id))) == 2


@pytest.mark.promise("5.11-resumes")
async def test_a_job_that_failed_goes_on_without_asking_again(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    fails = True

    def answer(messages: Sequence[ChatMessage]) -> str | Exception:
        if fails and len(messages) > 2 and "Babbage" in messages[1].content:
            return UpstreamFailed("away")
        return by_rule(messages)

    chat.answer = answer
    failed = await run(world, api, dataset_id)
    assert failed.state == "failed"
    assert "away" in failed.progress_msg
    assert ABANDONED.format(3) in failed.progress_msg
    assert set(names(await shown(api, dataset_id))) == {"ADA LOVELACE", "ENGINE"}

    fails = False
    asked = len(chat.asked)
    done = await run(world, api, dataset_id)

    assert done.state == "done"
    [last] = chat.asked[asked:]
    assert "Babbage" in last[1].content
    assert len(last) == 4, "the first answer was kept; only the follow-up was asked again"
    assert "CHARLES BABBAGE" in names(await shown(api, dataset_id))


@pytest.mark.promise("5.11-resumes")
async def test_a_document_the_model_refuses_keeps_nobody_else_out(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, BABBAGE, ADA)

    def answer(messages: Sequence[ChatMessage]) -> str | Exception:
        return UpstreamRefused("too rude") if "Babbage" in messages[1].content else by_rule(messages)

    chat.answer = answer
    done = await run(world, api, dataset_id)

    assert done.state == "done"
    assert "0.txt: refused by the model: too rude" in done.progress_msg
    assert "1 documents were refused by the model." in done.progress_msg
    assert set(names(await shown(api, dataset_id))) == {"ADA LOVELACE", "ENGINE"}


@pytest.mark.promise("5.11-resumes")
async def test_a_failing_embedding_model_leaves_the_old_graph(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await run(world, api, dataset_id)
    before = await shown(api, dataset_id)
    [more] = await upload(api, dataset_id, ("more.txt", BABBAGE))
    await parse(api, dataset_id, more["id"])
    await world.work()

    world.embedding.fails_with = UpstreamFailed("no vectors")
    failed = await run(world, api, dataset_id)
    assert failed.state == "failed"
    assert (await shown(api, dataset_id))["nodes"] == before["nodes"]

    world.embedding.fails_with = None
    asked = len(chat.asked)
    assert (await run(world, api, dataset_id)).state == "done"
    assert len(chat.asked) == asked
    assert "CHARLES BABBAGE" in names(await shown(api, dataset_id))


@pytest.mark.promise("5.11-resumes")
async def test_a_killed_worker_pays_for_nothing_twice(
    world: World, api: Api, chat: RuleChatModel, tmp_path: Path
) -> None:
    """kill -9 in mid-document; another worker goes on with the answers that were kept."""
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    await queue(world, api, dataset_id)
    command = [sys.executable, "-m", "tests.knowledge.graph_process", world.urls.app, (tmp_path / "b").as_uri()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as doomed:  # noqa: ASYNC220
        assert doomed.stdout is not None
        with anyio.fail_after(60):
            while (line := await anyio.to_thread.run_sync(doomed.stdout.readline)) != b"hanging\n":
                assert line, "the worker ended"

        async def ada_is_kept() -> bool:
            return bool(await world.rows(api, "SELECT 1 FROM graph_documents"))

        await until(ada_is_kept)
        doomed.kill()
    running = await job(world, api, dataset_id)
    assert running.state == "running"

    async with working(world.worker_parts()):
        await until(lambda: _is_done(world, api, dataset_id))

    assert [len(talk) for talk in chat.asked] == [4], "only the question that hung is asked again"
    assert set(names(await shown(api, dataset_id))) == {"ADA LOVELACE", "CHARLES BABBAGE", "ENGINE"}
    [paid] = await world.rows(
        api, "SELECT count(*) AS calls FROM usage_ledger WHERE purpose = 'graph' AND kind = 'chat'"
    )
    assert paid.calls == 4


async def _is_done(world: World, api: Api, dataset_id: str) -> bool:
    return bool((await job(world, api, dataset_id)).state == "done")


class Waiting(RuleChatModel):
    """Answers one document and waits for ever on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.left = anyio.Event()

    async def before(self) -> None:
        if "Babbage" in self.asked[-1][1].content:
            try:
                await anyio.sleep_forever()
            finally:
                self.left.set()


@pytest.mark.promise("5.11-cancel")
async def test_a_cancelled_job_ends_at_once_and_writes_nothing_more(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, _ = await ready(world, api, ADA, BABBAGE)
    waiting = Waiting()
    with_chat(world, waiting)
    await queue(world, api, dataset_id)

    async def has_ada() -> bool:
        return bool(await world.rows(api, "SELECT 1 FROM graph_documents"))

    async with working(world.worker_parts()):
        await until(has_ada)
        async with world.database.unit(api.tenant_id) as unit:
            assert await unit.jobs.cancel(GRAPH, [dataset_id])
            await unit.notify("parley_jobs", "cancelled")
        with anyio.fail_after(10):
            await waiting.left.wait()

    assert (await job(world, api, dataset_id)).state == "cancelled"
    assert await shown(api, dataset_id) == {}


class Deleting(RuleChatModel):
    """Calls `first` when it is asked for the first time."""

    first: Any = None

    async def before(self) -> None:
        if self.first is not None:
            act, self.first = self.first, None
            await act()


@pytest.mark.promise("2.5-graph-share")
async def test_a_document_deleted_while_it_is_read_leaves_no_share(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    model = Deleting()
    model.first = lambda: api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})
    with_chat(world, model)

    done = await run(world, api, dataset_id)

    assert done.state == "done"
    assert "0.txt: was changed or deleted meanwhile." in done.progress_msg
    assert set(names(await shown(api, dataset_id))) == {"CHARLES BABBAGE", "ENGINE"}


class DeletingVectors:
    """An embedding model in whose first call something happens."""

    name, provider, dimensions = "scripted-embedding", "builtin", 64

    def __init__(self, world: World, first: Any) -> None:
        self._inner = world.embedding
        self._first = first

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        if self._first is not None:
            act, self._first = self._first, None
            await act()
        return await self._inner.embed(texts, deadline_s=deadline_s)


@pytest.mark.promise("2.5-graph-share", "5.11-lock")
async def test_a_document_deleted_while_the_graph_is_built_leaves_no_share(
    world: World, api: Api, chat: RuleChatModel
) -> None:
    dataset_id, (ada, _) = await ready(world, api, ADA, BABBAGE)
    delete = lambda: api.ok("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [ada]})  # noqa: E731
    world.models["scripted-embedding"] = DeletingVectors(world, delete)
    with_chat(world, chat)  # models are built once

    done = await run(world, api, dataset_id)

    assert done.state == "done"
    assert set(names(await shown(api, dataset_id))) == {"CHARLES BABBAGE", "ENGINE"}
    assert not await world.rows(api, "SELECT 1 FROM graph_relations WHERE description LIKE '%described%'")


@pytest.mark.promise("5.11-lock")
async def test_the_graph_is_stored_under_a_lock_of_its_dataset(world: World, api: Api, chat: RuleChatModel) -> None:
    dataset_id, _ = await ready(world, api, ADA)
    await queue(world, api, dataset_id)

    async def waits() -> bool:
        waiting = await world.rows(api, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(waiting)

    async with working(world.worker_parts()):
        async with world.database.unit(api.tenant_id) as unit:
            await unit.graph.lock(dataset_id)  # type: ignore[arg-type]
            await until(waits)
            assert await shown(api, dataset_id) == {}
        await until(lambda: _is_done(world, api, dataset_id))
    assert len(names(await shown(api, dataset_id))) == 2
