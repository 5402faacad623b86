"""Documents started and stopped: what is told, what counts (knowledge.md 2.6 to 2.8)."""

import re
from datetime import UTC
from email.utils import format_datetime
from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import (
    World,
    assert_exact_counters,
    make_dataset,
    parse,
    parsed,
    shown,
    upload,
)


@pytest.fixture
async def dataset_id(api: Api) -> str:
    made: str = (await make_dataset(api))["id"]
    return made


@pytest.mark.promise("2.6-effects", "2.8-running")
async def test_a_started_document_runs(world: World, api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", b"words"))
    assert (document["run"], document["progress"], document["process_begin_at"]) == ("UNSTART", 0, None)

    answer = await api.raw("POST", f"/datasets/{dataset_id}/chunks", json={"document_ids": [document["id"]]})

    assert answer.json() == {"code": 0, "data": None}
    running = await shown(api, dataset_id, document["id"])
    assert running["run"] == "RUNNING"
    assert 0 < running["progress"] <= 0.01
    assert running["progress_msg"] == "Task is queued..."
    assert running["process_begin_at"].endswith("GMT")
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.8-done", "2.8-line-times", "2.8-nothing-to-read")
async def test_a_parsed_document_tells_what_clients_wait_for(world: World, api: Api, dataset_id: str) -> None:
    full, empty = await parsed(world, api, dataset_id, ("a.txt", b"words"), ("e.txt", b""))

    for each in (full, empty):
        assert (each["run"], each["progress"]) == ("DONE", 1)
        assert each["process_begin_at"]
        assert each["process_duration"] > 0
        assert "Task done" in each["progress_msg"]
        for line in each["progress_msg"].split("\n"):
            assert re.match(r"\d\d:\d\d:\d\d ", line), line
    assert (full["chunk_count"], empty["chunk_count"]) == (1, 0)
    assert full["token_count"] > 0
    assert "No chunk built from e.txt" in empty["progress_msg"]
    assert "No chunk built" not in full["progress_msg"]


@pytest.mark.promise("2.6-reparse", "2.6-counters", "2.6-effects")
async def test_parsing_again_replaces_and_counts_once(world: World, api: Api, dataset_id: str) -> None:
    [document, _] = await parsed(world, api, dataset_id, ("a.txt", b"words of old\nand more"), ("b.txt", b"kept"))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"
    await api.ok("PUT", path, json={"parser_config": {"chunk_token_num": 1}})
    long_ago = "UPDATE documents SET process_begin_at = to_timestamp(0) WHERE id = :id RETURNING 1"
    await world.rows(api, long_ago, id=document["id"])
    await parse(api, dataset_id, document["id"])

    running = await shown(api, dataset_id, document["id"])
    assert (running["run"], running["chunk_count"], running["token_count"]) == ("RUNNING", 0, 0)
    assert running["progress_msg"] == "Task is queued...", "the log begins anew"
    assert 0 < running["progress"] <= 0.01
    assert running["process_duration"] < 60
    assert "1970" not in running["process_begin_at"]
    left = await world.rows(api, "SELECT content FROM chunks")
    assert [row.content for row in left] == ["kept"], "the old chunks go at once, and only they"
    await assert_exact_counters(world, api)
    await world.work()
    done = await shown(api, dataset_id, document["id"])
    assert (done["run"], done["chunk_count"]) == ("DONE", 2)
    assert done["progress_msg"].count("Task done") == 1
    await assert_exact_counters(world, api)


@pytest.mark.promise(
    "2.6-running", "2.6-unknown", "2.6-duplicates", "2.6-required", "2.6-access", "2.6-documents-parse"
)
async def test_starting_tells_what_it_could_not(api: Api, rival: Api, dataset_id: str) -> None:
    path = f"/datasets/{dataset_id}/chunks"
    a, b, c, d, e = (each["id"] for each in await upload(api, dataset_id, *[(f"{n}.txt", b"x") for n in "abcde"]))
    [elsewhere] = await upload(api, (await make_dataset(api))["id"], ("a.txt", b"x"))

    async def runs() -> str:
        return "".join([(await shown(api, dataset_id, each))["run"][0] for each in (a, b, c, d, e)])

    assert await rival.refusal("POST", path, json={"document_ids": [a]}) == missing(
        f"You don't own the dataset {dataset_id}."
    )
    nothing: list[dict[str, Any]] = [{}, {"document_ids": []}, {"document_ids": None}]
    for body in nothing:
        assert await api.refusal("POST", path, json=body) == invalid("`document_ids` is required")
    assert await api.refusal("POST", path) == invalid("`document_ids` is required")
    assert (await api.refusal("POST", path, json={"document_ids": "x"}))[:2] == (400, 102)
    assert await runs() == "UUUUU"
    assert await api.refusal("POST", path, json={"document_ids": ["x", a, elsewhere["id"]]}) == missing(
        f"Documents not found: ['x', '{elsewhere['id']}']"
    )
    assert await runs() == "RUUUU"
    assert (await shown(api, elsewhere["dataset_id"], elsewhere["id"]))["run"] == "UNSTART"
    assert await api.refusal("POST", path, json={"document_ids": [b, a, c]}) == invalid(
        "Can't parse document that is currently being processed"
    )
    assert await runs() == "RRUUU"
    twice = (await api.raw("POST", path, json={"document_ids": [c, c]})).json()
    assert (twice["code"], twice["data"]) == (
        0,
        {"success_count": 1, "errors": [f"Duplicate document ids: {c}"]},
    )
    assert await runs() == "RRRUU"
    also = f"/datasets/{dataset_id}/documents/parse"
    assert await api.refusal("POST", also, json={"document_ids": ["x"]}) == missing("Documents not found: ['x']")
    assert await api.ok("POST", also, json={"document_ids": [d]}) == {"success_count": 1}
    assert await api.ok("POST", also, json={"document_ids": [e, e]}) == {
        "success_count": 1, "errors": [f"Duplicate document ids: {e}"],
    }  # fmt: skip
    assert await runs() == "RRRRR"


@pytest.mark.promise("2.7-stop", "2.7-unknown", "2.7-not-running", "2.7-duplicates", "2.8-cancel")
@pytest.mark.promise("2.7-access", "2.7-documents-stop")
async def test_stopping_tells_what_it_could_not(world: World, api: Api, rival: Api, dataset_id: str) -> None:
    path = f"/datasets/{dataset_id}/chunks"
    a, b, c = (each["id"] for each in await upload(api, dataset_id, *[(f"{n}.txt", b"x") for n in "abc"]))
    await parse(api, dataset_id, a, b)
    await api.ok("POST", f"/datasets/{dataset_id}/documents/{a}/chunks", json={"content": "Added while it waits."})
    began = (await shown(api, dataset_id, a))["process_begin_at"]

    assert await api.refusal("DELETE", path, json={}) == invalid("`document_ids` is required")
    assert await rival.refusal("DELETE", path, json={"document_ids": [a]}) == missing(
        f"You don't own the dataset {dataset_id}."
    )
    not_running = invalid("Can't stop parsing document with progress at 0 or 1")
    assert await api.refusal("DELETE", path, json={"document_ids": [c]}) == not_running
    assert (await shown(api, dataset_id, a))["chunk_count"] == 1
    assert await api.refusal("DELETE", path, json={"document_ids": [a, "x", b]}) == missing(
        "You don't own the document x."
    )
    stopped = await shown(api, dataset_id, a)
    assert (stopped["run"], stopped["progress"], stopped["chunk_count"]) == ("CANCEL", 0, 0)
    assert stopped["process_begin_at"] == began
    assert stopped["progress_msg"].endswith(" [Canceled]")
    assert await world.rows(api, "SELECT content FROM chunks") == []
    await assert_exact_counters(world, api)
    assert await api.refusal("DELETE", path, json={"document_ids": [a]}) == not_running
    assert (await shown(api, dataset_id, b))["run"] == "RUNNING"
    twice = (await api.raw("DELETE", path, json={"document_ids": [b, b]})).json()
    assert twice["data"] == {"success_count": 1, "errors": [f"Duplicate document ids: {b}"]}
    await world.work()
    assert (await shown(api, dataset_id, a))["run"] == "CANCEL"
    assert {row.state for row in await world.rows(api, "SELECT state FROM jobs")} == {"cancelled"}
    await parse(api, dataset_id, a, b)
    also = f"/datasets/{dataset_id}/documents/stop"
    assert await api.ok("POST", also, json={"document_ids": [a]}) == {"success_count": 1}
    twice = await api.ok("POST", also, json={"document_ids": [b, b]})
    assert twice == {"success_count": 1, "errors": [f"Duplicate document ids: {b}"]}
    await parse(api, dataset_id, a)
    await world.work()
    done = await shown(api, dataset_id, a)
    assert (done["run"], done["chunk_count"]) == ("DONE", 1)
    for where, method in ((path, "DELETE"), (also, "POST")):
        assert await api.refusal(method, where, json={"document_ids": [a]}) == not_running
    assert await shown(api, dataset_id, a) == done
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.8-object")
async def test_a_listed_document_has_every_field_of_the_contract(world: World, api: Api, dataset_id: str) -> None:
    [document] = await parsed(world, api, dataset_id, ("a.txt", b"words"))

    assert set(document) == {
        "id", "dataset_id", "name", "location", "type", "suffix", "size", "source_type", "thumbnail", "chunk_method",
        "pipeline_id", "parser_config", "created_by", "meta_fields", "status", "chunk_count", "token_count", "run",
        "progress", "progress_msg", "process_begin_at", "process_duration", "create_time", "create_date",
        "update_time", "update_date", "title",
    }  # fmt: skip
    names = "dataset_id name location type suffix size source_type thumbnail chunk_method created_by meta_fields status"
    assert [document[name] for name in names.split()] == [
        dataset_id, "a.txt", "a.txt", "doc", "txt", 5, "local", "", "naive", api.tenant_id, {}, "1",
    ]  # fmt: skip
    assert (document["run"], document["progress"], document["chunk_count"]) == ("DONE", 1, 1)
    assert (document["pipeline_id"], document["title"]) == (None, None)
    assert document["parser_config"] == (await api.ok("GET", f"/datasets/{dataset_id}"))["parser_config"]
    [row] = await world.rows(api, "SELECT token_count, created_at, updated_at, process_begin_at FROM documents")
    assert document["token_count"] == row.token_count > 0
    for name, moment in (("create", row.created_at), ("update", row.updated_at)):
        assert document[f"{name}_time"] == int(moment.timestamp() * 1000)
        assert document[f"{name}_date"] == format_datetime(moment.astimezone(UTC), usegmt=True)
    assert document["process_begin_at"] == format_datetime(row.process_begin_at.astimezone(UTC), usegmt=True)


@pytest.mark.promise("2.8-fail")
async def test_a_document_that_cannot_be_read_has_failed(world: World, api: Api, dataset_id: str) -> None:
    """knowledge.md 2.8: -1, and a line that says why."""
    [document] = await parsed(world, api, dataset_id, ("a.pdf", b"no pdf"))

    assert (document["run"], document["progress"], document["chunk_count"]) == ("FAIL", -1, 0)
    assert re.search(r"^\d\d:\d\d:\d\d \[ERROR\]a\.pdf is not a PDF file", document["progress_msg"], re.MULTILINE)
    assert "Task done" not in document["progress_msg"]
    assert document["process_begin_at"]
    [job] = await world.rows(api, "SELECT state, attempts FROM jobs")
    assert (job.state, job.attempts) == ("failed", 1), "trying again would not help"
    stop = {"json": {"document_ids": [document["id"]]}}
    assert (await api.refusal("DELETE", f"/datasets/{dataset_id}/chunks", **stop))[:2] == (400, 102)
    await world.work()
    assert await shown(api, dataset_id, document["id"]) == document, "-1 is final"


@pytest.mark.promise("2.8-disabled-stays")
async def test_a_disabled_document_stays_out_of_searches_when_it_is_parsed(
    world: World, api: Api, dataset_id: str
) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", b"words"))
    await api.ok("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"enabled": 0})
    await parse(api, dataset_id, document["id"])
    await world.work()

    assert {row.is_available for row in await world.rows(api, "SELECT is_available FROM chunks")} == {False}
