"""The filter that an assistant keeps on the metadata of its documents (conversations.md 10.6)."""

from typing import Any

import orjson
import pytest

from app.domain.errors import Invalid, UpstreamFailed
from app.domain.ids import DatasetId, DocumentId
from app.domain.retrieval import SearchRequest
from app.retrieval.document_filter import read_document_filter
from app.retrieval.service import Retriever
from tests.chats.world import Api
from tests.knowledge.searching import helped_by
from tests.knowledge.world import World, api, make_dataset, parsed, world

__all__ = ["api", "world"]  # fixtures, found by name

FIELDS: tuple[dict[str, Any], ...] = (
    {"author": "Toby", "year": 2020, "tags": ["red", "green"]},
    {"author": "Ann", "year": "2024-05-01", "note": ""},
    {},
)

Library = tuple[str, list[str]]


@pytest.fixture
async def library(world: World, api: Api) -> Library:
    """Three documents with the same words; the last has no metadata."""
    dataset = await make_dataset(api)
    documents = await parsed(
        world, api, dataset["id"], *((name, b"the same words") for name in ("a.txt", "b.txt", "c.txt"))
    )
    for document, fields in zip(documents, FIELDS, strict=True):
        await world.rows(
            api,
            "UPDATE documents SET meta_fields = CAST(:fields AS jsonb) WHERE id = :id RETURNING 1",
            id=document["id"],
            fields=orjson.dumps(fields).decode(),
        )
    return dataset["id"], [document["id"] for document in documents]


async def found(
    world: World, api: Api, library: Library, kept: dict[str, Any], *, documents: tuple[int, ...] = (), **more: Any
) -> tuple[list[str], list[str]]:
    """Return which of the three documents are found, as `abc`, and what models were asked for."""
    dataset_id, ids = library
    request = SearchRequest(
        question="same words",
        dataset_ids=(DatasetId(dataset_id),),
        document_ids=tuple(DocumentId(ids[each]) for each in documents),
        meta_data_filter=kept,
        similarity_threshold=0.0,
        **more,
    )
    retriever: Retriever = world.app.state.retriever
    result = await retriever.search(api.tenant_id, request)
    letters = dict(zip(ids, "abc", strict=True))
    hits = sorted(letters[hit.reference.document_id] for hit in result.hits)
    return hits, [call.purpose for call in result.calls]


def manual(key: str, op: str, value: Any = "", **more: Any) -> dict[str, Any]:
    return {"method": "manual", "manual": [{"key": key, "op": op, "value": value}], **more}


ANN, TOBY = manual("author", "=", "Ann")["manual"], manual("author", "=", "Toby")["manual"]
IN_2020 = manual("year", "=", "2020")["manual"]


@pytest.mark.promise(
    "conversations:10.6-operators", "conversations:10.6-unknown-key", "conversations:10.6-manual-nothing"
)
async def test_conditions_of_every_operator(world: World, api: Api, library: Library) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (manual("author", "=", "toby"), "a"),
        (manual("author", "≠", "TOBY"), "b"),
        (manual("author", "contains", "OB"), "a"),
        (manual("author", "not contains", "ob"), "b"),
        (manual("author", "start with", "an"), "b"),
        (manual("author", "end with", "Y"), "a"),
        (manual("note", "empty"), "b"),
        (manual("author", "not empty"), "ab"),
        (manual("year", ">", "2020"), "b"),
        (manual("year", ">", "300"), "a"),  # 2020 as a number, 2024-05-01 as text
        (manual("year", "<", 300), "b"),
        (manual("year", "≥", 2020), "ab"),
        (manual("year", "<", "2021"), "a"),
        (manual("year", "≤", "2024-05-01"), "ab"),
        (manual("author", "in", "Ann,Bo"), "b"),
        (manual("author", "not in", ["Ann"]), "a"),
        (manual("nobody", "=", "x"), ""),
        (manual("nobody", "≠", "x"), ""),
        (manual("nobody", "not contains", "x"), ""),
        (manual("nobody", "empty"), ""),
        (manual("author", "=", "nobody"), ""),
        ({"method": "manual", "logic": "or", "manual": [*ANN, *IN_2020]}, "ab"),
        ({"method": "manual", "logic": "and", "manual": [*ANN, *IN_2020]}, ""),
        ({"method": "manual", "manual": [*ANN, *IN_2020]}, ""),
        ({"method": "manual", "logic": "and", "manual": [*TOBY, *IN_2020]}, "a"),
        ({}, "abc"),
        ({"method": "disabled", "manual": manual("author", "=", "x")["manual"]}, "abc"),
        ({"method": "manual", "manual": []}, "abc"),
    ]  # fmt: skip
    for kept, letters in cases:
        assert (await found(world, api, library, kept))[0] == list(letters), kept


