"""Vectors of what a graph is searched by: names of entities, and `A->B: description` of relations."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.graph import Entity, Pair, Relation
from app.domain.ids import TenantId
from app.ingest.kept_vectors import KeptVectors
from app.llm.base import EmbeddingModel
from repositories.graph import Vectored
from repositories.unit_of_work import Database

PURPOSE = "graph"
"""What the ledger says graph calls were for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVectors:
    """The vectors that were not there yet, or were of another text."""

    entities: Mapping[str, Vectored] = field(default_factory=dict[str, Vectored])
    relations: Mapping[Pair, Vectored] = field(default_factory=dict[Pair, Vectored])


class GraphVectors:
    """Makes vectors with one model; those that were made before the job started over are kept."""

    def __init__(self, database: Database, model: EmbeddingModel, tenant_id: TenantId) -> None:
        self._vectors = KeptVectors(database, model, tenant_id, purpose=PURPOSE)
        self._whose = f"{model.name}@{model.provider}"

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
        vectors = await self._vectors.of(texts, on_batch=on_batch)
        made = [
            Vectored(embedding=vector, vector_of=self._hash(text)) for text, vector in zip(texts, vectors, strict=True)
        ]
        return NewVectors(
            entities=dict(zip(stale_names, made, strict=False)),
            relations=dict(zip(stale_pairs, made[len(stale_names) :], strict=True)),
        )

    def _hash(self, text: str) -> bytes:
        return hashlib.sha256(f"{self._whose}\n{text}".encode("utf-8", "replace")).digest()[:16]
