"""Datasets deleted: all they held goes, large ones in the background, seen by nobody meanwhile (knowledge.md 1.7)."""

from typing import Any

import anyio
import pytest

from app.domain.ids import DatasetId
from app.ingest import deleting, job_kinds
from app.ingest.sweeping import Sweeper
from app.services import dataset_deletion
from repositories.dataset_removal import DatasetRemoval
from tests.chats.world import Api
from tests.knowledge.world import World, make_dataset, parsed, upload

TABLES = ("datasets", "documents", "sections", "chunks", "stray_blobs", "file_links")


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_deletion, "CHUNKS_AT_ONCE", 0)


async def counts(world: World, api: Api) -> dict[str, int]:
    return {
        table: (await world.rows(api, f"SELECT count(*) AS n FROM {table}"))[0].n  # noqa: S608
        for table in TABLES
    }


async def add_chunks(world: World, api: Api, document_id: str, count: int) -> None:
    """Copy the one chunk of a document, without its vector's cost."""
    await world.rows(
        api,
        """
        INSERT INTO chunks (tenant_id, document_id, id, dataset_id, ordinal, content, lexemes, embedding, dimensions,
            token_count, image_id)
        SELECT tenant_id, document_id, 'copy' || n, dataset_id, n, content, lexemes, '[1,0]', 2, 1,
            dataset_id || '-copy' || n
        FROM chunks, generate_series(1, :count) AS n WHERE document_id = :id RETURNING 1
        """,
        id=document_id,
        count=count,
    )
    for table, key in (("documents", "id"), ("datasets", "(SELECT dataset_id FROM documents WHERE id = :id)")):
        where = "id = :id" if table == "documents" else f"id = {key}"
        await world.rows(
            api,
            f"UPDATE {table} SET chunk_count = chunk_count + :count WHERE {where} RETURNING 1",  # noqa: S608
            id=document_id,
            count=count,
        )


@pytest.mark.promise("1.7-background", "1.7-hidden-at-once", "1.7-progress", "1.7-complete")
async def test_a_large_dataset_is_gone_at_once_and_emptied_by_a_job(world: World, api: Api) -> None:
    made, kept = await make_dataset(api, name="large"), await make_dataset(api, name="kept")
    first, second = await parsed(world, api, made["id"], ("a.txt", b"granite words"), ("b.txt", b"other words"))
    await parsed(world, api, kept["id"], ("k.txt", b"granite words"))
    await add_chunks(world, api, first["id"], 4_500)
    await world.blobs.put(f"{api.tenant_id}/{made['id']}/images/copy7", b"a picture")
    keys = [row.blob_key for row in await world.rows(api, "SELECT blob_key FROM documents")]

    done = await api.ok("DELETE", "/datasets", json={"ids": [made["id"]]})

    assert done["success_count"] == 1
    [job] = done["jobs"]
    assert job["dataset_id"] == made["id"]
    waiting = await api.ok("GET", f"/jobs/{job['id']}")
    assert (waiting["kind"], waiting["state"], waiting["progress"]) == ("delete_dataset", "queued", 0)
    assert [each["id"] for each in await api.ok("GET", "/datasets")] == [kept["id"]]
    for method, path, more in (
        ("GET", f"/datasets/{made['id']}", {}),
        ("GET", f"/datasets?id={made['id']}", {}),
        ("PUT", f"/datasets/{made['id']}", {"json": {"name": "x"}}),
        ("DELETE", "/datasets", {"json": {"ids": [made["id"]]}}),
        ("GET", f"/datasets/{made['id']}/documents", {}),
        ("GET", f"/documents/{second['id']}", {}),
        ("POST", f"/datasets/{made['id']}/documents", {"files": [("file", ("c.txt", b"x"))]}),
        ("POST", f"/datasets/{made['id']}/chunks", {"json": {"document_ids": [second["id"]]}}),
        ("POST", "/retrieval", {"json": {"question": "granite", "dataset_ids": [made["id"]]}}),
    ):
        more_: dict[str, Any] = more
        assert (await api.refusal(method, path, **more_))[:2] == (404, 105), path
    assert (await make_dataset(api, name="large"))["name"] == "large"

    await world.work()

    ended = await api.ok("GET", f"/jobs/{job['id']}")
    assert (ended["state"], ended["progress"]) == ("done", 1)
    assert "2000 of 4502 chunks deleted." in ended["progress_msg"]
    assert "Task done" in ended["progress_msg"]
    assert await counts(world, api) == {
        "datasets": 2, "documents": 1, "sections": 1, "chunks": 1, "stray_blobs": 0, "file_links": 0,
    }  # fmt: skip
    for key in (*keys[:2], f"{api.tenant_id}/{made['id']}/images/copy7"):
        with pytest.raises(Exception, match="gone"):
            await world.blobs.get(key)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.promise("1.7-background-resumes")
