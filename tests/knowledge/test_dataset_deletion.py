"""Datasets deleted: all they held goes, large ones in the background, seen by nobody meanwhile (knowledge.md 1.7)."""

import uuid
from typing import Any

import anyio
import pytest

from app.domain.ids import DatasetId, new_id
from app.ingest import deleting, job_kinds
from app.ingest.sweeping import Sweeper
from app.services import dataset_deletion
from repositories.dataset_removal import DatasetRemoval
from tests.chats.world import Api, invalid, missing
from tests.knowledge.files_world import link, put
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parsed, upload

V4 = "0123456789ab4def8123456789abcdef"
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


@pytest.mark.promise("1.7-cascade")
async def test_deleting_takes_everything_along(world: World, api: Api) -> None:
    """knowledge.md 1.7: documents, chunks, jobs, blobs, links of files; other datasets and the files stay."""
    gone, kept = await make_dataset(api), await make_dataset(api)
    [stays] = await parsed(world, api, kept["id"], ("k.txt", b"# Title\n\nwords"))
    await parsed(world, api, gone["id"], ("a.txt", b"# Title\n\nwords"))
    [queued, claimed] = await upload(api, gone["id"], ("b.txt", b"words"), ("c.txt", b"words"))
    for document in (claimed, queued):
        await api.ok("POST", f"/datasets/{gone['id']}/chunks", json={"document_ids": [document["id"]]})
    async with world.database.dispatch() as dispatch:
        job = await dispatch.jobs.claim(owner="w", kinds=["parse"], lease_s=30)
    assert job is not None
    assert job.subject_id == claimed["id"]
    [file] = await put(api, ("f.txt", b"of the tree"))
    await link(api, [file["id"]], gone["id"], kept["id"])
    rows = await world.rows(api, "SELECT blob_key FROM documents WHERE dataset_id = :id", id=gone["id"])

    assert await api.ok("DELETE", "/datasets", json={"ids": [gone["id"].upper()]}) == {"success_count": 1}

    for table, count in (("documents", 2), ("chunks", 1), ("sections", 1), ("file_links", 1), ("files", 1)):
        assert len(await world.rows(api, f"SELECT 1 FROM {table}")) == count, table  # noqa: S608
    states = await world.rows(api, "SELECT state FROM jobs ORDER BY created_at")
    assert [row.state for row in states] == ["done", "done", "cancelled", "cancelled"]
    assert len(rows) == 4
    for row in rows:
        with pytest.raises(Exception, match="gone"):
            await world.blobs.get(row.blob_key)
    for path, content in ((f"/datasets/{kept['id']}/documents/{stays['id']}", b"# Title\n\nwords"),
                          (f"/file/get/{file['id']}", b"of the tree")):  # fmt: skip
        assert (await api.raw("GET", path)).content == content
    [shown] = await api.ok("GET", "/datasets")
    assert (shown["id"], shown["document_count"], shown["chunk_count"]) == (kept["id"], 2, 1)
    await assert_exact_counters(world, api)


@pytest.mark.promise(
    "1.7-all-or-nothing", "1.7-null-is-all", "1.7-empty-is-none", "1.7-duplicates", "1.7-ids-required", "1.7-delete-all"
)
async def test_deleting_is_all_or_nothing(api: Api, rival: Api) -> None:
    """knowledge.md 1.7."""
    made, other = await make_dataset(api), await make_dataset(api)
    foreign, unknown = (await make_dataset(rival))["id"], new_id()

    async def refused(*ids: str) -> tuple[int, int, str]:
        return await api.refusal("DELETE", "/datasets", json={"ids": list(ids)})

    lacks = f"User '{api.tenant_id}' lacks permission for datasets:"
    assert await refused(made["id"], foreign) == missing(f"{lacks} '{foreign}'")
    assert await refused(unknown, made["id"], foreign) == missing(f"{lacks} '{unknown}, {foreign}'")
    assert await refused(made["id"], V4) == invalid(f"Field: <ids.1> - Message: <Invalid UUID1 format> - Value: <{V4}>")
    dashed = str(uuid.UUID(other["id"]))
    status, code, message = await refused(made["id"], dashed, made["id"].upper(), other["id"])
    assert (status, code) == (400, 102)
    assert message.startswith(f"Field: <ids> - Message: <Duplicate ids: '{made['id']}, {other['id']}'> - Value: <")
    assert await api.refusal("DELETE", "/datasets", json={}) == invalid(
        "Field: <ids> - Message: <Field required> - Value: <{}>"
    )
    assert await api.ok("DELETE", "/datasets", json={"ids": []}) == {"success_count": 0}
    for nothing in ({"ids": None, "delete_all": False}, {"ids": [], "delete_all": False}, {"delete_all": False}):
        assert await api.ok("DELETE", "/datasets", json=nothing) == {"success_count": 0}
    assert len(await api.ok("GET", "/datasets")) == 2
    assert await api.ok("DELETE", "/datasets", json={"ids": None}) == {"success_count": 2}
    assert await api.ok("GET", "/datasets") == []
    again, stays = await make_dataset(api), await make_dataset(api)
    assert await api.ok("DELETE", "/datasets", json={"ids": [again["id"]], "delete_all": True}) == {"success_count": 1}
    assert await api.ok("GET", "/datasets") == [stays]
    await make_dataset(api)
    assert await api.ok("DELETE", "/datasets", json={"delete_all": True}) == {"success_count": 2}
    await make_dataset(api)
    assert await api.ok("DELETE", "/datasets", json={"ids": None, "delete_all": True}) == {"success_count": 1}
    assert [each["id"] for each in await rival.ok("GET", "/datasets")] == [foreign]


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
@pytest.mark.promise("1.7-background-resumes", "1.7-progress")
async def test_a_deletion_that_was_cut_off_goes_on(world: World, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make_dataset(api)
    await parsed(world, api, made["id"], ("a.txt", b"words"), ("b.txt", b"more words"))
    done = await api.ok("DELETE", "/datasets", json={"ids": [made["id"]]})
    path = f"/jobs/{done['jobs'][0]['id']}"
    fails, seen = [True], list[Any]()
    drop = deleting._drop_documents

    async def flaky(removal: DatasetRemoval, dataset_id: DatasetId) -> int:
        if fails:
            fails.pop()
            seen.append(await api.ok("GET", path))
            raise ConnectionError("the database went away")
        return await drop(removal, dataset_id)

    monkeypatch.setattr(deleting, "_drop_documents", flaky)

    with anyio.fail_after(30):
        while (await counts(world, api))["datasets"]:
            await world.work()

    [job] = await world.rows(api, "SELECT state, attempts FROM jobs WHERE kind = 'delete_dataset'")
    assert (job.state, job.attempts) == ("done", 2)
    [halfway] = seen
    assert (halfway["state"], halfway["progress"]) == ("running", pytest.approx(0.8))
    assert "2 of 2 chunks deleted." in halfway["progress_msg"]
    assert "Dataset deleted with 2 documents and 0 chunks." in (await api.ok("GET", path))["progress_msg"]
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
