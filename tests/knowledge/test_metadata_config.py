"""Which metadata documents are to have, and a model that reads it out of them (knowledge.md 2.9, 5.13)."""

import json
from typing import Any

import pytest

from app.ingest.metadata_fields import MetadataField, read_values, wanted_fields
from tests.chats.world import Api, missing
from tests.knowledge.speaking import Speaker, fenced, talker, world
from tests.knowledge.world import World, api, make_dataset, parse, rival, shown, upload

__all__ = ["api", "rival", "talker", "world"]

FIELDS: list[dict[str, Any]] = [
    {"key": "author", "type": "string", "description": "Who wrote it."},
    {"key": "topics", "type": "list"},
    {"key": "year", "type": "number"},
    {"key": "signed", "type": "time"},
    {"key": "kind", "type": "string", "enum": ["Letter", "Invoice"]},
]


FIELD = {"key": "a", "type": "string"}
BAD: list[Any] = [
    {}, [], {"metadata": None}, {"metadata": {}}, {"metadata": ["a"]}, {"metadata": [{}]},
    {"metadata": [{"key": 1}]}, {"metadata": [{"key": " "}]}, {"metadata": [{"key": "a", "type": "date"}]},
    {"metadata": [{"key": "a", "type": ["list"]}]}, {"metadata": [FIELD, FIELD]},
    {"metadata": [{**FIELD, "enum": "x"}]}, {"metadata": [{**FIELD, "enum": [1]}]},
    {"metadata": [{**FIELD, "description": 1}]}, {"metadata": [{"key": str(n)} for n in range(51)]},
    {"built_in_metadata": [{"key": "other"}]}, {"enable_metadata": "yes"},
    {"metadata": [FIELD], "built_in_metadata": [{"key": "other"}]}, {"metadata": [FIELD, {"key": "b", "type": "x"}]},
]  # fmt: skip


