"""Which words are common in a large dataset, so that no search has to count them (knowledge.md 7.3).

Counting a word of every third chunk through the text index costs more than all the rest of a search. A sample of the
dataset's chunks says as well how common it is; it is taken once and used for a while.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.ids import DatasetId
from repositories.chunk_search import ChunkSearch

_SAMPLED = 1024  # chunks
_LEAST_FOUND = 8  # of them hold a common word
_MOST_HELD = 64  # datasets, some hundred kB each
_GOOD_FOR_S = 600.0


@dataclass(frozen=True, slots=True)
class _Sample:
    shares: Mapping[str, float]
    taken_at: float


class CommonWords:
    """Shares of chunks that hold a word, for words in 1 of 128 chunks or more; per dataset, for ten minutes."""

    def __init__(self) -> None:
        self._samples: OrderedDict[DatasetId, _Sample] = OrderedDict()

    async def shares(
        self, chunks: ChunkSearch, dataset_ids: Sequence[DatasetId], lexemes: Sequence[str]
    ) -> dict[str, float]:
        """Return, of `lexemes`, those that are common in one of the datasets, with the greatest share they have."""
        found: dict[str, float] = {}
        for dataset_id in dataset_ids:
            known = await self._of(chunks, dataset_id)
            for lexeme in lexemes:
                if lexeme in known:
                    found[lexeme] = max(found.get(lexeme, 0.0), known[lexeme])
        return found

    async def _of(self, chunks: ChunkSearch, dataset_id: DatasetId) -> Mapping[str, float]:
        now = time.monotonic()
        sample = self._samples.get(dataset_id)
        if sample is None or now - sample.taken_at > _GOOD_FOR_S:
            shares = await chunks.sample(dataset_id, most=_SAMPLED, least=_LEAST_FOUND)
            sample = self._samples[dataset_id] = _Sample(shares, now)
            while len(self._samples) > _MOST_HELD:
                self._samples.popitem(last=False)
        self._samples.move_to_end(dataset_id)
        return sample.shares
