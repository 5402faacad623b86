"""Models that do as they are told: test doubles, kept beside the real ones and to the same protocols."""

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from app.domain.models import (
    ChatMessage,
    Embeddings,
    FinishReason,
    GenerationOptions,
    ModelFinish,
    ModelItem,
    ModelReasoning,
    ModelText,
    ModelUsage,
    Usage,
)


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """What the model was asked."""

    messages: tuple[ChatMessage, ...]
    options: GenerationOptions
    deadline_s: float


class ScriptedChatModel:
    """A `ChatModel` that yields the given items, each as a batch of its own, and raises the given errors.

    Without a `ModelFinish` it adds one and a `ModelUsage`: one token a word of the prompt, one a piece. With `hang` it
    sets `reached` and waits for ever after the items. `gate`, if given, is awaited before the first item. `closed` is
    set when a stream has ended in any way; `calls` gathers what was asked. `next_scripts` are for the calls after the
    first; the last one repeats.
    """

    def __init__(
        self,
        *script: ModelItem | Exception,
        hang: bool = False,
        gate: asyncio.Event | None = None,
        gap_s: float = 0.0,
        next_scripts: Sequence[Sequence[ModelItem | Exception]] = (),
        name: str = "scripted",
        provider: str = "tests",
        context_tokens: int | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self.context_tokens = context_tokens
        self.calls: list[ScriptedCall] = []
        self.reached = asyncio.Event()
        self.closed = asyncio.Event()
        self._scripts = [script, *next_scripts]
        self._hangs = hang
        self._gate = gate
        self._gap_s = gap_s

    async def stream(
        self, messages: Sequence[ChatMessage], options: GenerationOptions, *, deadline_s: float
    ) -> AsyncGenerator[list[ModelItem], None]:
        """Play the script; see `ChatModel.stream`."""
        script = self._scripts[min(len(self.calls), len(self._scripts) - 1)]
        self.calls.append(ScriptedCall(tuple(messages), options, deadline_s))
        try:
            if self._gate is not None:
                await self._gate.wait()
            for item in script:
                if isinstance(item, Exception):
                    raise item
                if self._gap_s:
                    await asyncio.sleep(self._gap_s)
                yield [item]
            self.reached.set()
            if self._hangs:
                await asyncio.Event().wait()
            if not any(isinstance(item, ModelFinish) for item in script):
                yield self._ending(script, messages)
        finally:
            self.closed.set()

    def _ending(self, script: Sequence[ModelItem | Exception], messages: Sequence[ChatMessage]) -> list[ModelItem]:
        reasoning = sum(isinstance(item, ModelReasoning) for item in script)
        usage = Usage(
            prompt_tokens=sum(len(message.content.split()) for message in messages),
            completion_tokens=sum(isinstance(item, ModelText) for item in script) + reasoning,
            reasoning_tokens=reasoning,
        )
        return [
            ModelFinish(FinishReason.STOP),
            ModelUsage(usage=usage, model=self.name, provider=self.provider, attempt=1),
        ]


class ScriptedEmbeddingModel:
    """An `EmbeddingModel` whose vectors are hashed bags of words: texts that share words are near each other.

    The same text has the same vector on every machine. One token a word.
    """

    def __init__(
        self,
        *,
        dimensions: int = 64,
        name: str = "scripted-embedding",
        provider: str = "tests",
        fails_with: Exception | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self.dimensions = dimensions
        self.calls: list[tuple[str, ...]] = []
        self.fails_with = fails_with

    async def embed(self, texts: Sequence[str], *, deadline_s: float) -> Embeddings:  # noqa: ARG002 - never waits
        """Return one vector per text; see `EmbeddingModel.embed`."""
        self.calls.append(tuple(texts))
        if self.fails_with is not None:
            raise self.fails_with
        words = sum(len(_words(text)) for text in texts)
        return Embeddings(
            vectors=[self.vector(text) for text in texts],
            model=self.name,
            provider=self.provider,
            usage=Usage(prompt_tokens=words),
        )

    def vector(self, text: str) -> list[float]:
        """Return the vector of one text."""
        sums = [0.0] * self.dimensions
        for word in _words(text) or [""]:
            digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            sums[int.from_bytes(digest[:7], "big") % self.dimensions] += 1.0 if digest[7] & 1 else -1.0
        length = math.hypot(*sums)
        return [value / length for value in sums] if length else [1.0] + [0.0] * (self.dimensions - 1)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