@pytest.mark.promise("2.9-config")
async def test_a_datasets_fields_are_stored_and_copied_to_new_documents(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    path = f"/datasets/{dataset_id}/metadata/config"
    [before] = await upload(api, dataset_id, ("a.txt", b"x"))
    assert await api.ok("GET", path) == {"metadata": [], "built_in_metadata": [], "enable_metadata": False}

    wanted = {"metadata": FIELDS, "built_in_metadata": [{"key": "file_name", "type": "string"}]}
    assert await api.ok("PUT", path, json=wanted) == {**wanted, "enable_metadata": True}
    [after] = await upload(api, dataset_id, ("b.txt", b"x"))

    assert await api.ok("GET", path) == {**wanted, "enable_metadata": True}
    assert after["parser_config"]["metadata"] == FIELDS
    assert "metadata" not in (await shown(api, dataset_id, before["id"]))["parser_config"]
    kept = (await api.ok("GET", f"/datasets/{dataset_id}"))["parser_config"]
    assert kept["chunk_token_num"] == 512
    switched = await api.ok("PUT", path, json={"enable_metadata": False})
    assert switched == {**wanted, "enable_metadata": False}


@pytest.mark.promise("2.9-config-document")
async def test_a_documents_fields_are_its_own(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    first, second = await upload(api, dataset_id, ("a.txt", b"x"), ("b.txt", b"x"))
    path = f"/datasets/{dataset_id}/documents/{first['id']}/metadata/config"

    changed = await api.ok("PUT", path, json={"metadata": FIELDS[:1]})

    assert changed["id"] == first["id"]
    assert changed["parser_config"] == {**first["parser_config"], "metadata": FIELDS[:1], "enable_metadata": True}
    assert (await shown(api, dataset_id, first["id"]))["parser_config"] == changed["parser_config"]
    assert "metadata" not in (await shown(api, dataset_id, second["id"]))["parser_config"]
    assert (await api.ok("GET", f"/datasets/{dataset_id}/metadata/config"))["metadata"] == []


@pytest.mark.promise("2.9-config-shape")
async def test_fields_of_another_shape_are_refused(world: World, api: Api, rival: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [document] = await upload(api, dataset_id, ("a.txt", b"x"))
    paths = (
        f"/datasets/{dataset_id}/metadata/config",
        f"/datasets/{dataset_id}/documents/{document['id']}/metadata/config",
    )
    for path in paths:
        for sent in BAD:
            assert (await api.refusal("PUT", path, json=sent))[0] == 400, sent
        assert (await rival.refusal("PUT", path, json={"metadata": [FIELD]}))[0] == 404
    assert (await rival.refusal("GET", paths[0]))[0] == 404
    assert await api.refusal("PUT", f"/datasets/{dataset_id}/documents/x/metadata/config", json={"metadata": []}) == (
        missing("The dataset doesn't own the document x.")
    )
    assert await api.ok("GET", paths[0]) == {"metadata": [], "built_in_metadata": [], "enable_metadata": False}
    assert (await shown(api, dataset_id, document["id"]))["parser_config"] == document["parser_config"]


@pytest.mark.promise("5.13-metadata")
async def test_a_model_reads_the_fields_when_a_document_is_parsed(world: World, api: Api, talker: Speaker) -> None:
    told = {
        "author": "Ann",
        "topics": ["rock", "rock", "stone"],
        "year": "1,987",
        "signed": "2024-05-01",
        "kind": "letter",
    }
    talker.answer = lambda prompt: (
        f"Here it is:\n```json\n{json.dumps(told)}\n```" if "granite" in fenced(prompt) else "no"
    )
    dataset_id = (await make_dataset(api))["id"]
    await api.ok(
        "PUT",
        f"/datasets/{dataset_id}/metadata/config",
        json={"metadata": FIELDS, "built_in_metadata": [{"key": "file_name"}]},
    )
    first, second = await upload(api, dataset_id, ("a.txt", b"about granite"), ("b.txt", b"about cats"))
    await api.ok("PUT", f"/datasets/{dataset_id}/documents/{first['id']}", json={"meta_fields": {"author": "Toby"}})
    await parse(api, dataset_id, first["id"], second["id"])
    await world.work()

    document = await shown(api, dataset_id, first["id"])
    assert document["run"] == "DONE", document["progress_msg"]
    assert document["meta_fields"] == {
        "author": "Toby", "topics": ["rock", "stone"], "year": 1987, "signed": "2024-05-01", "kind": "Letter",
        "file_name": "a.txt",
    }  # fmt: skip
    assert (await shown(api, dataset_id, second["id"]))["meta_fields"] == {"file_name": "b.txt"}
    assert len(talker.asked) == 2
    assert "- author (string): Who wrote it." in talker.asked[0]
    [row] = await world.rows(api, "SELECT count(*) AS n FROM usage_ledger WHERE purpose = 'metadata'")
    assert row.n == 2
    found = await api.ok("GET", f"/datasets/{dataset_id}/metadata/summary")
    assert found["summary"]["kind"] == [["Letter", 1]]


@pytest.mark.promise("5.13-metadata-values")
@pytest.mark.parametrize(
    ("kind", "choices", "said", "value"),
    [
        ("string", (), "  two\nwords ", "two words"), ("string", (), 7, "7"), ("string", (), ["a", "b"], "a, b"),
        ("string", (), True, None), ("string", (), None, None), ("string", (), {"a": 1}, None),
        ("string", (), "", None),
        ("string", ("A", "B"), "b", "B"), ("string", ("A", "B"), "c", None),
        ("list", (), "one", ["one"]), ("list", (), ["x", "", None, "x"], ["x"]), ("list", ("A",), ["a", "b"], ["A"]),
        ("list", (), [], None), ("number", (), "12", 12), ("number", (), 1.5, 1.5), ("number", (), "12 kg", None),
        ("number", (), True, None), ("number", (), "1e999", None), ("number", (), float("9" * 30), None),
        ("time", (), "2024-05-01 10:00:00", "2024-05-01 10:00:00"), ("time", (), "yesterday", None),
    ],
)  # fmt: skip
def test_values_are_those_of_their_field(kind: str, choices: tuple[str, ...], said: Any, value: Any) -> None:
    field = MetadataField(key="k", kind=kind, choices=choices)
    assert read_values(json.dumps({"k": said, "other": 1}), [field]).get("k") == value


@pytest.mark.promise("5.13-metadata-values")
def test_no_config_and_no_answer_breaks_the_reader() -> None:
    field = MetadataField(key="k")
    for answer in ("", "none", "[]", "[1]", '{"k": ', "{}", '"k"'):
        assert read_values(answer, [field]) == {}
    odd: list[Any] = [None, {}, "x", [None, 1, {}, {"key": 1}, {"key": ""}]]
    for held in odd:
        assert wanted_fields({"enable_metadata": True, "metadata": held}) == []
    assert wanted_fields({"metadata": [{"key": "a"}]}) == []
    assert wanted_fields({"enable_metadata": True, "metadata": [{"key": "a", "type": 1, "enum": [1, "b"]}]}) == [
        MetadataField(key="a", choices=("b",))
    ]
