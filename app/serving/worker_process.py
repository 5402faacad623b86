"""The process that parses documents: `python -m app.serving.worker_process`, or `work` in that of `parley worker`."""

import argparse
import os
import signal
import sys
from functools import partial

import anyio

from app.building import blob_url
from app.building.models import models
from app.db.engine import create_engine
from app.db.process import die_with_parent
from app.engine.lease import new_process_id
from app.ingest.blobs import BlobStore
from app.llm.tokens import BpeTokenCounter
from app.net.http import HttpClient, HttpConfig
from app.net.pages import PageFetcher
from app.serving.home import home_for_a_moment, reaching
from app.serving.stopping import Stop
from app.settings import Settings, read_settings
from app.telemetry.logs import set_up_logs
from app.worker import WorkerConfig, WorkerParts, be_modest, run_worker
from migrations.run import check
from repositories.listener import Listener
from repositories.unit_of_work import Database


async def work(
    settings: Settings,
    database_url: str,
    stop: Stop,
    *,
    owner: str | None = None,
    exit_when_idle_s: float | None = None,
) -> None:
    """Take jobs off the queue until `stop` is asked, or until there was no work for `exit_when_idle_s`.

    `owner` is the name it has in the queue; none makes one up.
    """
    counter = BpeTokenCounter()
    database = Database(create_engine(database_url, pool_size=settings.database_pool_size))
    try:
        async with (
            models(settings, counter) as catalogue,
            HttpClient(HttpConfig(connect_timeout_s=settings.connect_timeout, is_public_only=True)) as public,
        ):
            parts = WorkerParts(
                database=database,
                blobs=BlobStore.at(blob_url(settings)),
                catalogue=catalogue,
                tokens=BpeTokenCounter("cl100k_base"),  # the unit of chunk sizes (knowledge.md 5.1)
                owner=owner or new_process_id(),
                listener=Listener(database_url),
                pages=PageFetcher(public),
                config=WorkerConfig(concurrency=settings.parse_workers),
            )
            await run_worker(parts, stop=stop.asked, exit_when_idle_s=exit_when_idle_s)
    finally:
        await database.close()


def work_in_foreground(settings: Settings) -> None:
    """Work until SIGTERM or Ctrl-C: `parley worker`, beside a service or on the outside database it shares."""
    set_up_logs(settings.log_format, settings.log_level)
    with home_for_a_moment(settings) as home:
        anyio.run(_in_foreground, settings, home.app_url, backend_options={"use_uvloop": True})


async def _in_foreground(settings: Settings, database_url: str) -> None:
    with reaching(database_url):
        await check(database_url)
    stop = Stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop.heed)
        await work(settings, database_url, stop)
        tasks.cancel_scope.cancel()


def main() -> None:
    """Work until there is nothing to do, until SIGTERM, or until `serve` is gone."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parent", type=int, required=True, help="the process id of serve")
    arguments.add_argument("--exit-when-idle", type=float, default=None, help="seconds")
    arguments.add_argument("--owner", default=None, help="the name of this worker in the queue")
    chosen = arguments.parse_args()
    die_with_parent(signal.SIGTERM, parent_pid=chosen.parent)
    be_modest()
    settings = read_settings()
    set_up_logs(settings.log_format, settings.log_level)
    anyio.run(_main, settings, chosen, backend_options={"use_uvloop": True})


async def _main(settings: Settings, chosen: argparse.Namespace) -> None:
    if settings.database_url is None:
        sys.exit("this process is started by `parley serve`")
    stop = Stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(stop.heed, is_orphaned=lambda: os.getppid() != chosen.parent))
        await work(settings, settings.database_url, stop, owner=chosen.owner, exit_when_idle_s=chosen.exit_when_idle)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    main()
