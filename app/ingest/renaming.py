"""After a document got another name: its chunks are found by the new one, and by the old one no more.

Small documents are done in the call that renames them. A larger one, or one whose model does not answer, is left to a
job; until that ends, the list and every answer show the new name, and the search still knows the old one.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import PurePath

import structlog

from app.domain.datasets import ClaimedJob, Document, LeaseLost
from app.domain.errors import Invalid, Missing, ParleyError
from app.domain.ids import ChunkId, DocumentId
from app.domain.retrieval import ModelCall
from app.ingest.charging import Tab
from app.ingest.embedding import ChunkEmbedder, name_share
from app.ingest.retrying import RetryConfig, Retrying, log_line
from app.llm.catalogue import ModelCatalogue
from app.retrieval.lexemes import fine_lexemes, lexemes
from app.retrieval.text_index import tsvector
from repositories.chunk_titles import NameVectors, TitledChunk
from repositories.unit_of_work import Database, UnitOfWork

log = structlog.get_logger()

AT_ONCE = 500
"""Documents of at most so many chunks are done in the call that renames them."""

_BATCH = 250


async def name_vectors(
    catalogue: ModelCatalogue, embedding_model: str, document: Document, names: tuple[str, str], *, timeout_s: float
) -> tuple[NameVectors, list[ModelCall]]:
    """Return the vectors of an old and a new file name, and what the model was asked.

    Raises:
        ModelUnknown, ModelUnusable: the dataset's model is not configured any more.
        UpstreamFailed: it could not answer.
    """
    calls: list[ModelCall] = []
    embedder = ChunkEmbedder(catalogue.embedding(embedding_model), calls, timeout_s=timeout_s)
    old, new = await embedder.vectors(list(names))
    return NameVectors(old=old, new=new, share=name_share(document.parser_config)), calls


async def retitle(unit: UnitOfWork, document_id: DocumentId, names: tuple[str, str], vectors: NameVectors) -> int:
    """Let the chunks of a document know its new name, all in this unit; how many they are.

    The document's row is locked by the caller, so that nobody adds chunks under the old name meanwhile.
    """
    old_title, new_title = (PurePath(name).stem for name in names)
    title, after, done = tsvector("", new_title), "", 0
    fine = frozenset([*fine_lexemes(old_title), *lexemes(old_title)])
    while chunks := await unit.chunk_titles.batch(document_id, after=after, most=_BATCH):
        stale = await asyncio.to_thread(_stale, chunks, fine)
        await unit.chunk_titles.retitle(document_id, stale, title=title, vectors=vectors)
        after, done = chunks[-1].id, done + len(chunks)
    return done


def _stale(chunks: list[TitledChunk], of_title: frozenset[str]) -> dict[ChunkId, list[str]]:
    """Return for each chunk the lexemes it has from its title alone."""
    return {chunk.id: sorted(of_title - _own(chunk, of_title)) for chunk in chunks}


def _own(chunk: TitledChunk, of_title: frozenset[str]) -> frozenset[str]:
    if not of_title or not chunk.has_title:
        return of_title
    texts = (chunk.content, *chunk.important_keywords, *chunk.questions)
    found = {lexeme for text in texts for lexeme in lexemes(text)}
    return frozenset(found.union(fine_lexemes(chunk.content)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    document: Document
    embedding_model: str
    old_name: str


class RenameJobs:
    """Runs the jobs that are left over from renaming."""

    def __init__(self, database: Database, catalogue: ModelCatalogue, *, retry: RetryConfig | None = None) -> None:
        self._database = database
        self._catalogue = catalogue
        self._retrying = Retrying(database, retry or RetryConfig())

    async def run(self, job: ClaimedJob) -> None:
        """Do the job to its end, or queue it again after a failure that may pass.

        Raises:
            LeaseLost: somebody else has it, or it was cancelled; nothing more was written.
        """
        if await self._retrying.is_worn_out(job):
            return
        tab = Tab(self._database, job.tenant_id)
        try:
            await self._do(job, tab)
        finally:
            await tab.settle()

    async def _do(self, job: ClaimedJob, tab: Tab) -> None:
        started = time.monotonic()
        try:
            while (task := await self._begin(job)) is not None and not await self._did(job, task, tab, started):
                pass  # it was renamed again meanwhile
        except LeaseLost:
            raise
        except (Invalid, Missing) as error:
            await self._retrying.fail(job, error.message)
        except Exception as error:
            log.warning("rename_job_failed", job=job.id, attempt=job.attempts, exc_info=error)
            reason = error.message if isinstance(error, ParleyError) else "Something went wrong."
            await self._retrying.later(job, reason)

    async def _begin(self, job: ClaimedJob) -> _Task | None:
        async with self._database.unit(job.tenant_id) as unit:
            payload = await unit.jobs.begin(job)
            document = await unit.documents.find(DocumentId(job.subject_id))
            dataset = await unit.datasets.get(document.dataset_id) if document is not None else None
            if document is None or dataset is None or document.name == payload["old_name"]:
                await unit.jobs.end(job, state="done")
                return None
        return _Task(document=document, embedding_model=dataset.embedding_model, old_name=payload["old_name"])

    async def _did(self, job: ClaimedJob, task: _Task, tab: Tab, started: float) -> bool:
        document = task.document
        names = (task.old_name, document.name)
        vectors, calls = await name_vectors(self._catalogue, task.embedding_model, document, names, timeout_s=120.0)
        tab.calls += calls
        async with tab.unit() as unit:
            locked = await unit.documents.lock(document.dataset_id, [document.id])
            await unit.jobs.hold(job)
            if document.id in locked and locked[document.id].name != document.name:
                return False
            done = await retitle(unit, document.id, names, vectors) if document.id in locked else 0
            line = f"{done} chunks know the new name. Task done ({time.monotonic() - started:.2f}s)"
            await unit.jobs.report(job, progress=1.0, line=log_line(line))
            await unit.jobs.end(job, state="done")
        return True
