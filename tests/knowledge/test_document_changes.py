"""Changing documents: what is checked, in which order, and what is stored (knowledge.md 2.2)."""

from typing import Any

import pytest

from app.domain.errors import UpstreamFailed
from app.ingest import renaming
from app.services import document_changes
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, parsed, shown, upload

TEXT = b"Granite is an igneous rock. " * 3


@pytest.fixture
async def dataset_id(api: Api) -> str:
    made: str = (await make_dataset(api))["id"]
    return made


async def found(api: Api, dataset_id: str, question: str) -> list[str]:
    """Return the ids of documents that a search by words alone finds."""
    sent = {"question": question, "dataset_ids": [dataset_id], "vector_similarity_weight": 0.0}
    hits = await api.ok("POST", "/retrieval", json=sent)
    return [hit["document_id"] for hit in hits["chunks"] if hit["term_similarity"] > 0.2]


@pytest.mark.promise("2.2-not-owner", "2.2-not-in-dataset")
async def test_only_documents_of_ones_own_datasets_are_changed(api: Api, rival: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    other = await make_dataset(api)
    for caller, where in ((rival, dataset_id), (api, "nope")):
        path = f"/datasets/{where}/documents/{document['id']}"
        assert await caller.refusal("PUT", path, json={"name": "b.txt"}) == missing("You don't own the dataset.")
    path = f"/datasets/{other['id']}/documents/{document['id']}"
    assert await api.refusal("PATCH", path, json={}) == missing("The dataset doesn't own the document.")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"chunk_count": 9}, "Can't change `chunk_count`."),
        ({"token_count": 9}, "Can't change `token_count`."),
        ({"progress": 0.5}, "Can't change `progress`."),
        ({"meta_fields": "x"}, "meta_fields must be a dictionary"),
        ({"meta_fields": [1]}, "meta_fields must be a dictionary"),
        ({"name": "x" * 300 + ".txt"}, "File name must be 255 bytes or less."),
        ({"name": "日" * 90 + ".txt"}, "File name must be 255 bytes or less."),
        ({"name": "a.md"}, "The extension of file can't be changed"),
        ({"name": ""}, "The extension of file can't be changed"),
        ({"name": "a"}, "The extension of file can't be changed"),
        ({"name": "b.txt"}, "Duplicated document name in the same dataset."),
        ({"name": "B.TXT"}, "Duplicated document name in the same dataset."),
        ({"name": 7}, None),
        ({"name": None}, None),
        ({"parser_config": "x"}, None),
        ({"chunk_method": "other"}, "`chunk_method` other doesn't exist"),
        ({"chunk_method": ""}, "`chunk_method`  doesn't exist"),
        ({"enabled": "yes"}, None),
        ({"enabled": 2}, None),
        ({"name": 7, "meta_fields": 7}, "meta_fields must be a dictionary"),
        ({"name": "a.md", "chunk_method": "other"}, "The extension of file can't be changed"),
    ],
)
@pytest.mark.promise(
    "2.2-counters-fixed",
    "2.2-meta-fields-object",
    "2.2-name-bytes",
    "2.2-name-extension",
    "2.2-name-duplicate",
    "2.2-name-string",
    "2.2-method-known",
    "2.2-checks-order",
)
async def test_what_cannot_be_stored_is_told_and_nothing_is(
    api: Api, dataset_id: str, sent: dict[str, Any], message: str | None
) -> None:
    document, _ = await upload(api, dataset_id, ("a.txt", TEXT), ("b.txt", TEXT))
    before = await shown(api, dataset_id, document["id"])

    refusal = await api.refusal(
        "PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"meta_fields": {"a": 1}, **sent}
    )

    assert refusal[:2] == (400, 102)
    assert message is None or refusal[2] == message
    assert await shown(api, dataset_id, document["id"]) == before