async def test_a_deletion_that_was_cut_off_goes_on(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make_dataset(api)
    await parsed(world, api, made["id"], ("a.txt", b"words"), ("b.txt", b"more words"))
    await api.ok("DELETE", "/datasets", json={"ids": [made["id"]]})
    fails = [True]
    drop = deleting._drop_documents

    async def flaky(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
        if fails:
            fails.pop()
            raise ConnectionError("the database went away")
        return await drop(removal, dataset_id)

    monkeypatch.setattr(deleting, "_drop_documents", flaky)

    with anyio.fail_after(30):
        while (await counts(world, api))["datasets"]:
            await world.work()

    [job] = await world.rows(api, "SELECT state, attempts FROM jobs WHERE kind = 'delete_dataset'")
    assert (job.state, job.attempts) == ("done", 2)
    assert await counts(world, api) == dict.fromkeys(TABLES, 0)


@pytest.mark.promise("1.7-bytes-later")
async def test_bytes_that_cannot_be_deleted_now_are_deleted_later(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make_dataset(api)
    await upload(api, made["id"], ("a.txt", b"words"))
    [row] = await world.rows(api, "SELECT blob_key FROM documents")

    async def away(self: Any, keys: Any) -> None:
        raise ConnectionError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.blobs), "delete_many", away)
        assert await api.ok("DELETE", "/datasets", json={"ids": [made["id"]]}) == {"success_count": 1}
    assert await world.blobs.get(row.blob_key) == b"words"
    await world.rows(api, "UPDATE stray_blobs SET due_at = clock_timestamp() RETURNING 1")

    assert await Sweeper(world.database, world.blobs).sweep() == 1

    with pytest.raises(Exception, match="gone"):
        await world.blobs.get(row.blob_key)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.promise("1.7-running-jobs-end")
async def test_what_runs_in_a_deleted_dataset_ends(world: World, api: Api) -> None:
    made = await make_dataset(api)
    await parsed(world, api, made["id"], ("a.txt", b"words"))
    [queued] = await upload(api, made["id"], ("b.txt", b"words"))
    await api.ok("POST", f"/datasets/{made['id']}/chunks", json={"document_ids": [queued["id"]]})

    await api.ok("DELETE", "/datasets", json={"ids": None})
    await world.work()

    states = {row.kind + " " + row.state for row in await world.rows(api, "SELECT kind, state FROM jobs")}
    assert states == {"parse done", "parse cancelled", "delete_dataset done"}
    assert (await counts(world, api))["datasets"] == 0


@pytest.mark.promise("1.7-job-wall")
async def test_jobs_of_others_are_missing(world: World, api: Api, rival: Api) -> None:
    made = await make_dataset(api)
    await parsed(world, api, made["id"], ("a.txt", b"words"))
    [job] = await world.rows(api, "SELECT id FROM jobs")

    assert set(await api.ok("GET", f"/jobs/{job.id}")) == {
        "id", "kind", "subject_id", "state", "attempts", "progress", "progress_msg", "error", "begin_at", "end_at",
        "create_time", "create_date",
    }  # fmt: skip
    assert (await rival.refusal("GET", f"/jobs/{job.id}"))[:2] == (404, 105)
    assert (await api.refusal("GET", "/jobs/nope")) == (404, 105, "There is no job nope.")


@pytest.mark.promise("2.5-large-document", "2.5-pictures")
async def test_a_large_document_is_deleted_in_short_statements(world: World, api: Api) -> None:
    made = await make_dataset(api)
    [document] = await parsed(world, api, made["id"], ("a.txt", b"words"))
    await add_chunks(world, api, document["id"], 4_500)
    await world.blobs.put(f"{api.tenant_id}/{made['id']}/images/copy1", b"a picture")
    with world.queries() as seen:
        await api.ok("DELETE", f"/datasets/{made['id']}/documents", json={"ids": [document["id"]]})

    assert len([each for each in seen if "DELETE FROM chunks" in each]) == 3
    assert await counts(world, api) == dict.fromkeys(TABLES, 0) | {"datasets": 1}
    with pytest.raises(Exception, match="gone"):
        await world.blobs.get(f"{api.tenant_id}/{made['id']}/images/copy1")
    shown = await api.ok("GET", f"/datasets/{made['id']}")
    assert (shown["document_count"], shown["chunk_count"]) == (0, 0)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.promise("1.7-never-half-deleted")
@pytest.mark.parametrize("is_crash", [False, True])
async def test_a_deletion_that_keeps_failing_begins_again_until_it_is_done(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch, is_crash: bool
) -> None:
    monkeypatch.setattr(job_kinds, "DELETION_ATTEMPTS", 2)
    monkeypatch.setattr(job_kinds, "DELETION_REST_S", 0.01)
    made = await make_dataset(api)
    await parsed(world, api, made["id"], ("a.txt", b"words"))
    done = await api.ok("DELETE", "/datasets", json={"ids": [made["id"]]})
    fails = [] if is_crash else [True] * 5
    drop = deleting._drop_documents

    async def flaky(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
        if fails:
            fails.pop()
            raise ConnectionError("the database went away")
        return await drop(removal, dataset_id)

    monkeypatch.setattr(deleting, "_drop_documents", flaky)
    if is_crash:  # as after workers that died over it
        await world.rows(api, "UPDATE jobs SET attempts = 7 WHERE kind = 'delete_dataset' RETURNING 1")

    with anyio.fail_after(30):
        while (await counts(world, api))["datasets"]:
            await world.work()

    ended = await api.ok("GET", f"/jobs/{done['jobs'][0]['id']}")
    assert (ended["state"], ended["progress"]) == ("done", 1)
    assert "Beginning again in 0.01s." in ended["progress_msg"]
    assert not fails
    assert await counts(world, api) == dict.fromkeys(TABLES, 0)
