"""Changing documents: what is checked, in which order, and what is stored (knowledge.md 2.2)."""

from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import (
    World,
    add_chunk,
    assert_exact_counters,
    make_dataset,
    parse,
    parsed,
    shown,
    upload,
)

TEXT = b"Granite is an igneous rock. " * 3
METHODS = "naive manual qa table paper book laws presentation picture one knowledge_graph email tag"


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
        assert await caller.refusal("PUT", path, json={"chunk_count": 9}) == missing("You don't own the dataset.")
    for path in (f"/datasets/{other['id']}/documents/{document['id']}", f"/datasets/{dataset_id}/documents/nope"):
        for method, sent in (("PATCH", {}), ("PUT", {"name": "b.txt"}), ("PUT", {"chunk_count": 9})):
            assert await api.refusal(method, path, json=sent) == missing("The dataset doesn't own the document.")
    assert (await shown(api, dataset_id, document["id"]))["name"] == "a.txt"


ENABLED = "`enabled` should be 0, 1, true or false."
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"chunk_count": 9}, "Can't change `chunk_count`."),
    ({"token_count": 9}, "Can't change `token_count`."),
    ({"progress": 0.5}, "Can't change `progress`."),
    ({"meta_fields": "x"}, "meta_fields must be a dictionary"),
    ({"name": "x" * 300 + ".md"}, "File name must be 255 bytes or less."),
    ({"name": "c.md"}, "The extension of file can't be changed"),  # and another document has it
    ({"name": "b.txt"}, "Duplicated document name in the same dataset."),
    ({"parser_config": "x"}, "`parser_config` should be an object."),
    ({"chunk_method": "other"}, "`chunk_method` other doesn't exist"),
    ({"enabled": 2}, ENABLED),
]
# Each with all that comes after it; of several with the same key the first one counts.
IN_ORDER = [{key: value for sent, _ in reversed(WRONG[at:]) for key, value in sent.items()} for at in range(len(WRONG))]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"chunk_count": 9}, "Can't change `chunk_count`."),
    ({"token_count": 9}, "Can't change `token_count`."),
    ({"progress": 0.5}, "Can't change `progress`."),
    ({"meta_fields": "x"}, "meta_fields must be a dictionary"),
    ({"meta_fields": [1]}, "meta_fields must be a dictionary"),
    ({"meta_fields": None}, "meta_fields must be a dictionary"),
    ({"name": "x" * 252 + ".txt"}, "File name must be 255 bytes or less."),
    ({"name": "日" * 84 + ".txt"}, "File name must be 255 bytes or less."),
    ({"name": "a.md"}, "The extension of file can't be changed"),
    ({"name": ""}, "The extension of file can't be changed"),
    ({"name": "a"}, "The extension of file can't be changed"),
    ({"name": "b.txt"}, "Duplicated document name in the same dataset."),
    ({"name": "B.TXT"}, "Duplicated document name in the same dataset."),
    ({"name": 7}, "`name` should be a string, not int."),
    ({"name": None}, "`name` should be a string, not NoneType."),
    ({"parser_config": "x"}, "`parser_config` should be an object."),
    ({"chunk_method": "other"}, "`chunk_method` other doesn't exist"),
    ({"chunk_method": ""}, "`chunk_method`  doesn't exist"),
    ({"chunk_method": "audio"}, "`chunk_method` audio doesn't exist"),
    ({"chunk_method": 7}, "`chunk_method` 7 doesn't exist"),
    ({"enabled": "yes"}, ENABLED),
    ({"enabled": 2}, ENABLED),
    ({"enabled": None}, ENABLED),
    *zip(IN_ORDER[:-1], [message for _, message in WRONG[:-1]], strict=True),
]


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
async def test_what_cannot_be_stored_is_told_and_nothing_is(api: Api, dataset_id: str) -> None:
    document, *_ = await upload(api, dataset_id, ("a.txt", TEXT), ("b.txt", TEXT), ("c.md", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"
    before = await shown(api, dataset_id, document["id"])

    for sent, message in REFUSED:
        assert await api.refusal("PUT", path, json={"meta_fields": {"a": 1}, **sent}) == invalid(message), sent
        assert await shown(api, dataset_id, document["id"]) == before, sent


@pytest.mark.promise("2.2-atomic")
@pytest.mark.parametrize("last", [{"chunk_method": "nope"}, {"chunk_method": "qa", "enabled": 2}])
async def test_nothing_is_stored_when_the_last_check_fails(
    world: World, api: Api, dataset_id: str, last: dict[str, Any]
) -> None:
    [document] = await parsed(world, api, dataset_id, ("a.txt", TEXT))
    sent = {"meta_fields": {"a": 1}, "name": "new.txt", "parser_config": {"x": 1}, **last}

    assert (await api.refusal("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json=sent))[0] == 400
    assert await shown(api, dataset_id, document["id"]) == document
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.2-name-bytes", "2.2-name-extension", "2.2-name-duplicate", "2.2-method-known")
async def test_what_can_be_stored_is(api: Api, dataset_id: str) -> None:
    """The other side of the bounds: 255 bytes, an extension in capitals, a name that is taken elsewhere."""
    other = await make_dataset(api)
    await upload(api, other["id"], ("taken.txt", TEXT))
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    for name in ("日" * 83 + "ab.txt", "A.TXT", "taken.txt", "taken.txt", "a.tar.txt"):
        assert (await api.ok("PUT", path, json={"name": name}))["name"] == name
    assert (await shown(api, dataset_id, document["id"]))["suffix"] == "txt"
    for method in METHODS.split():
        changed = await api.ok("PUT", path, json={"chunk_method": method})
        assert (changed["chunk_method"], changed["run"]) == (method, "UNSTART")


@pytest.mark.promise("2.2-meta-fields-replace", "2.2-answers-document", "2.2-unknown-keys", "2.2-patch")
async def test_a_change_answers_with_the_document(api: Api, dataset_id: str) -> None:
    [document] = await upload(api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    await api.ok("PUT", path, json={"meta_fields": {"a": 1, "b": ["x"]}})
    same = {"chunk_count": 0, "token_count": 0, "progress": 0}
    changed = await api.ok("PATCH", path, json={"meta_fields": {"c": "é"}, "odd": 1, "id": "x", "run": "1", **same})

    assert changed["meta_fields"] == {"c": "é"}
    listed = await shown(api, dataset_id, document["id"])
    assert {**changed, "title": None} == listed
    assert (changed["id"], changed["run"], changed["name"]) == (document["id"], "UNSTART", "a.txt")
    assert await api.ok("PUT", path, json={}) == changed
    assert (await api.ok("PUT", path, json={"meta_fields": {}}))["meta_fields"] == {}


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

    for method in ("naive", document["chunk_method"]):
        assert await api.refusal("PUT", path, json={"chunk_method": method}) == invalid("Not supported yet!")
    told = await api.refusal("PUT", path, json={"chunk_method": "odd", "enabled": 2})
    assert told == invalid("`chunk_method` odd doesn't exist")
    assert (await shown(api, dataset_id, document["id"]))["chunk_method"] == document["chunk_method"]
    assert (await api.ok("PUT", path, json={"meta_fields": {"a": 1}}))["meta_fields"] == {"a": 1}


@pytest.mark.promise("2.2-method-change", "2.2-method-same-keeps")
async def test_another_method_drops_what_the_old_one_made(world: World, api: Api, dataset_id: str) -> None:
    [document] = await parsed(world, api, dataset_id, ("a.txt", TEXT))
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    counted = {name: document[name] for name in ("chunk_count", "token_count", "progress")}
    assert all(counted.values())
    same = await api.ok("PUT", path, json={"chunk_method": "naive", **counted})
    assert {**same, "title": None, "update_time": 0, "update_date": 0} == {
        **document, "update_time": 0, "update_date": 0,
    }  # fmt: skip
    await assert_exact_counters(world, api)

    changed = await api.ok("PUT", path, json={"chunk_method": "qa"})

    assert (changed["run"], changed["progress"], changed["progress_msg"], changed["chunk_count"]) == (
        "UNSTART",
        0,
        "",
        0,
    )
    assert (changed["chunk_method"], changed["token_count"]) == ("qa", 0)
    before: dict[str, Any] = document["parser_config"]
    assert changed["parser_config"] == {
        **before,
        "raptor": {**before["raptor"], "use_raptor": False},
        "graphrag": {**before["graphrag"], "use_graphrag": False},
    }
    assert await world.rows(api, "SELECT 1 FROM chunks") == []
    await assert_exact_counters(world, api)
    sent = {"chunk_method": "knowledge_graph", "parser_config": {"only": 1}}
    merged = await api.ok("PUT", path, json=sent)
    assert merged["parser_config"] == {**changed["parser_config"], "only": 1}
    await api.ok("PUT", path, json={"chunk_method": "one"})
    empties: list[dict[str, Any] | None] = [{}, None]
    for empty in empties:
        kept = await api.ok("PUT", path, json={"chunk_method": "knowledge_graph", "parser_config": empty})
        await api.ok("PUT", path, json={"chunk_method": "one", "parser_config": {"chunk_token_num": 1}})
        assert kept["parser_config"] == {
            **merged["parser_config"],
            "chunk_token_num": 8192,
            "delimiter": "\\n",
            "entity_types": ["organization", "person", "location", "event", "time"],
        }


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
    files = [("a.txt", TEXT), ("b.txt", b"Basalt is an igneous rock.")]
    document, other = await parsed(world, api, dataset_id, *files)
    await add_chunk(world, api, dataset_id, document["id"], "Granite once more.")
    path = f"/datasets/{dataset_id}/documents/{document['id']}"

    async def available() -> dict[str, list[bool]]:
        states: dict[str, list[bool]] = {}
        for row in await world.rows(api, "SELECT document_id, is_available FROM chunks"):
            states.setdefault(row.document_id, []).append(row.is_available)
        return states

    changed = await api.ok("PUT", path, json={"enabled": off})

    assert (changed["id"], changed["status"]) == (document["id"], "0")
    assert {**changed, "title": None} == await shown(api, dataset_id, document["id"])
    assert await found(api, dataset_id, "granite") == []
    assert await found(api, dataset_id, "basalt") == [other["id"]]
    assert await available() == {document["id"]: [False, False], other["id"]: [True]}
    assert (await shown(api, dataset_id, other["id"]))["status"] == "1"
    assert (await api.ok("PUT", path, json={"enabled": on}))["status"] == "1"
    assert set(await found(api, dataset_id, "granite")) == {document["id"]}
    assert await available() == {document["id"]: [True, True], other["id"]: [True]}
