"""The job that writes summaries over the documents of a dataset (knowledge.md 5.11).

It may end anywhere and start over: what models said is kept, and the summaries of a document are replaced in one
transaction, which looks whether its chunks are still those that were summarised.
"""

from functools import partial
from pathlib import PurePath

import anyio.to_thread
import numpy as np

from app.domain.datasets import NewChunk
from app.domain.errors import Invalid
from app.domain.ids import ChunkId
from app.ingest.asking import Asker
from app.ingest.chunking import chunk_id
from app.ingest.dataset_jobs import DatasetRun
from app.ingest.kept_vectors import KeptVectors
from app.ingest.raptor.clustering import Floats
from app.ingest.raptor.summaries import Summariser, Summary, read_config
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.retrieval.text_index import tsvector
from repositories.summaries import SourceChunk, Summarised, read_vector

PURPOSE = "raptor"
_TRIES = 3  # of a document that keeps changing meanwhile


class RaptorWork:
    """A `DatasetWork`: a tree of summaries for each parsed document, by the dataset's `raptor` config."""

    def __init__(self, catalogue: ModelCatalogue, tokens: TokenCounter) -> None:
        self._catalogue = catalogue
        self._tokens = tokens

    async def __call__(self, run: DatasetRun) -> str:
        """See `DatasetWork`."""
        async with run.database.unit(run.job.tenant_id) as unit:
            documents = await unit.summaries.documents(run.dataset.id)
        summariser = self._summariser(run)
        written = skipped = 0
        for at, document in enumerate(documents):
            count = await self._document(run, summariser, document, at / len(documents), 1 / len(documents))
            written += count or 0
            skipped += count is None
        left_out = f" {skipped} documents changed meanwhile and were left out." if skipped else ""
        return f"{written} summaries of {len(documents) - skipped} documents.{left_out}"

    def _summariser(self, run: DatasetRun) -> Summariser:
        config = run.dataset.parser_config
        llm_id = config.get("llm_id")
        asker = Asker(
            run.database,
            self._catalogue.chat(llm_id if isinstance(llm_id, str) and llm_id else None),
            run.job.tenant_id,
            purpose=PURPOSE,
        )
        embedding = self._catalogue.embedding(run.dataset.embedding_model)
        vectors = KeptVectors(run.database, embedding, run.job.tenant_id, purpose=PURPOSE)
        return Summariser(asker, vectors, self._tokens, read_config(config))

    async def _document(
        self, run: DatasetRun, summariser: Summariser, document: Summarised, begun: float, share: float
    ) -> int | None:
        """Return how many summaries the document has now; None when its chunks kept changing."""
        told = 0

        async def tell(text: str) -> None:
            nonlocal told
            await run.report(begun + share * (1 - 0.5**told), f"{document.name}: {text}")
            told += 1

        for _ in range(_TRIES):
            async with run.database.unit(run.job.tenant_id) as unit:
                state = await unit.summaries.state(document.id)
                sources = await unit.summaries.sources(document.id)
            vectors = await anyio.to_thread.run_sync(_matrix, sources, abandon_on_cancel=True)
            await tell(f"{len(sources)} chunks.")
            summaries = await summariser.tree([source.content for source in sources], vectors, tell=tell)
            work = partial(self._chunks, document, len(sources), summaries)
            chunks = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
            count = await self._replace(run, document, state, chunks)
            if count is not None:
                await run.report(begun + share, f"{document.name}: {count} summaries.")
                return count
        await run.report(begun + share, f"{document.name}: its chunks changed meanwhile, left out.")
        return None

    async def _replace(
        self, run: DatasetRun, document: Summarised, state: tuple[int, str], chunks: list[NewChunk]
    ) -> int | None:
        """Put the new summaries in the place of the old; None when they are not of the chunks that are there now."""
        async with run.database.unit(run.job.tenant_id) as unit:
            if not await unit.summaries.lock(run.dataset.id, document.id):
                return None
            if await unit.summaries.state(document.id) != state:
                return None
            gone, gone_tokens = await unit.summaries.delete(document.id)
            made, tokens = await unit.chunks.add(run.dataset.id, document.id, chunks)
            await unit.summaries.count(document.id, chunks=made - gone, tokens=tokens - gone_tokens)
            await unit.jobs.hold(run.job)
            await unit.datasets.add_counts(run.dataset.id, chunks=made - gone, tokens=tokens - gone_tokens)
        return made

    def _chunks(self, document: Summarised, sources: int, summaries: list[Summary]) -> list[NewChunk]:
        title = PurePath(document.name).stem
        return [
            NewChunk(
                id=ChunkId(chunk_id(summary.text, document.id)),
                section_id=None,
                ordinal=sources + at,
                content=summary.text,
                lexemes=tsvector(summary.text, title),
                embedding=summary.vector,
                positions=[],
                token_count=self._tokens.count(summary.text),
                layer=summary.layer,
            )
            for at, summary in enumerate(summaries)
        ]


def _matrix(sources: list[SourceChunk]) -> Floats:
    """Return the vectors as `(n, dim)`, read one by one: as lists they would take four times the memory. Blocking."""
    vectors: Floats = np.empty((len(sources), len(read_vector(sources[0].embedding)) if sources else 0))
    for at, source in enumerate(sources):
        vector = read_vector(source.embedding)
        if len(vector) != vectors.shape[1]:
            raise Invalid("The chunks have vectors of different embedding models: parse the documents again.")
        vectors[at] = vector
    return vectors
