"""Metadata of documents: counted, changed together, filtered by (knowledge.md 2.9)."""

import json
from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, make_dataset, parsed, upload

FIELDS: list[dict[str, Any]] = [
    {
        "author": "Toby", "tags": ["a", "b", "a"], "year": 2020, "empty": "", "zero": 0, "no": False, "yes": True,
        "holes": ["", "x", 0, 1.5], "hollow": [""],
    },
    {"author": "Toby", "tags": ["b"], "lang": "en"},
    {"author": "Ann", "lang": "de"},
    {},
]  # fmt: skip


@pytest.fixture
async def dataset_id(api: Api) -> str:
    made: str = (await make_dataset(api))["id"]
    return made


@pytest.fixture
async def ids(api: Api, dataset_id: str) -> list[str]:
    """Documents with the metadata of `FIELDS`."""
    documents = await upload(api, dataset_id, *[(f"{number}.txt", b"x") for number in range(len(FIELDS))])
    for document, fields in zip(documents, FIELDS, strict=True):
        await api.ok("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"meta_fields": fields})
    return [document["id"] for document in documents]


async def fields_of(world: World, api: Api, ids: list[str]) -> list[dict[str, Any]]:
    rows = {row.id: row.meta_fields for row in await world.rows(api, "SELECT id, meta_fields FROM documents")}
    return [rows[each] for each in ids]


@pytest.mark.promise("2.9-summary", "2.9-summary-doc-ids")
async def test_the_summary_counts_values_most_frequent_first(api: Api, dataset_id: str, ids: list[str]) -> None:
    path = f"/datasets/{dataset_id}/metadata/summary"

    assert await api.ok("GET", path) == {
        "summary": {
            "author": [["Toby", 2], ["Ann", 1]],
            "holes": [["1.5", 1], ["x", 1]],
            "lang": [["de", 1], ["en", 1]],
            "tags": [["a", 2], ["b", 2]],
            "year": [["2020", 1]],
            "yes": [["True", 1]],
        }
    }
    some = await api.ok("GET", path, params={"doc_ids": f"{ids[1]},{ids[2]}"})
    assert some == {
        "summary": {"author": [["Ann", 1], ["Toby", 1]], "lang": [["de", 1], ["en", 1]], "tags": [["b", 1]]}
    }
    hundred = [ids[2], *(f"x{number}" for number in range(99))]
    assert await api.ok("GET", path, params={"doc_ids": ",".join(hundred)}) == {
        "summary": {"author": [["Ann", 1]], "lang": [["de", 1]]}
    }
    assert (await api.refusal("GET", path, params={"doc_ids": ",".join([*hundred, "y"])}))[0] == 400


@pytest.mark.parametrize(
    ("sent", "answer", "changed"),
    [
        (
            {"updates": [{"key": "author", "value": "X"}]},
            (3, 4),
            {0: {"author": "X"}, 1: {"author": "X"}, 2: {"author": "X"}},
        ),
        (
            {"updates": [{"key": "author", "match": "Toby", "value": "T"}]},
            (2, 4),
            {0: {"author": "T"}, 1: {"author": "T"}},
        ),
        (
            {"selector": {}, "updates": [{"key": "lang", "value": "X"}]},
            (2, 4),
            {1: {"lang": "X"}, 2: {"lang": "X"}},
        ),
        ({"updates": [{"key": "tags", "match": "a", "value": "b"}]}, (1, 4), {0: {"tags": ["b"]}}),
        (
            {"updates": [{"key": "tags", "match": "b", "value": "c"}]},
            (2, 4),
            {0: {"tags": ["a", "c"]}, 1: {"tags": ["c"]}},
        ),
        ({"updates": [{"key": "year", "match": "2020", "value": 2021}]}, (1, 4), {0: {"year": 2021}}),
        ({"updates": [{"key": "nobody", "value": 1}]}, (0, 4), {}),
        ({"deletes": [{"key": "tags", "value": "b"}]}, (2, 4), {0: {"tags": ["a", "a"]}, 1: {"tags": None}}),
        ({"deletes": [{"key": "lang"}]}, (2, 4), {1: {"lang": None}, 2: {"lang": None}}),
        ({"deletes": [{"key": "author", "value": "Ann"}]}, (1, 4), {2: {"author": None}}),
        (
            {
                "updates": [{"key": "author", "match": "Ann", "value": "Bea"}, {"key": "lang", "value": "X"}],
                "deletes": [{"key": "tags"}, {"key": "lang", "value": "Y"}],
            },
            (3, 4),
            {0: {"tags": None}, 1: {"lang": "X", "tags": None}, 2: {"author": "Bea", "lang": "X"}},
        ),
        (
            {
                "selector": {
                    "metadata_condition": {
                        "logic": "and",
                        "conditions": [{"name": "lang", "comparison_operator": "=", "value": "en"}],
                    }
                },
                "updates": [{"key": "author", "value": "X"}],
            },
            (1, 1),
            {1: {"author": "X"}},
        ),
    ],
)
@pytest.mark.promise("2.9-update-replace", "2.9-update-match", "2.9-deletes", "2.9-empty-selector", "2.9-condition")
async def test_a_batch_update_changes_what_is_there(
    world: World,
    api: Api,
    dataset_id: str,
    ids: list[str],
    sent: dict[str, Any],
    answer: tuple[int, int],
    changed: dict[int, dict[str, Any]],
) -> None:
    done = await api.ok("POST", f"/datasets/{dataset_id}/metadata/update", json=sent)

    assert (done["updated"], done["matched_docs"]) == answer
    expected = [
        {key: value for key, value in {**fields, **changed.get(number, {})}.items() if value is not None}
        for number, fields in enumerate(FIELDS)
    ]
    assert await fields_of(world, api, ids) == expected


@pytest.mark.promise("2.9-by-ids", "2.9-patch-alias")
async def test_ids_select_documents(world: World, api: Api, dataset_id: str, ids: list[str]) -> None:
    sent = {"selector": {"document_ids": ids[:1]}, "updates": [{"key": "author", "value": "X"}]}

    done = await api.ok("PATCH", f"/datasets/{dataset_id}/documents/metadatas", json=sent)

    assert done == {"updated": 1, "matched_docs": 1}
    assert [each.get("author") for each in await fields_of(world, api, ids)] == ["X", "Toby", "Ann", None]
    condition = {"conditions": [{"name": "lang", "comparison_operator": "not empty"}]}  # the second and the third
    both = {"selector": {"document_ids": ids[:2], "metadata_condition": condition}, "deletes": [{"key": "author"}]}
    done = await api.ok("POST", f"/datasets/{dataset_id}/metadata/update", json=both)
    assert done == {"updated": 1, "matched_docs": 1}
    assert [each.get("author") for each in await fields_of(world, api, ids)] == ["X", None, "Ann", None]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"selector": "x"}, "selector must be an object."),
        ({"updates": {}, "deletes": "x"}, "updates and deletes must be lists."),
        ({"updates": "x"}, "updates and deletes must be lists."),
        ({"selector": {"metadata_condition": "x"}}, "metadata_condition must be an object."),
        ({"selector": {"document_ids": "x"}}, "document_ids must be a list."),
        ({"updates": [{"key": "a"}]}, "Each update requires key and value."),
        ({"updates": [7]}, "Each update requires key and value."),
        ({"updates": [{"value": 1}]}, "Each update requires key and value."),
        ({"deletes": [{"value": 1}]}, "Each delete requires key."),
    ],
)
@pytest.mark.promise("2.9-errors")
async def test_odd_updates_are_told_what_is_wrong(
    api: Api, dataset_id: str, sent: dict[str, Any], message: str
) -> None:
    assert await api.refusal("POST", f"/datasets/{dataset_id}/metadata/update", json=sent) == invalid(message)


