"""Documents of several datasets parsed and stopped by one call (knowledge.md 8)."""

from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, assert_exact_counters, make_dataset, shown, upload

PATH = "/documents/ingest"


@pytest.mark.promise("8-ingest")
async def test_documents_of_several_datasets_are_parsed_and_stopped(world: World, api: Api) -> None:
    here, there = [(await make_dataset(api))["id"] for _ in range(2)]
    [first, second] = [each["id"] for each in await upload(api, here, ("a.txt", b"one"), ("b.txt", b"two"))]
    [third] = [each["id"] for each in await upload(api, there, ("c.txt", b"three"))]

    assert await api.ok("POST", PATH, json={"doc_ids": [first, third, first], "run": "1"}) is True
    assert (await shown(api, here, first))["run"] == "RUNNING"
    assert (await shown(api, here, second))["run"] == "UNSTART"
    assert await api.ok("POST", PATH, json={"doc_ids": [third], "run": 2}) is True
    assert (await shown(api, there, third))["run"] == "CANCEL"
    await world.work()

    assert (await shown(api, here, first))["run"] == "DONE"
    assert (await shown(api, there, third))["chunk_count"] == 0
    assert await api.ok("POST", PATH, json={"document_ids": [second]}) is True
    await world.work()
    assert (await shown(api, here, second))["run"] == "DONE"
    await assert_exact_counters(world, api)


@pytest.mark.promise("8-ingest-refusals")
async def test_what_is_not_there_is_told_and_the_rest_is_done(world: World, api: Api, rival: Api) -> None:
    here, there = [(await make_dataset(api))["id"] for _ in range(2)]
    [running] = [each["id"] for each in await upload(api, here, ("a.txt", b"one"))]
    [other] = [each["id"] for each in await upload(api, there, ("b.txt", b"two"))]
    theirs = (await make_dataset(rival))["id"]
    [foreign] = [each["id"] for each in await upload(rival, theirs, ("c.txt", b"three"))]

    assert await api.refusal("POST", PATH, json={"doc_ids": ["nope", running, foreign]}) == missing(
        f"Documents not found: ['nope', '{foreign}']"
    )
    assert (await shown(api, here, running))["run"] == "RUNNING"
    assert (await shown(rival, theirs, foreign))["run"] == "UNSTART"
    assert await api.refusal("POST", PATH, json={"doc_ids": [running, other]}) == invalid(
        "Can't parse document that is currently being processed"
    )
    assert (await shown(api, there, other))["run"] == "RUNNING"
    bodies: list[dict[str, Any]] = [{}, {"doc_ids": []}, {"doc_ids": "x"}, {"doc_ids": [1]}]
    for sent in (*bodies, {"doc_ids": [other], "run": 3}):
        assert (await api.refusal("POST", PATH, json=sent))[0] == 400, sent
    assert (await api.refusal("POST", PATH, json={"doc_ids": [other], "run": True}))[0] == 400
    await world.work()
