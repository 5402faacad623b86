"""A worker in a process of its own, for tests that kill it: `python -m tests.knowledge.worker_process <url> <blobs>`.

Its embedding model says `embedding` on standard output and then never answers.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from app.domain.models import Embeddings
from app.llm.catalogue import ModelCatalogue
from tests.knowledge.doomed import work
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
    await work(url, catalogue, blobs=blobs)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