@pytest.mark.promise("2.2-atomic")
async def test_nothing_is_stored_when_the_last_check_fails(api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    before = await shown(api, dataset_id, document["id"])
    sent = {"meta_fields": {"a": 1}, "name": "new.txt", "parser_config": {"x": 1}, "chunk_method": "nope"}

    assert (await api.refusal("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json=sent))[0] == 400
    assert await shown(api, dataset_id, document["id"]) == before


@pytest.mark.promise("2.2-meta-fields-replace", "2.2-answers-document", "2.2-unknown-keys", "2.2-patch")
async def test_a_change_answers_with_the_document(api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    await api.ok("PUT", path, json={"meta_fields": {"a": 1, "b": ["x"]}})
    changed = await api.ok("PATCH", path, json={"meta_fields": {"c": "é"}, "odd": 1, "chunk_count": 0})

    assert changed["meta_fields"] == {"c": "é"}
    listed = await shown(api, dataset_id, document["id"])
    assert {**changed, "title": None} == listed
    assert await api.ok("PUT", path, json={}) == changed


@pytest.mark.promise("2.2-parser-config-merge", "2.2-raptor-kept")
async def test_a_config_is_merged_without_checks_and_loses_nothing(api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    changed = await api.ok("PUT", path, json={"parser_config": {"chunk_token_num": "many", "graphrag": {"odd": 1}}})

    before: dict[str, Any] = document["parser_config"]
    expected = {**before, "chunk_token_num": "many", "graphrag": {**before["graphrag"], "odd": 1}}
    assert changed["parser_config"] == expected
    assert "raptor" in changed["parser_config"]
    assert (await api.ok("PUT", path, json={"parser_config": None}))["parser_config"] == expected


@pytest.mark.promise("2.2-method-fixed")
@pytest.mark.parametrize("name", ["a.png", "a.ppt", "a.pptx", "a.pages"])
async def test_pictures_and_slides_keep_their_method(api: Api, dataset_id: str, name: str) -> None:
    [document] = await upload(api, dataset_id, (name, TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    assert await api.refusal("PUT", path, json={"chunk_method": "naive"}) == invalid("Not supported yet!")


@pytest.mark.promise("2.2-method-change", "2.2-method-same-keeps")
async def test_another_method_drops_what_the_old_one_made(world: World, api: Api, dataset_id: str) -> None:
    [document] = await parsed(world, api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    same = await api.ok("PUT", path, json={"chunk_method": "naive"})
    assert (same["run"], same["chunk_count"]) == ("DONE", document["chunk_count"])
    assert same["parser_config"] == document["parser_config"]

    changed = await api.ok("PUT", path, json={"chunk_method": "qa"})

    assert (changed["run"], changed["progress"], changed["progress_msg"], changed["chunk_count"]) == (
        "UNSTART",
        0,
        "",
        0,
    )
    assert changed["parser_config"]["raptor"]["use_raptor"] is False
    assert await world.rows(api, "SELECT 1 FROM chunks") == []
    await assert_exact_counters(world, api)
    sent = {"chunk_method": "manual", "parser_config": {"only": 1}}
    merged = await api.ok("PUT", path, json=sent)
    assert merged["parser_config"] == {**changed["parser_config"], "only": 1}


@pytest.mark.promise("2.2-method-change-running")
async def test_another_method_ends_the_parsing_by_the_old_one(world: World, api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    await parse(api, dataset_id, document["id"])
    changed = await api.ok("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"chunk_method": "qa"})

    assert changed["run"] == "UNSTART"
    await world.work()
    assert (await shown(api, dataset_id, document["id"]))["run"] == "UNSTART"
    assert [row.state for row in await world.rows(api, "SELECT state FROM jobs")] == ["cancelled"]


@pytest.mark.promise("2.2-enabled", "2.2-enabled-answers-document")
@pytest.mark.parametrize(("off", "on"), [(0, 1), (False, True)])
async def test_a_disabled_document_is_not_found(world: World, api: Api, dataset_id: str, off: Any, on: Any) -> None:
    [document] = await parsed(world, api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    changed = await api.ok("PUT", path, json={"enabled": off})

    assert (changed["id"], changed["status"]) == (document["id"], "0")
    assert await found(api, dataset_id, "granite") == []
    assert {row.is_available for row in await world.rows(api, "SELECT is_available FROM chunks")} == {False}
    assert (await api.ok("PUT", path, json={"enabled": on}))["status"] == "1"
    assert await found(api, dataset_id, "granite") == [document["id"]]


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
    assert {row.state for row in await world.rows(api, "SELECT state FROM jobs WHERE kind = 'rename'")} == {"done"}


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
