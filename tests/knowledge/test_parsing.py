"""Documents started and stopped: what is told, what counts (knowledge.md 2.6 to 2.8)."""

import re
from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, parsed, shown, upload


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
    assert full["chunk_count"] == 1
    assert "No chunk built from e.txt" in empty["progress_msg"]


@pytest.mark.promise("2.6-reparse", "2.6-counters")
async def test_parsing_again_replaces_and_counts_once(world: World, api: Api, dataset_id: str) -> None:
    [document] = await parsed(world, api, dataset_id, ("a.txt", b"words"))
    await parse(api, dataset_id, document["id"])

    running = await shown(api, dataset_id, document["id"])
    assert (running["chunk_count"], running["token_count"]) == (0, 0)
    assert (await api.ok("GET", f"/datasets/{dataset_id}"))["chunk_count"] == 0
    await world.work()
    assert (await shown(api, dataset_id, document["id"]))["chunk_count"] == 1
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.6-running", "2.6-unknown", "2.6-duplicates", "2.6-required", "2.6-access")
async def test_starting_tells_what_it_could_not(api: Api, rival: Api, dataset_id: str) -> None:
    path = f"/datasets/{dataset_id}/chunks"
    a, b, c, d = (each["id"] for each in await upload(api, dataset_id, *[(f"{n}.txt", b"x") for n in "abcd"]))

    async def runs() -> str:
        return "".join([(await shown(api, dataset_id, each))["run"][0] for each in (a, b, c, d)])

    assert await rival.refusal("POST", path, json={"document_ids": [a]}) == missing(
        f"You don't own the dataset {dataset_id}."
    )
    nothing: list[dict[str, Any]] = [{}, {"document_ids": []}, {"document_ids": None}]
    for body in nothing:
        assert await api.refusal("POST", path, json=body) == invalid("`document_ids` is required")
    assert (await api.refusal("POST", path, json={"document_ids": "x"}))[0] == 400
    assert await api.refusal("POST", path, json={"document_ids": ["x", a, "y"]}) == missing(
        "Documents not found: ['x', 'y']"
    )
    assert await runs() == "RUUU"
    assert await api.refusal("POST", path, json={"document_ids": [b, a, c]}) == invalid(
        "Can't parse document that is currently being processed"
    )
    assert await runs() == "RRUU"
    twice = (await api.raw("POST", path, json={"document_ids": [c, c]})).json()
    assert (twice["code"], twice["data"]) == (
        0,
        {"success_count": 1, "errors": [f"Duplicate document ids: {c}"]},
    )
    done = await api.ok("POST", f"/datasets/{dataset_id}/documents/parse", json={"document_ids": [d]})
    assert done == {"success_count": 1}
    assert await runs() == "RRRR"


@pytest.mark.promise("2.7-stop", "2.7-unknown", "2.7-not-running", "2.7-duplicates", "2.8-cancel")
async def test_stopping_tells_what_it_could_not(world: World, api: Api, dataset_id: str) -> None:
    path = f"/datasets/{dataset_id}/chunks"
    a, b, c = (each["id"] for each in await upload(api, dataset_id, *[(f"{n}.txt", b"x") for n in "abc"]))
    await parse(api, dataset_id, a, b)

    assert await api.refusal("DELETE", path, json={}) == invalid("`document_ids` is required")
    assert await api.refusal("DELETE", path, json={"document_ids": [c]}) == invalid(
        "Can't stop parsing document with progress at 0 or 1"
    )
    assert await api.refusal("DELETE", path, json={"document_ids": [a, "x", b]}) == missing(
        "You don't own the document x."
    )
    stopped = await shown(api, dataset_id, a)
    assert (stopped["run"], stopped["progress"], stopped["chunk_count"]) == ("CANCEL", 0, 0)
    assert stopped["process_begin_at"]
    assert stopped["progress_msg"].endswith(" [Canceled]")
    assert (await shown(api, dataset_id, b))["run"] == "RUNNING"
    twice = (await api.raw("DELETE", path, json={"document_ids": [b, b]})).json()
    assert twice["data"] == {"success_count": 1, "errors": [f"Duplicate document ids: {b}"]}
    await world.work()
    assert (await shown(api, dataset_id, a))["run"] == "CANCEL"
    assert {row.state for row in await world.rows(api, "SELECT state FROM jobs")} == {"cancelled"}
    await parse(api, dataset_id, a)
    done: Any = await api.ok("POST", f"/datasets/{dataset_id}/documents/stop", json={"document_ids": [a]})
    assert done == {"success_count": 1}
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
    assert (document["created_by"], document["source_type"], document["meta_fields"]) == (api.tenant_id, "local", {})
    assert isinstance(document["create_time"], int)
    assert document["create_date"].endswith(" GMT")


@pytest.mark.promise("2.8-disabled-stays")
async def test_a_disabled_document_stays_out_of_searches_when_it_is_parsed(
    world: World, api: Api, dataset_id: str
) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", b"words"))
    await api.ok("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"enabled": 0})
    await parse(api, dataset_id, document["id"])
    await world.work()

    assert {row.is_available for row in await world.rows(api, "SELECT is_available FROM chunks")} == {False}
