"""An upload whose process is killed in the middle: run by tests/knowledge/test_uploads.py."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

from app.db.engine import create_engine
from app.domain.ids import DatasetId, TenantId
from app.ingest.blobs import BlobStore
from app.services.uploads import IncomingFile, Uploads
from app.wire import knowledge
from repositories.unit_of_work import Database


async def whole() -> AsyncIterator[bytes]:
    yield b"whole"


async def killed() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield b"x" * 1024 * 1024
    await asyncio.sleep(0.3)  # let the store write what it was given
    os.kill(os.getpid(), signal.SIGKILL)


async def main(database_url: str, blob_url: str, tenant_id: str, dataset_id: str) -> None:
    database = Database(create_engine(database_url, pool_size=2))
    files = [IncomingFile(name="a.txt", pieces=whole), IncomingFile(name="b.txt", pieces=killed)]
    uploads = Uploads(database, BlobStore.at(blob_url), TenantId(tenant_id), DatasetId(dataset_id))
    await uploads.take(files, at_most=10**9, render=knowledge.document)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
