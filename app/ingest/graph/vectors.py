"""Vectors of what a graph is searched by: names of entities, and `A->B: description` of relations."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.graph import Entity, Pair, Relation
from app.domain.ids import TenantId
from app.domain.retrieval import ModelCall
from app.llm.base import EmbeddingModel
from repositories.graph import Vectored
from repositories.unit_of_work import Database

PURPOSE = "graph"
"""What the ledger says graph calls were for."""

_BATCH = 64
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVectors:
    """The vectors that were not there yet, or were of another text."""

    entities: Mapping[str, Vectored] = field(default_factory=dict[str, Vectored])
    relations: Mapping[Pair, Vectored] = field(default_factory=dict[Pair, Vectored])


class GraphVectors:
    """Makes vectors with one model; each call is in the ledger when it has answered."""

    def __init__(self, database: Database, model: EmbeddingModel, tenant_id: TenantId) -> None:
        self._database = database
        self._model = model
        self._tenant_id = tenant_id

    async def missing(
        self,
        entities: Sequence[Entity],
        relations: Sequence[Relation],
        known: tuple[Mapping[str, bytes], Mapping[Pair, bytes]],
        *,
        on_batch: Callable[[int, int], Awaitable[None]] | None = None,
    ) -> NewVectors:
        """Return the vectors of what `known` (hashes by name and pair) does not have. Call it outside of any unit.

        `on_batch` is told after each batch how many of how many texts are done.

        Raises:
            UpstreamFailed: the model could not answer.
        """
        names = {each.name: each.name for each in entities}
        lines = {each.pair: f"{each.source}->{each.target}: {each.description}" for each in relations}
        stale_names = [name for name, text in names.items() if known[0].get(name) != self._hash(text)]
        stale_pairs = [pair for pair, text in lines.items() if known[1].get(pair) != self._hash(text)]
        texts = [*(names[name] for name in stale_names), *(lines[pair] for pair in stale_pairs)]
        made: list[Vectored] = []
        for start in range(0, len(texts), _BATCH):
            made += await self._embed(texts[start : start + _BATCH])
            if on_batch is not None:
                await on_batch(len(made), len(texts))
        return NewVectors(
            entities=dict(zip(stale_names, made, strict=False)),
            relations=dict(zip(stale_pairs, made[len(stale_names) :], strict=True)),
        )

    async def _embed(self, texts: Sequence[str]) -> list[Vectored]:
        started = time.monotonic()
        deadline_s = asyncio.get_running_loop().time() + _TIMEOUT_S
        found = await self._model.embed(texts, deadline_s=deadline_s)
        call = ModelCall(
            kind="embedding",
            purpose=PURPOSE,
            model=found.model,
            provider=found.provider,
            usage=found.usage,
            duration_ms=(time.monotonic() - started) * 1000,
        )
        async with self._database.unit(self._tenant_id) as unit:
            await unit.usage.add([call])
        return [
            Vectored(embedding=vector, vector_of=self._hash(text))
            for text, vector in zip(texts, found.vectors, strict=True)
        ]

    def _hash(self, text: str) -> bytes:
        whose = f"{self._model.name}@{self._model.provider}\n{text}"
        return hashlib.sha256(whose.encode("utf-8", "replace")).digest()[:16]
