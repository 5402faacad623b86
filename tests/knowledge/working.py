"""A worker beside a test, and a model that holds it up."""

import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from app.domain.models import Embeddings
from app.worker import WorkerParts, run_worker
from tests.chats.world import Api
from tests.knowledge.world import World, shown


async def until(is_so: Callable[[], Any], *, within_s: float = 20) -> None:
    """Look again and again, up to a deadline, until `is_so()` holds, or what it returns when it is awaited."""
    with anyio.fail_after(within_s):
        while not await _now(is_so):  # noqa: ASYNC110 (the database tells, not an event)
            await anyio.sleep(0.02)


async def _now(is_so: Callable[[], Any]) -> bool:
    found = is_so()
    return bool(await found if inspect.isawaitable(found) else found)


@asynccontextmanager
async def working(parts: WorkerParts) -> AsyncGenerator[anyio.Event]:
    """Run a worker beside the test; set the event to end it."""
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            await run_worker(parts, stop=stop)

        tasks.start_soon(work)
        yield stop
        stop.set()


class Gated:
    """An embedding model that waits to be let on; `calls` counts how often it was asked."""

    name = "scripted-embedding"
    provider = "builtin"
    dimensions = 64

    def __init__(self, world: World) -> None:
        self._inner = world.embedding
        self.calls = 0
        self.gate = anyio.Event()
        self.fails_with: Exception | None = None

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        self.calls += 1
        if self.fails_with is not None:
            raise self.fails_with
        await self.gate.wait()
        return await self._inner.embed(texts, deadline_s=deadline_s)


@pytest.fixture
def gated(world: World) -> Gated:
    model = Gated(world)
    world.models["scripted-embedding"] = model
    return model


async def run_is(api: Api, dataset_id: str, document_id: str, run: str) -> bool:
    """Say whether a document's `run` is this."""
    return bool((await shown(api, dataset_id, document_id))["run"] == run)
