"""What processes have in common that work on jobs until a test kills them; each says on standard output where it is."""

from app.db.engine import create_engine
from app.ingest.blobs import BlobStore
from app.llm.catalogue import ModelCatalogue
from app.llm.tokens import ApproximateTokenCounter
from app.worker import WorkerConfig, WorkerParts, run_worker
from repositories.unit_of_work import Database


async def work(url: str, catalogue: ModelCatalogue, *, blobs: str = "memory:///") -> None:
    """Work as `doomed`, with leases of a second, on the database and the files at these URLs."""
    parts = WorkerParts(
        database=Database(create_engine(url, pool_size=5)),
        blobs=BlobStore.at(blobs),
        catalogue=catalogue,
        tokens=ApproximateTokenCounter(),
        owner="doomed",
        config=WorkerConfig(lease_s=1.0, heartbeat_s=0.2, poll_s=0.1),
    )
    await run_worker(parts)
