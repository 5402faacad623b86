"""Conditions on metadata in a search (knowledge.md 4.1, 4.6)."""

from typing import Any

import orjson
import pytest

from tests.chats.world import Api
from tests.knowledge.searching import EARLY_EXIT, refused, search
from tests.knowledge.world import World, make_dataset, parsed


def condition(operator: str, value: Any, name: str = "author") -> dict[str, Any]:
    return {"conditions": [{"name": name, "comparison_operator": operator, "value": value}]}


@pytest.fixture
async def library(world: World, api: Api) -> tuple[str, list[str]]:
    """Three documents with the same words; the last has no metadata."""
    dataset = await make_dataset(api)
    names = ("a.txt", "b.txt", "c.txt")
    documents = await parsed(world, api, dataset["id"], *((name, b"the same words") for name in names))
    for document, fields in zip(
        documents,
        ({"author": "Toby", "year": 2020, "tags": ["red", "green"]}, {"author": "Ann", "year": "2024-05-01"}, {}),
        strict=True,
    ):
        await world.rows(
            api,
            "UPDATE documents SET meta_fields = CAST(:fields AS jsonb) WHERE id = :id RETURNING 1",
            id=document["id"],
            fields=orjson.dumps(fields).decode(),
        )
    return dataset["id"], [document["id"] for document in documents]


async def names_of(api: Api, dataset_id: str, sent: Any, **more: Any) -> list[str]:
    found = await search(api, dataset_id, question="same words", metadata_condition=sent, **more)
    assert found["total"] == len(found["chunks"])
    return sorted(chunk["document_keyword"] for chunk in found["chunks"])


@pytest.mark.promise("4.6-search", "4.6-missing-key")
@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (condition("is", "toby"), ["a.txt"]),
        (condition("≠", "toby"), ["b.txt"]),  # the third has no author at all
        (condition("≥", "2020", "year"), ["a.txt", "b.txt"]),
        (condition("contains", "OB"), ["a.txt"]),
        (condition("=", "Green", "tags"), ["a.txt"]),
        ({"logic": "or", "conditions": [*condition("=", "Ann")["conditions"], *condition("=", "Toby")["conditions"]]},
         ["a.txt", "b.txt"]),
        (None, ["a.txt", "b.txt", "c.txt"]),
        ({}, ["a.txt", "b.txt", "c.txt"]),
        ({"conditions": []}, ["a.txt", "b.txt", "c.txt"]),
    ],
)  # fmt: skip
async def test_only_documents_that_fit_are_searched(
    api: Api, library: tuple[str, list[str]], sent: Any, names: list[str]
) -> None:
    assert await names_of(api, library[0], sent) == names


@pytest.mark.promise("4.6-no-match", "4.2-early-exit")
@pytest.mark.parametrize(
    "sent", [condition("=", "Nobody"), condition("=", "x", "unknown"), condition("<", 2020, "year")]
)
async def test_what_no_document_fits_finds_nothing(
    world: World, api: Api, library: tuple[str, list[str]], sent: Any
) -> None:
    """And asks no model."""
    before = len(world.embedding.calls)

    assert await search(api, library[0], question="same words", metadata_condition=sent) == EARLY_EXIT
    assert len(world.embedding.calls) == before


@pytest.mark.promise("4.2-early-exit")
async def test_a_search_that_was_made_and_found_nothing_has_a_list(api: Api, library: tuple[str, list[str]]) -> None:
    found = await search(
        api, library[0], question="zebra", metadata_condition=condition("=", "Toby"), similarity_threshold=0.9
    )
    assert found == {"total": 0, "chunks": [], "doc_aggs": []}


@pytest.mark.promise("4.1-metadata-without-documents", "4.1-document-ids")
async def test_named_documents_are_searched_whatever_their_metadata(api: Api, library: tuple[str, list[str]]) -> None:
    dataset_id, ids = library
    assert await names_of(api, dataset_id, condition("=", "Toby"), document_ids=[ids[2]]) == ["c.txt"]
    assert await names_of(api, dataset_id, None, document_ids=[ids[2], ids[0], ids[2]]) == ["a.txt", "c.txt"]


@pytest.mark.promise("4.6-bad-shape")
async def test_what_is_no_condition_is_refused(api: Api, library: tuple[str, list[str]]) -> None:
    for sent in ({"conditions": "x"}, {"conditions": [7]}, condition("~", 1), {**condition("=", 1), "logic": "xor"}):
        status, code, message = await refused(api, library[0], metadata_condition=sent)
        assert (status, code) == (400, 102)
        assert message


@pytest.mark.promise("4.5-unavailable")
async def test_disabled_documents_stay_out_however_they_are_asked_for(
    world: World, api: Api, library: tuple[str, list[str]]
) -> None:
    dataset_id, ids = library
    await world.rows(api, "UPDATE documents SET is_enabled = false WHERE id = :id RETURNING 1", id=ids[0])
    await world.rows(api, "UPDATE chunks SET is_available = false WHERE document_id = :id RETURNING 1", id=ids[1])

    assert await names_of(api, dataset_id, None) == ["c.txt"]
    assert await names_of(api, dataset_id, None, document_ids=ids[:2]) == []
    assert await names_of(api, dataset_id, condition("not empty", None)) == []
