"""A worker in a process of its own that dies while it summarises: `python -m tests.knowledge.raptor_process <url> <n>`.

Its chat model says `asked` on standard output at each call, answers the first `n`, and then never again.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from app.domain.models import ChatMessage, GenerationOptions, ModelItem
from app.llm.catalogue import ModelCatalogue
from app.llm.scripted import ScriptedEmbeddingModel
from tests.knowledge.doomed import work
from tests.knowledge.speaking import TALKER, Speaker
from tests.knowledge.world import ENTRIES


class _Mortal(Speaker):
    most = 0

    async def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[list[ModelItem], None]:
        sys.stdout.write("asked\n")
        sys.stdout.flush()
        if len(self.asked) >= self.most:
            await asyncio.Event().wait()
        async for items in super().stream(messages, options, deadline_s=deadline_s):
            yield items


def summary_of(prompt: str) -> str:
    """Return a text that depends on nothing but the prompt."""
    return f"Summary {abs(sum(map(ord, prompt)))} of {len(prompt)} characters"


async def main(url: str, most: str) -> None:
    chat: Any = _Mortal(answer=summary_of)
    chat.most = int(most)
    embedding: Any = ScriptedEmbeddingModel(provider="builtin")
    catalogue = ModelCatalogue(
        [*ENTRIES, TALKER], chat=lambda _: chat, embedding=lambda _: embedding, rerank=lambda _: embedding
    )
    await work(url, catalogue)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