@pytest.mark.promise("2.9-foreign-ids")
async def test_documents_of_others_are_told_and_nothing_changes(
    world: World, api: Api, rival: Api, dataset_id: str, ids: list[str]
) -> None:
    sent = {"selector": {"document_ids": [ids[0], "x", "y"]}, "deletes": [{"key": "author"}]}
    path = f"/datasets/{dataset_id}/metadata/update"

    assert await api.refusal("POST", path, json=sent) == missing(
        f"These documents do not belong to dataset {dataset_id}: x, y"
    )
    assert await rival.refusal("POST", path, json={}) == missing(f"You don't own the dataset {dataset_id}.")
    assert (await rival.refusal("GET", f"/datasets/{dataset_id}/metadata/summary"))[0] == 404
    assert await fields_of(world, api, ids) == FIELDS


@pytest.mark.promise("2.4-metadata-condition")
async def test_lists_are_filtered_by_metadata(api: Api, dataset_id: str, ids: list[str]) -> None:
    path = f"/datasets/{dataset_id}/documents"

    async def listed(condition: Any) -> Any:
        return await api.ok("GET", path, params={"metadata_condition": json.dumps(condition), "desc": "false"})

    english = {"conditions": [{"name": "lang", "comparison_operator": "is", "value": "en"}]}
    found = await listed(english)
    assert (found["total"], [each["id"] for each in found["docs"]]) == (1, [ids[1]])
    assert (await listed({}))["total"] == 4
    nobody = {"conditions": [{"name": "lang", "comparison_operator": "=", "value": "fr"}]}
    assert await listed(nobody) == {"total": 0, "docs": []}
    assert await api.refusal("GET", path, params={"metadata_condition": "{"}) == invalid(
        "metadata_condition must be valid JSON."
    )
    assert await api.refusal("GET", path, params={"metadata_condition": "[1]"}) == invalid(
        "metadata_condition must be an object."
    )


@pytest.mark.promise("2.9-batch-status")
async def test_many_documents_are_switched_at_once_or_none(world: World, api: Api, dataset_id: str) -> None:
    documents = await parsed(world, api, dataset_id, ("a.txt", b"one"), ("b.txt", b"two"), ("c.txt", b"three"))
    first, second, third = (document["id"] for document in documents)
    path = f"/datasets/{dataset_id}/documents/batch-update-status"

    assert (await api.refusal("POST", path, json={"doc_ids": [first, "x"], "status": "0"}))[0] == 404
    assert (await api.refusal("POST", path, json={"doc_ids": [first], "status": "2"}))[0] == 400
    assert (await api.refusal("POST", path, json={"doc_ids": "x", "status": "1"}))[0] == 400
    assert {row.is_enabled for row in await world.rows(api, "SELECT is_enabled FROM documents")} == {True}
    done = await api.ok("POST", path, json={"doc_ids": [first, second, first], "status": "0"})

    assert done == {first: {"status": "0"}, second: {"status": "0"}}
    assert await enabled(world, api) == {first: (False, False), second: (False, False), third: (True, True)}
    assert await api.ok("POST", path, json={"doc_ids": [second], "status": "1"}) == {second: {"status": "1"}}
    assert await enabled(world, api) == {first: (False, False), second: (True, True), third: (True, True)}


async def enabled(world: World, api: Api) -> dict[str, tuple[bool, bool]]:
    """Whether each document is switched on, and whether its one chunk is."""
    rows = await world.rows(
        api, "SELECT d.id, d.is_enabled, c.is_available FROM documents d JOIN chunks c ON c.document_id = d.id"
    )
    return {row.id: (row.is_enabled, row.is_available) for row in rows}
