"""Vectors of texts in background jobs: made once, kept beside the answers of models, charged as they are made."""

import asyncio
import hashlib
import time
from collections.abc import Sequence

import orjson

from app.domain.ids import TenantId
from app.domain.retrieval import ModelCall
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

    async def of(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, in order, L2-normalised.

        Raises:
            UpstreamFailed: the model could not answer; what was made before is kept.
        """
        keys = {text: self._key(text) for text in texts}
        found: dict[str, list[float]] = {}
        async with self._database.unit(self._tenant_id) as unit:
            for text, key in keys.items():
                kept = await unit.model_answers.find(key)
                if kept is not None:
                    found[text] = orjson.loads(kept)
        missing = [text for text in keys if text not in found]
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            found |= dict(zip(batch, await self._make(batch, keys), strict=True))
        return [found[text] for text in texts]

    async def _make(self, texts: Sequence[str], keys: dict[str, bytes]) -> list[list[float]]:
        started = time.monotonic()
        made = await self._model.embed(texts, deadline_s=asyncio.get_running_loop().time() + self._timeout_s)
        call = ModelCall(
            kind="embedding",
            purpose=self._purpose,
            model=made.model,
            provider=made.provider,
            usage=made.usage,
            duration_ms=(time.monotonic() - started) * 1000,
        )
        async with self._database.unit(self._tenant_id) as unit:
            await unit.usage.add([call])
            for text, vector in zip(texts, made.vectors, strict=True):
                await unit.model_answers.keep(keys[text], orjson.dumps(vector).decode())
        return made.vectors

    def _key(self, text: str) -> bytes:
        asked = {"embedding": f"{self._model.name}@{self._model.provider}", "text": text}
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
