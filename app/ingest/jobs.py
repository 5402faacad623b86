"""What a parse job does from claim to end. Every write names the job's fence: whoever lost the lease writes nothing.

Rows are locked in one order everywhere: document, job, dataset.
"""

import time
from dataclasses import dataclass

import structlog

from app.domain.datasets import ClaimedJob, Document, LeaseLost, RunState, StoredSection
from app.domain.documents import ParseFailed
from app.domain.errors import Conflict, ParleyError
from app.domain.ids import DatasetId, DocumentId
from app.ingest.charging import Tab
from app.ingest.pipeline import Built, Pipeline
from app.ingest.retrying import ABANDONED, RetryConfig, log_line
from app.llm.base import EmbeddingModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from repositories.unit_of_work import Database

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    document: Document
    dataset_id: DatasetId
    embedding_model: str
    language: str
    old_sections: list[StoredSection]


class ParseJobs:
    """Runs parse jobs."""

    def __init__(
        self,
        *,
        database: Database,
        catalogue: ModelCatalogue,
        pipeline: Pipeline,
        retry: RetryConfig | None = None,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._pipeline = pipeline
        self._retry = retry or RetryConfig()

    async def run(self, job: ClaimedJob) -> None:
        """Parse the job's document to DONE or FAIL, or queue it again after a failure that may pass.

        Raises:
            LeaseLost: somebody else has the job, or it was cancelled; nothing more was written.
        """
        started = time.monotonic()
        tab = Tab(self._database, job.tenant_id)
        if job.attempts > self._retry.attempts:
            await self._fail(job, ABANDONED.format(self._retry.attempts), tab)
            return
        work = await self._begin(job)
        if work is None:
            return
        try:
            await self._do(job, work, tab, started)
        finally:
            await tab.settle()

    async def _do(self, job: ClaimedJob, work: _Work, tab: Tab, started: float) -> None:
        try:
            built = await self._build(job, work, tab)
            await self._finish(job, work, built, tab, started)
        except (ParseFailed, ModelUnknown, ModelUnusable) as error:
            log.info("document_failed", document=work.document.id)
            await self._fail(job, error.message, tab)
        except LeaseLost:
            raise
        except Exception as error:
            log.warning("parse_job_failed", job=job.id, attempt=job.attempts, exc_info=error)
            reason = error.message if isinstance(error, ParleyError) else "Something went wrong while parsing."
            await self._retry_later(job, work, reason, tab)
        else:
            log.info("document_parsed", document=work.document.id, chunks=len(built.chunks))

    async def _begin(self, job: ClaimedJob) -> _Work | None:
        """Load what the job is about; None when there is nothing to do any more."""
        document_id = DocumentId(job.subject_id)
        async with self._database.unit(job.tenant_id) as unit:
            line = log_line("Page(1~100000001): Start to parse.")
            await unit.documents.report(document_id, progress=0.01, line=line, is_restart=job.attempts == 1)
            document = await unit.documents.find(document_id)
            if document is None or document.run is not RunState.RUNNING:
                await unit.jobs.end(job, state="done")
                return None
            dataset = await unit.datasets.get(document.dataset_id)
            if dataset is None:
                raise LeaseLost(job.id)  # it was deleted this moment, and the job cancelled with it
            await unit.jobs.hold(job)
            return _Work(
                document=document,
                dataset_id=dataset.id,
                embedding_model=dataset.embedding_model,
                language=dataset.language,
                old_sections=await unit.sections.of_document(document_id),
            )

    async def _build(self, job: ClaimedJob, work: _Work, tab: Tab) -> Built:
        async def report(progress: float, text: str) -> None:
            async with tab.unit() as unit:
                await unit.documents.report(work.document.id, progress=progress, line=log_line(text))
                await unit.jobs.hold(job)

        model: EmbeddingModel = self._catalogue.embedding(work.embedding_model)
        return await self._pipeline.build(
            work.document,
            model,
            old_sections=work.old_sections,
            report=report,
            calls=tab.calls,
            language=work.language,
        )

    async def _finish(self, job: ClaimedJob, work: _Work, built: Built, tab: Tab, started: float) -> None:
        """Store everything in one transaction: readers see all of it or nothing.

        The document is held from the start, as whoever writes chunks of it does; its job, whose lease is renewed
        meanwhile, only at the end.
        """
        document = work.document
        async with tab.unit() as unit:
            locked = await unit.documents.lock(work.dataset_id, [document.id])
            if document.id not in locked:
                raise LeaseLost(job.id)
            await unit.sections.replace(document.id, built.sections)
            await unit.contents.keep(document.id, built.contents)
            held = locked[document.id].meta_fields
            if (fields := {**built.metadata, **held, **built.built_in}) != held:
                await unit.document_metadata.replace({document.id: fields})
            chunks, tokens = await unit.chunks.add(work.dataset_id, document.id, built.chunks)
            if not locked[document.id].is_enabled:
                await unit.document_contents.switch_chunks([document.id], is_available=False)
            lines = [] if built.chunks else [log_line(f"No chunk built from {document.name}")]
            lines.append(log_line(f"Task done ({time.monotonic() - started:.2f}s)"))
            ended = await unit.documents.end(
                document.id,
                run=RunState.DONE,
                progress=1.0,
                line="\n".join(lines),
                chunks=chunks,
                tokens=tokens,
                thumbnail=built.thumbnail,
            )
            if ended is None:
                raise LeaseLost(job.id)
            await unit.jobs.end(job, state="done")
            await unit.datasets.add_counts(work.dataset_id, chunks=chunks, tokens=tokens)
            dataset = await unit.datasets.get(work.dataset_id)  # kept from others by its new counts
            if dataset is None or dataset.embedding_model != work.embedding_model:
                raise Conflict("The embedding model of the dataset was changed meanwhile.")
            if built.field_map:
                await unit.datasets.add_fields(work.dataset_id, built.field_map)

    async def _fail(self, job: ClaimedJob, reason: str, tab: Tab) -> None:
        async with tab.unit() as unit:
            line = log_line(f"[ERROR]{reason}")
            await unit.documents.end(DocumentId(job.subject_id), run=RunState.FAIL, progress=-1.0, line=line)
            await unit.jobs.end(job, state="failed", error=reason)

    async def _retry_later(self, job: ClaimedJob, work: _Work, reason: str, tab: Tab) -> None:
        if job.attempts >= self._retry.attempts:
            await self._fail(job, f"{reason}\n{log_line('[ERROR]' + ABANDONED.format(self._retry.attempts))}", tab)
            return
        delay_s = self._retry.delay_s(job.attempts)
        async with tab.unit() as unit:
            line = log_line(f"{reason} Trying again in {delay_s:g}s.")
            await unit.documents.report(work.document.id, progress=0.01, line=line)
            await unit.jobs.give_back(job, delay_s=delay_s, error=reason)
