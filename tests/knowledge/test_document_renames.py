"""Documents that are renamed: chunks know the new name, at once or by a job (knowledge.md 2.2)."""

from typing import Any

import pytest

from app.domain.errors import UpstreamFailed
from app.ingest import renaming
from app.services import document_changes
from tests.chats.world import Api
from tests.knowledge.test_document_changes import TEXT, found
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, parsed, upload


@pytest.fixture
async def dataset_id(api: Api) -> str:
    made: str = (await make_dataset(api))["id"]
    return made


async def vectors(world: World, api: Api) -> list[list[float]]:
    rows = await world.rows(api, "SELECT embedding::text AS v FROM chunks ORDER BY id")
    return [[float(each) for each in row.v.strip("[]").split(",")] for row in rows]


@pytest.mark.promise("2.2-rename-refreshes", "2.2-name-case")
async def test_a_renamed_document_is_found_by_its_new_name_when_the_call_returns(
    world: World, api: Api, dataset_id: str
) -> None:
    """Lexemes and vectors are those that parsing under the new name would have made."""
    [document] = await parsed(world, api, dataset_id, ("basalt report.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"
    assert await found(api, dataset_id, "basalt") == [document["id"]]

    renamed = await api.ok("PUT", path, json={"name": "feldspar Notes.txt"})

    assert renamed["name"] == "feldspar Notes.txt"
    assert renamed["chunk_count"] == document["chunk_count"]
    assert await found(api, dataset_id, "feldspar") == [document["id"]]
    assert await found(api, dataset_id, "basalt") == []
    assert await found(api, dataset_id, "granite") == [document["id"]]
    hits = await api.ok("POST", "/retrieval", json={"question": "granite", "dataset_ids": [dataset_id]})
    assert hits["chunks"][0]["document_keyword"] == "feldspar Notes.txt"
    [after] = await vectors(world, api)
    [lexemes] = await world.rows(api, "SELECT tsvector_to_array(lexemes) AS found FROM chunks")
    await parse(api, dataset_id, document["id"])
    await world.work()
    [fresh] = await vectors(world, api)
    [fresh_lexemes] = await world.rows(api, "SELECT tsvector_to_array(lexemes) AS found FROM chunks")
    assert after == pytest.approx(fresh, abs=1e-5)
    assert lexemes.found == fresh_lexemes.found
    assert (await api.ok("PUT", path, json={"name": "FELDSPAR notes.txt"}))["name"] == "FELDSPAR notes.txt"


@pytest.mark.promise("2.2-rename-job")
@pytest.mark.parametrize("reason", ["large", "model away"])
async def test_a_large_renamed_document_is_refreshed_by_a_job(
    world: World, api: Api, dataset_id: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [document] = await parsed(world, api, dataset_id, ("basalt.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"
    before = await vectors(world, api)
    with pytest.MonkeyPatch.context() as patch:
        if reason == "large":
            patch.setattr(document_changes, "AT_ONCE", 0)
        else:

            async def away(*_: Any, **__: Any) -> Any:
                raise UpstreamFailed("The model is away.")

            patch.setattr(document_changes, "name_vectors", away)
        await api.ok("PUT", path, json={"name": "gneiss.txt"})
        await api.ok("PUT", path, json={"name": "feldspar.txt"})
    assert await vectors(world, api) == before

    await world.work()

    assert await found(api, dataset_id, "feldspar") == [document["id"]]
    assert await found(api, dataset_id, "gneiss") == await found(api, dataset_id, "basalt") == []
    [after] = await vectors(world, api)
    await parse(api, dataset_id, document["id"])
    await world.work()
    assert after == pytest.approx((await vectors(world, api))[0], abs=1e-5)
    jobs = await world.rows(api, "SELECT state FROM jobs WHERE kind = 'rename'")
    assert [row.state for row in jobs] == ["done"], "one job for both renames"


@pytest.mark.promise("2.2-rename-running")
async def test_a_document_renamed_while_it_is_parsed_is_parsed_under_its_new_name(
    world: World, api: Api, dataset_id: str
) -> None:
    [document] = await upload(api, dataset_id, ("basalt.txt", TEXT))
    await parse(api, dataset_id, document["id"])
    renamed = await api.ok("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"name": "feldspar.txt"})
    assert renamed["run"] == "RUNNING"

    await world.work()

    assert await found(api, dataset_id, "feldspar") == [document["id"]]
    states = await world.rows(api, "SELECT state FROM jobs ORDER BY created_at")
    assert [row.state for row in states] == ["cancelled", "done"]
    await assert_exact_counters(world, api)


def test_a_document_of_the_default_size_is_refreshed_at_once() -> None:
    assert renaming.AT_ONCE == 500
