"""Chat models for background jobs in tests: they answer by a function, count what they were asked, and may fail."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from app.domain.models import (
    ChatMessage,
    FinishReason,
    GenerationOptions,
    ModelFinish,
    ModelItem,
    ModelText,
    ModelUsage,
    Usage,
)
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from routers import index_jobs
from tests.chats.world import Api
from tests.knowledge.world import ENTRIES, World, world
from tests.routes import include

__all__ = ["world"]

Answer = Callable[[str], "str | Exception"]

TALKER = ModelEntry(name="talker", provider="builtin", kind="chat", default=True)
OTHER = ModelEntry(name="other-talker", provider="builtin", kind="chat")
SEER = ModelEntry(name="seer", provider="builtin", kind="vision")


@dataclass
class Speaker:
    """A `ChatModel` that answers the last message; `asked` holds the prompts in their order."""

    answer: Answer = lambda _: "nothing"
    name: str = "talker"
    provider: str = "builtin"
    context_tokens: int | None = None
    asked: list[str] = field(default_factory=list[str])
    options: list[GenerationOptions] = field(default_factory=list[GenerationOptions])
    pictures: list[bytes] = field(default_factory=list[bytes])

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        *,
        deadline_s: float,
    ) -> AsyncGenerator[list[ModelItem], None]:
        prompt = messages[-1].content
        self.asked.append(prompt)
        self.options.append(options)
        self.pictures += [picture.data for picture in messages[-1].pictures]
        said = self.answer(prompt)
        if isinstance(said, Exception):
            raise said
        usage = Usage(prompt_tokens=len(prompt.split()), completion_tokens=len(said.split()))
        if said:
            yield [ModelText(said)]
        yield [ModelFinish(FinishReason.STOP), ModelUsage(usage=usage, model=self.name, provider="builtin", attempt=1)]


def speaking(world: World, *, chat: Speaker, vision: Speaker | None = None, other: Speaker | None = None) -> None:
    """Let `chat` be the default chat model of this world, and `vision` its vision model."""
    models: dict[str, Any] = {**world.models, TALKER.name: chat, OTHER.name: other, SEER.name: vision}
    entries = [*ENTRIES, TALKER, *([OTHER] if other else []), *([SEER] if vision else [])]

    def built(entry: ModelEntry) -> Any:
        return models[entry.name]

    world.catalogue = ModelCatalogue(entries, chat=built, embedding=built, rerank=built)
    world.app.state.catalogue = world.catalogue


async def work_until_idle(world: World) -> None:
    """Run a worker until no job is left, those that wait for their next try included."""
    with anyio.fail_after(60):
        while True:
            await world.work()
            async with world.database.dispatch() as dispatch:
                queue = await dispatch.jobs.queue()
            if not queue.queued + queue.running:
                return
            await anyio.sleep(0.02)


def fenced(prompt: str) -> str:
    """Return the last text between fences in a prompt."""
    return prompt.split("=====\n")[-1].rsplit("\n=====", 1)[0] if prompt.rstrip().endswith("=====") else prompt


@pytest.fixture
async def talker(world: World) -> Speaker:
    """The world's chat model; its routes have those of index jobs too."""
    speaker = Speaker()
    speaking(world, chat=speaker)
    include(world.app, index_jobs.router)
    return speaker


async def usage_of(world: World, api: Api) -> dict[str, int]:
    """Return how many calls of chat models the ledger has, by their purpose."""
    rows = await world.rows(api, "SELECT purpose, count(*) AS calls FROM usage_ledger WHERE kind = 'chat' GROUP BY 1")
    return {row.purpose: row.calls for row in rows}


async def chunks_of(world: World, api: Api, document_id: str) -> list[Any]:
    """Return the rows of a document's chunks, in its order."""
    return list(
        await world.rows(
            api,
            "SELECT content, important_keywords, questions, tag_weights, CAST(embedding AS text) AS embedding "
            "FROM chunks WHERE document_id = :id ORDER BY ordinal",
            id=document_id,
        )
    )