@pytest.mark.promise("conversations:10.6-intersection", "conversations:10.6-words")
async def test_filter_condition_and_documents_must_all_be_met(world: World, api: Api, library: Library) -> None:
    kept = manual("author", "not empty")
    assert (await found(world, api, library, kept, documents=(1, 2)))[0] == ["b"]
    toby = manual("author", "=", "Toby")
    sent = {"conditions": [{"name": "author", "comparison_operator": "is", "value": "Toby"}]}
    both = {"conditions": [{"name": "year", "comparison_operator": ">=", "value": 2020}]}
    assert (await found(world, api, library, kept, metadata_condition=sent))[0] == ["a"]
    assert (await found(world, api, library, toby, metadata_condition=both))[0] == ["a"]
    assert (await found(world, api, library, {}, metadata_condition=sent, documents=(1, 2)))[0] == []
    assert (await found(world, api, library, {}, metadata_condition=both, documents=(1, 2)))[0] == ["b"]
    assert (await found(world, api, library, toby, documents=(1,)))[0] == []
    assert (await found(world, api, library, kept, metadata_condition=both, documents=(1, 2)))[0] == ["b"]
    for word, letters in (("is", "a"), ("not is", "b"), ("!=", "b"), ("=", "a")):
        worded = {"conditions": [{"name": "author", "comparison_operator": word, "value": "Toby"}]}
        assert (await found(world, api, library, {}, metadata_condition=worded))[0] == [letters], word


AUTO: dict[str, Any] = {"method": "auto"}


def conditions(*wanted: tuple[str, str, Any]) -> str:
    listed = [{"name": name, "comparison_operator": operator, "value": value} for name, operator, value in wanted]
    return "Sure: " + orjson.dumps({"logic": "and", "conditions": listed}).decode()


@pytest.mark.promise("conversations:10.6-auto", "conversations:10.6-semi-auto")
async def test_a_model_writes_the_conditions_from_known_keys_and_values(
    world: World, api: Api, library: Library
) -> None:
    model = helped_by(world, conditions(("author", "=", "Ann"), ("invented", "=", "x")))
    assert await found(world, api, library, AUTO) == (["b"], ["metadata", "query"])
    prompt = model.calls[0].messages[0].content
    assert "author: Toby | Ann" in prompt
    assert "tags: red | green" in prompt
    assert "same words" in prompt

    model = helped_by(world, conditions(("author", "=", "Ann"), ("year", ">", "2020")))
    semi = {"method": "semi_auto", "semi_auto": [{"key": "year", "op": "="}]}
    assert (await found(world, api, library, semi))[0] == ["a"]
    prompt = model.calls[0].messages[0].content
    assert "year (operator = only): 2020 | 2024-05-01" in prompt
    assert "author" not in prompt

    helped_by(world, conditions(("year", "=", "2020")))
    assert (await found(world, api, library, {"method": "semi_auto", "semi_auto": ["year"]}))[0] == ["a"]


@pytest.mark.promise("conversations:10.6-auto-nothing", "conversations:10-helper-falls-back")
@pytest.mark.parametrize(
    "said",
    [
        conditions(("author", "=", "Nobody")),
        '{"conditions": []}',
        "I would rather not.",
        "[]",
        conditions(("author", "~", "Ann")),
        UpstreamFailed("away"),
    ],
)
async def test_a_filter_that_a_model_wrote_and_nothing_meets_is_dropped(
    world: World, api: Api, library: Library, said: str | Exception
) -> None:
    helped_by(world, said)
    assert (await found(world, api, library, AUTO))[0] == ["a", "b", "c"]
    assert (await found(world, api, library, AUTO, documents=(2,)))[0] == ["c"]


@pytest.mark.promise("conversations:10.6-shape")
def test_a_filter_of_another_shape_is_refused() -> None:
    for kept in ({"method": "sometimes"}, manual("a", "~"), {"method": "manual", "manual": "x"}, manual("a", "=", {})):
        with pytest.raises(Invalid):
            read_document_filter(kept)
