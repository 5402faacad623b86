"""Which kinds of background jobs there are, and who runs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.domain.datasets import ClaimedJob
from app.domain.ids import TenantId
from app.ingest.blobs import BlobStore
from app.ingest.dataset_jobs import DatasetJobs
from app.ingest.deleting import DatasetDeleting
from app.ingest.graph.job import GraphWork, RefreshWork
from app.ingest.jobs import ParseJobs
from app.ingest.model_enricher import ModelEnricher
from app.ingest.pipeline import Announce, Pipeline, PipelineConfig
from app.ingest.raptor.job import RaptorWork
from app.ingest.renaming import RenameJobs
from app.ingest.retrying import RetryConfig
from app.ingest.session_removal import SessionRemoval
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.net.pages import PageFetcher
from repositories.jobs import CHANNEL, DELETE_DATASET, DELETE_SESSIONS, GRAPH, GRAPH_REFRESH, PARSE, RAPTOR, RENAME
from repositories.stray_blobs import UPLOAD_GRACE_S
from repositories.unit_of_work import Database

DELETION_ATTEMPTS = 10
DELETION_REST_S = 3600.0
"""A deletion is tried ten times within most of an hour, then rests for one and begins again, until it is done: what it
leaves behind, nobody sees and nobody could ask for again."""


class JobHandler(Protocol):
    """Runs the jobs of one kind."""

    async def run(self, job: ClaimedJob) -> None:
        """Do the job to its end, or queue it again.

        Raises:
            LeaseLost: somebody else has it, or it was cancelled; nothing more was written.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParts:
    """What handlers are built of."""

    database: Database
    blobs: BlobStore
    catalogue: ModelCatalogue
    tokens: TokenCounter
    retry: RetryConfig = field(default_factory=RetryConfig)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    pages: PageFetcher | None = None


def job_handlers(parts: JobParts) -> Mapping[str, JobHandler]:
    """Return who runs each kind of job."""
    deletions = replace(parts.retry, attempts=DELETION_ATTEMPTS, rest_s=DELETION_REST_S)
    return {
        PARSE: ParseJobs(
            database=parts.database,
            catalogue=parts.catalogue,
            pipeline=Pipeline(
                blobs=parts.blobs,
                tokens=parts.tokens,
                config=parts.pipeline,
                enricher=ModelEnricher(parts.database, parts.catalogue, parts.tokens),
                announce=announcing(parts.database),
                pages=parts.pages,
            ),
            retry=parts.retry,
        ),
        DELETE_DATASET: DatasetJobs(
            parts.database,
            DatasetDeleting(parts.blobs),
            retry=deletions,
            may_be_deleted=True,
        ),
        DELETE_SESSIONS: SessionRemoval(parts.database, retry=deletions),
        RENAME: RenameJobs(parts.database, parts.catalogue, retry=parts.retry),
        RAPTOR: DatasetJobs(parts.database, RaptorWork(parts.catalogue, parts.tokens), retry=parts.retry),
        GRAPH: DatasetJobs(
            parts.database,
            GraphWork(database=parts.database, catalogue=parts.catalogue, tokens=parts.tokens),
            retry=parts.retry,
        ),
        GRAPH_REFRESH: DatasetJobs(
            parts.database, RefreshWork(database=parts.database, catalogue=parts.catalogue), retry=parts.retry
        ),
    }


async def hand_back(database: Database, job: ClaimedJob) -> None:
    """Queue the job again as if it had not been tried: this process ends.

    Raises:
        LeaseLost: it is not ours any more.
    """
    async with database.unit(job.tenant_id) as unit:
        await unit.jobs.give_back(job, counts=False)
        await unit.notify(CHANNEL, "")


def announcing(database: Database) -> Announce:
    """Return what notes blobs as strays: the sweeper deletes those that no row has come to name."""

    async def announce(tenant_id: TenantId, keys: Sequence[str]) -> None:
        async with database.unit(tenant_id) as unit:
            await unit.stray_blobs.add(keys, due_in_s=UPLOAD_GRACE_S)

    return announce
