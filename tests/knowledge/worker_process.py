"""A worker in a process of its own, for tests that kill it: `python -m tests.knowledge.worker_process <url> <blobs>`.

Its embedding model says `embedding` on standard output and then never answers.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from app.db.engine import create_engine
from app.domain.models import Embeddings
from app.ingest.blobs import BlobStore
from app.llm.catalogue import ModelCatalogue
from app.llm.tokens import ApproximateTokenCounter
from app.worker import WorkerConfig, WorkerParts, run_worker
from repositories.unit_of_work import Database
from tests.knowledge.world import ENTRIES


class _Hanging:
    name = "scripted-embedding"
    provider = "builtin"
    dimensions = 64

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:
        sys.stdout.write("embedding\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
        raise AssertionError


async def main(url: str, blobs: str) -> None:
    model: Any = _Hanging()
    catalogue = ModelCatalogue(ENTRIES, chat=lambda _: model, embedding=lambda _: model, rerank=lambda _: model)
    parts = WorkerParts(
        database=Database(create_engine(url, pool_size=3)),
        blobs=BlobStore.at(blobs),
        catalogue=catalogue,
        tokens=ApproximateTokenCounter(),
        owner="doomed",
        config=WorkerConfig(lease_s=1.0, heartbeat_s=0.2, poll_s=0.1),
    )
    await run_worker(parts)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
