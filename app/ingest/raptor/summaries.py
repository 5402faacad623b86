"""A tree of summaries over the texts of one document, layer by layer (knowledge.md 5.11)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio.to_thread
import numpy as np

from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.asking import Asker
from app.ingest.cutting import cut
from app.ingest.kept_vectors import KeptVectors
from app.ingest.parser_config import RAPTOR_PROMPT
from app.ingest.raptor.clustering import Floats, clusters
from app.ingest.several import each
from app.llm.base import TokenCounter
from app.retrieval.delimiting import DATA_NOTICE, as_data

PLACE = "{cluster_content}"
_LEAST_ANSWER = 512  # tokens
_CONTEXT = 8192  # tokens, where the catalogue does not say
_MARGIN = 64  # tokens of the chat format
_ASKED_AT_ONCE = 4

Tell = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RaptorConfig:
    """What a dataset's parser config says about summaries."""

    prompt: str = RAPTOR_PROMPT
    max_token: int = 256
    threshold: float = 0.1
    max_cluster: int = 64
    random_seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A summary with its vector; `layer` counts from 1."""

    text: str
    vector: Sequence[float]
    layer: int


def read_config(parser_config: Mapping[str, Any]) -> RaptorConfig:
    """Read the `raptor` block; what is missing or no value of its key acts as the default. `use_raptor` is not asked:
    who starts the job wants it.
    """
    default = RaptorConfig()
    sent = parser_config.get("raptor")
    held: Mapping[str, Any] = sent if isinstance(sent, dict) else {}
    prompt = held.get("prompt")
    return RaptorConfig(
        prompt=prompt if isinstance(prompt, str) and PLACE in prompt else default.prompt,
        max_token=_within(held.get("max_token"), 1, 2048, default.max_token),
        threshold=_share(held.get("threshold"), default.threshold),
        max_cluster=_within(held.get("max_cluster"), 1, 1024, default.max_cluster),
        random_seed=_within(held.get("random_seed"), 0, 2**63 - 1, default.random_seed),
    )


class Summariser:
    """Writes the summaries of one document."""

    def __init__(self, asker: Asker, vectors: KeptVectors, tokens: TokenCounter, config: RaptorConfig) -> None:
        self._asker = asker
        self._vectors = vectors
        self._tokens = tokens
        self._config = config

    async def tree(self, texts: Sequence[str], vectors: Floats, *, tell: Tell) -> list[Summary]:
        """Return all summaries, the lowest layer first; none over a single text.

        `tell` hears of each layer before its models are asked.

        Raises:
            UpstreamFailed: a model could not answer.
        """
        made: list[Summary] = []
        layer = 0
        while len(texts) > 1:
            layer += 1
            work = partial(
                clusters,
                vectors,
                most=self._config.max_cluster,
                threshold=self._config.threshold,
                seed=self._config.random_seed,
            )
            groups = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
            await tell(f"layer {layer}: {len(groups)} clusters of {len(texts)} texts.")
            gathered = [[texts[at] for at in group] for group in groups]
            texts = [text for text in await each(gathered, self._summary, at_once=_ASKED_AT_ONCE) if text]
            if blank := len(groups) - len(texts):
                await tell(f"layer {layer}: the model had nothing to say about {blank} of {len(groups)} clusters.")
            found = await self._vectors.of(texts)
            made += [Summary(text=text, vector=vector, layer=layer) for text, vector in zip(texts, found, strict=True)]
            vectors = np.array(found, dtype=np.float64)
        return made

    async def _summary(self, texts: Sequence[str]) -> str:
        prompt, options = await anyio.to_thread.run_sync(self._prompt, texts, abandon_on_cancel=True)
        return await self._asker.ask(prompt, options)

    def _prompt(self, texts: Sequence[str]) -> tuple[list[ChatMessage], GenerationOptions]:
        """Each text gets the same share of the room that the model has. Blocking."""
        answer = max(self._config.max_token, _LEAST_ANSWER)
        count = self._tokens.count
        window = self._asker.context_tokens or _CONTEXT
        room = window - answer - count(self._config.prompt) - count(DATA_NOTICE) - _MARGIN
        share = max(1, room // len(texts))
        parts = (cut(text, share, count) if count(text) > share else [text] for text in texts)
        content = as_data("\n\n".join(part[0] for part in parts if part))
        messages = [
            ChatMessage(role="system", content=DATA_NOTICE),
            ChatMessage(role="user", content=self._config.prompt.replace(PLACE, content)),
        ]
        return messages, GenerationOptions(temperature=0.3, max_tokens=answer)


def _within(sent: Any, least: int, most: int, default: int) -> int:
    is_int = isinstance(sent, int) and not isinstance(sent, bool)
    return sent if is_int and least <= sent <= most else default


def _share(sent: Any, default: float) -> float:
    is_number = isinstance(sent, int | float) and not isinstance(sent, bool)
    return float(sent) if is_number and 0 <= sent <= 1 else default
