"""Jobs whose worker dies, ends, loses its lease or is one of several (knowledge.md 2.8, design.md 1.7)."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from app.domain.datasets import LeaseLost
from app.domain.errors import UpstreamFailed
from app.ingest.blobs import BlobStore
from app.ingest.job_kinds import hand_back
from app.ingest.jobs import ParseJobs
from app.ingest.pipeline import Pipeline
from app.llm.tokens import ApproximateTokenCounter
from tests.chats.world import Api
from tests.knowledge.working import Gated, run_is, until, working
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, shown, upload

ROOT = Path(__file__).resolve().parents[2]


async def test_a_killed_workers_job_is_taken_up_again(world: World, api: Api, tmp_path: Path) -> None:
    """design.md 1.7: kill -9 in the middle; the lease ends and another worker does it."""
    blobs = BlobStore.at(tmp_path.as_uri())
    world.app.state.blobs = world.blobs = blobs
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    await parse(api, dataset["id"], made["id"])
    arguments = [sys.executable, "-m", "tests.knowledge.worker_process", world.urls.app, tmp_path.as_uri()]
    process = await anyio.open_process(arguments, cwd=ROOT, stderr=None)
    try:
        with anyio.fail_after(40):
            assert process.stdout is not None
            said = b""
            while b"embedding" not in said:
                said += await process.stdout.receive()
    finally:
        process.kill()
        await process.wait()
        await process.aclose()
    [held] = await world.rows(api, "SELECT state, owner, attempts FROM jobs")
    assert (held.state, held.owner, held.attempts) == ("running", "doomed", 1)

    async with working(world.worker_parts()):
        await until(lambda: run_is(api, dataset["id"], made["id"], "DONE"))

    [job] = await world.rows(api, "SELECT state, owner, attempts FROM jobs")
    assert (job.state, job.owner, job.attempts) == ("done", "w1", 2)
    await assert_exact_counters(world, api)


async def test_a_worker_that_is_told_to_end_gives_its_job_back(world: World, api: Api, gated: Gated) -> None:
    """operations.md 4: SIGTERM; the attempt does not count."""
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    await parse(api, dataset["id"], made["id"])
    with anyio.fail_after(10):
        async with working(world.worker_parts()) as stop:
            await until(lambda: gated.calls >= 1)
            stop.set()
    [job] = await world.rows(api, "SELECT state, owner, attempts FROM jobs")
    assert (job.state, job.owner, job.attempts) == ("queued", None, 0)
    assert (await shown(api, dataset["id"], made["id"]))["run"] == "RUNNING"
    gated.gate.set()
    await world.work()
    assert (await shown(api, dataset["id"], made["id"]))["run"] == "DONE"


async def test_who_lost_the_lease_writes_nothing(world: World, api: Api) -> None:
    """design.md 1.7: the fence is checked by every write."""
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    await parse(api, dataset["id"], made["id"])
    jobs = ParseJobs(
        database=world.database,
        catalogue=world.catalogue,
        pipeline=Pipeline(blobs=world.blobs, tokens=ApproximateTokenCounter()),
    )
    async with world.database.dispatch() as dispatch:
        old = await dispatch.jobs.claim(owner="old", kinds=["parse"], lease_s=0.0)
    async with world.database.dispatch() as dispatch:
        new = await dispatch.jobs.claim(owner="new", kinds=["parse"], lease_s=60.0)
    assert old is not None
    assert new is not None
    assert (new.id, new.fence) == (old.id, old.fence + 1)
    before = await shown(api, dataset["id"], made["id"])

    with pytest.raises(LeaseLost):
        await jobs.run(old)
    with pytest.raises(LeaseLost):
        await hand_back(world.database, old)

    assert {**await shown(api, dataset["id"], made["id"]), "process_duration": 0} == {**before, "process_duration": 0}
    async with world.database.dispatch() as dispatch:
        assert await dispatch.jobs.renew([old], lease_s=60) == set()
        assert await dispatch.jobs.renew([new], lease_s=60) == {new.id}
    await jobs.run(new)
    assert (await shown(api, dataset["id"], made["id"]))["run"] == "DONE"
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.8-attempts")
async def test_after_three_attempts_a_document_is_given_up(world: World, api: Api, gated: Gated) -> None:
    """knowledge.md 2.8: the text is literal; each attempt waits longer."""
    gated.fails_with = UpstreamFailed("The embedding service is away.")
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    await parse(api, dataset["id"], made["id"])
    async with working(world.worker_parts()):
        await until(lambda: run_is(api, dataset["id"], made["id"], "FAIL"))

    failed = await shown(api, dataset["id"], made["id"])
    assert "The embedding service is away." in failed["progress_msg"]
    assert failed["progress_msg"].endswith("[ERROR]ERROR: Task is abandoned after 3 times attempts.")
    assert failed["progress"] == -1
    assert gated.calls == 3
    gated.fails_with = None
    gated.gate.set()
    await parse(api, dataset["id"], made["id"])
    await world.work()
    assert (await shown(api, dataset["id"], made["id"]))["run"] == "DONE"


@pytest.mark.promise("2.8-attempts")
async def test_a_document_that_kills_every_worker_is_given_up(world: World, api: Api) -> None:
    """knowledge.md 2.8: three leases that ended without a word are three attempts."""
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    await parse(api, dataset["id"], made["id"])
    for _ in range(3):
        async with world.database.dispatch() as dispatch:
            assert await dispatch.jobs.claim(owner="dead", kinds=["parse"], lease_s=0.0) is not None

    await world.work()

    failed = await shown(api, dataset["id"], made["id"])
    assert (failed["run"], failed["progress"]) == ("FAIL", -1)
    assert failed["progress_msg"].endswith("[ERROR]ERROR: Task is abandoned after 3 times attempts.")
    await assert_exact_counters(world, api)


async def test_a_flood_of_one_tenant_holds_no_other_up(world: World, api: Api, rival: Api) -> None:
    """Fairness: the tenant with the fewest running jobs is next, by lot among equals."""
    for tenant, count in ((api, 200), (rival, 1)):
        async with world.database.unit(tenant.tenant_id) as unit:
            await unit.jobs.add("parse", [f"d{number}" for number in range(count)])
    owners = []
    for _ in range(3):
        async with world.database.dispatch() as dispatch:
            job = await dispatch.jobs.claim(owner="w", kinds=["parse"], lease_s=60)
        assert job is not None
        owners.append(job.tenant_id)

    assert rival.tenant_id in owners[:2]
    assert owners.count(api.tenant_id) == 2


async def test_two_workers_never_take_the_same_job(world: World, api: Api) -> None:
    """design.md 1.7: SKIP LOCKED."""
    async with world.database.unit(api.tenant_id) as unit:
        await unit.jobs.add("parse", [f"d{number}" for number in range(40)])
    taken: list[str] = []

    async def take() -> None:
        while True:
            async with world.database.dispatch() as dispatch:
                job = await dispatch.jobs.claim(owner="w", kinds=["parse"], lease_s=60)
            if job is None:
                return
            taken.append(job.id)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(take)

    assert len(taken) == len(set(taken)) == 40


def test_the_worker_lets_no_test_process_behind() -> None:
    """The child of the kill test is dead."""
    found = subprocess.run(["pgrep", "-f", "tests.knowledge.worker_process"], capture_output=True, check=False)
    assert found.stdout == b""
