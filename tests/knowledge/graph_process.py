"""A worker that makes graphs and is to be killed: `python -m tests.knowledge.graph_process <url> <blobs>`.

Its chat model answers all about the one document, and of the other the first question; at the second it says `hanging`
on standard output and never answers.
"""

import asyncio
import sys
from typing import Any

from app.llm.catalogue import ModelCatalogue
from app.llm.scripted import ScriptedEmbeddingModel
from tests.ingest.graph_models import RuleChatModel
from tests.knowledge.doomed import work
from tests.knowledge.graph_world import CHAT_ENTRY
from tests.knowledge.world import ENTRIES


class _Hanging(RuleChatModel):
    async def before(self) -> None:
        talk = self.asked[-1]
        if "Babbage" in talk[1].content and len(talk) > 2:
            sys.stdout.write("hanging\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


async def main(url: str, blobs: str) -> None:
    chat: Any = _Hanging()
    embedding: Any = ScriptedEmbeddingModel(provider="builtin")
    catalogue = ModelCatalogue(
        (*ENTRIES, CHAT_ENTRY), chat=lambda _: chat, embedding=lambda _: embedding, rerank=lambda _: embedding
    )
    await work(url, catalogue, blobs=blobs)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
