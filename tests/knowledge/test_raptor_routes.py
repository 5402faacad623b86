"""Routes of the jobs that index whole datasets (knowledge.md 4.7, 1.8)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.raptor_process import summary_of
from tests.knowledge.speaking import Speaker, talker, world
from tests.knowledge.world import World, api, make_dataset, parsed, rival

__all__ = ["api", "rival", "talker", "world"]

RUNS = [("run_raptor", "trace_raptor", "raptor"), ("run_graphrag", "trace_graphrag", "graphrag")]
TITLES = {"raptor": "RAPTOR", "graphrag": "Graph"}


@pytest.fixture
async def dataset(world: World, api: Api, talker: Speaker) -> Any:
    talker.answer = summary_of
    dataset = await make_dataset(api, parser_config={"chunk_token_num": 8, "delimiter": "\n"})
    await parsed(world, api, dataset["id"], ("a.txt", b"The first line is about boilers.\nThe second is not so."))
    return dataset


@pytest.mark.promise("4.7-run", "4.7-already-running", "4.7-trace-row", "1.8-index-tasks")
@pytest.mark.parametrize(("start", "trace", "name"), RUNS)
async def test_a_job_is_started_once_and_traced(
    world: World, api: Api, dataset: Any, start: str, trace: str, name: str
) -> None:
    path = f"/datasets/{dataset['id']}"
    assert await api.ok("GET", f"{path}/{trace}") == {}
    started = await api.ok("POST", f"{path}/{start}")
    assert set(started) == {f"{name}_task_id"}
    (task_id,) = started.values()
    for progress in (0.0, 0.25):
        await world.rows(api, "UPDATE jobs SET progress = :now WHERE id = :id RETURNING 1", now=progress, id=task_id)
        running = f"Task {task_id} in progress with status {progress}. A {TITLES[name]} Task is already running."
        assert await api.refusal("POST", f"{path}/{start}") == invalid(running)
    task = await api.ok("GET", f"{path}/{trace}")
    assert set(task) == {
        "id", "doc_id", "from_page", "to_page", "task_type", "priority", "begin_at", "process_duration", "progress",
        "progress_msg", "retry_count", "digest", "chunk_ids", "create_time", "create_date", "update_time",
        "update_date",
    }  # fmt: skip
    assert (task["id"], task["task_type"], task["progress"], task["begin_at"]) == (task_id, name, 0.25, None)
    (listed,) = await api.ok("GET", "/datasets", params={"id": dataset["id"]})
    assert (listed[f"{name}_task_id"], listed[f"{name}_task_finish_at"]) == (task_id, None)


@pytest.mark.promise("1.8-index-tasks", "4.7-run-again")
@pytest.mark.parametrize(("start", "trace", "name"), RUNS)
async def test_the_dataset_tells_when_its_job_ended(
    world: World, api: Api, dataset: Any, start: str, trace: str, name: str
) -> None:
    path = f"/datasets/{dataset['id']}"
    first = (await api.ok("POST", f"{path}/{start}"))[f"{name}_task_id"]
    await world.work()
    (listed,) = await api.ok("GET", "/datasets", params={"id": dataset["id"]})
    assert listed[f"{name}_task_id"] == first
    ended = parsedate_to_datetime(listed[f"{name}_task_finish_at"])
    assert abs((datetime.now(UTC) - ended).total_seconds()) < 60
    for other in {"raptor", "graphrag", "mindmap"} - {name}:
        assert (listed[f"{other}_task_id"], listed[f"{other}_task_finish_at"]) == (None, None)
    task = await api.ok("GET", f"{path}/{trace}")
    assert (task["id"], task["progress"]) == (first, 1)
    assert task["begin_at"].endswith(" GMT")
    assert task["process_duration"] > 0
    second = (await api.ok("POST", f"{path}/{start}"))[f"{name}_task_id"]
    assert second != first
    told = await api.ok("GET", path)
    assert (told[f"{name}_task_id"], told[f"{name}_task_finish_at"]) == (second, None)


@pytest.mark.promise("4.7-no-documents")
@pytest.mark.parametrize("start", ["run_raptor", "run_graphrag", "index?type=raptor", "index?type=graph"])
async def test_an_empty_dataset_has_nothing_to_index(api: Api, talker: Speaker, start: str) -> None:
    empty = await make_dataset(api)
    refused = await api.refusal("POST", f"/datasets/{empty['id']}/{start}")
    assert refused == invalid(f"No documents in Dataset {empty['id']}")


@pytest.mark.promise("4.7-index-no-access")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "run_raptor"),
        ("GET", "trace_raptor"),
        ("POST", "run_graphrag"),
        ("GET", "trace_graphrag"),
        ("POST", "index?type=graph"),
        ("GET", "index?type=raptor"),
        ("DELETE", "index?type=raptor"),
        ("DELETE", "index?type=graph"),
        ("DELETE", "raptor"),
    ],
)
async def test_others_datasets_and_none_look_alike(
    api: Api, rival: Api, as_22: Api, dataset: Any, method: str, path: str
) -> None:
    for caller, dataset_id in ((rival, dataset["id"]), (api, "0" * 32)):
        refused = await caller.refusal(method, f"/datasets/{dataset_id}/{path}")
        assert refused == missing("No authorization.")
    told = await as_22.raw(method, f"/datasets/{'0' * 32}/{path}")
    assert (told.status_code, told.json()) == (200, {"code": 109, "message": "No authorization."})


@pytest.mark.promise("4.7-index-routes")
@pytest.mark.parametrize(("type_", "trace"), [("raptor", "trace_raptor"), ("graph", "trace_graphrag")])
async def test_the_later_routes_speak_of_the_same_jobs(api: Api, dataset: Any, type_: str, trace: str) -> None:
    path = f"/datasets/{dataset['id']}"
    started = await api.ok("POST", f"{path}/index", params={"type": type_})
    assert set(started) == {"task_id"}
    task = await api.ok("GET", f"{path}/index", params={"type": type_})
    assert task["id"] == started["task_id"]
    assert (await api.ok("GET", f"{path}/{trace}"))["id"] == started["task_id"]
    assert await api.ok("DELETE", f"{path}/index", params={"type": type_}) is True
    assert await api.ok("GET", f"{path}/{trace}") == {}


@pytest.mark.promise("4.7-index-types")
async def test_other_types_are_refused_and_mind_maps_are_never_made(api: Api, dataset: Any) -> None:
    path = f"/datasets/{dataset['id']}/index"
    unknown = invalid("`type` should be one of graph, raptor, mindmap.")
    for method in ("POST", "GET", "DELETE"):
        assert await api.refusal(method, path, params={"type": "tree"}) == unknown
        assert await api.refusal(method, path) == unknown
    assert (await api.refusal("POST", path, params={"type": "mindmap"}))[:2] == (400, 102)
    assert await api.ok("GET", path, params={"type": "mindmap"}) == {}
    assert await api.ok("DELETE", path, params={"type": "mindmap"}) is True
