"""Vectors of texts in background jobs: made once, kept beside the answers of models, charged as they are made."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson

from app.domain.ids import TenantId
from app.ingest.charging import charge
from app.ingest.embedding import embedded
from app.llm.base import EmbeddingModel
from repositories.unit_of_work import Database

_BATCH = 64


class KeptVectors:
    """Asks one embedding model for one tenant; call it outside of any unit. A job that starts over pays nothing."""

    def __init__(
        self, database: Database, model: EmbeddingModel, tenant_id: TenantId, *, purpose: str, timeout_s: float = 120.0
    ) -> None:
        self._database = database
        self._model = model
        self._tenant_id = tenant_id
        self._purpose = purpose
        self._timeout_s = timeout_s

    async def of(
        self, texts: Sequence[str], *, on_batch: Callable[[int, int], Awaitable[None]] | None = None
    ) -> list[list[float]]:
        """Return one vector per text, in order, L2-normalised.

        `on_batch` is told after each batch how many of how many texts are done.

        Raises:
            UpstreamFailed: the model could not answer; what was made before is kept.
        """
        keys = {text: self._key(text) for text in texts}
        found: dict[str, list[float]] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            found |= await self._found(batch, keys)
            if missing := [text for text in batch if text not in found]:
                found |= dict(zip(missing, await self._make(missing, keys), strict=True))
            if on_batch is not None:
                await on_batch(min(start + _BATCH, len(wanted)), len(wanted))
        return [found[text] for text in texts]

    async def _found(self, texts: Sequence[str], keys: Mapping[str, bytes]) -> dict[str, list[float]]:
        async with self._database.unit(self._tenant_id) as unit:
            kept = await unit.model_answers.find_many([keys[text] for text in texts])
        return {text: orjson.loads(kept[keys[text]]) for text in texts if keys[text] in kept}

    async def _make(self, texts: Sequence[str], keys: Mapping[str, bytes]) -> list[list[float]]:
        vectors, call = await embedded(self._model, texts, purpose=self._purpose, timeout_s=self._timeout_s)
        kept = {keys[text]: orjson.dumps(vector).decode() for text, vector in zip(texts, vectors, strict=True)}
        await charge(self._database, self._tenant_id, [call], kept=kept)
        return vectors

    def _key(self, text: str) -> bytes:
        asked = {"embedding": f"{self._model.name}@{self._model.provider}", "text": text}
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
