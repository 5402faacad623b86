"""Parser configs of datasets: defaults, bounds, types, how they are merged (knowledge.md 1.1, 1.3, 1.5)."""

from typing import Any

import pytest

from app.ingest.parser_config import RAPTOR_PROMPT
from tests.chats.world import Api
from tests.knowledge.world import World, assert_exact_counters, make_dataset, upload

TYPES = ["organization", "person", "geo", "event", "category"]
RAPTOR = {
    "use_raptor": True, "prompt": RAPTOR_PROMPT, "max_token": 256, "threshold": 0.1, "max_cluster": 64,
    "random_seed": 0,
}  # fmt: skip
OFF = {"raptor": {"use_raptor": False}, "graphrag": {"use_graphrag": False}}
DEFAULTS: dict[str, dict[str, Any]] = {
    "naive": {
        "layout_recognize": "DeepDOC", "chunk_token_num": 512, "delimiter": "\n", "auto_keywords": 0,
        "auto_questions": 0, "html4excel": False, "topn_tags": 3, "raptor": RAPTOR,
        "graphrag": {"use_graphrag": True, "entity_types": TYPES, "method": "light"},
    },
    **dict.fromkeys(("qa", "manual", "paper", "book", "laws", "presentation"), OFF),
    "table": {}, "tag": {}, "one": {}, "email": {}, "picture": {},
}  # fmt: skip
"""What is stored of each method when no parser config was sent (knowledge.md 1.3)."""

FILLED: dict[str, Any] = {
    "auto_keywords": 0, "auto_questions": 0, "chunk_token_num": 512, "delimiter": "\\n!", "html4excel": False,
    "layout_recognize": "DeepDOC", "tag_kb_ids": [], "topn_tags": 1, "filename_embd_weight": 0.1,
    "task_page_size": None, "pages": None, "raptor": {**RAPTOR, "use_raptor": False},
    "graphrag": {
        "use_graphrag": False, "entity_types": TYPES, "method": "light", "community": False, "resolution": False,
    },
}  # fmt: skip
"""What fills in a parser config of which something was sent."""


@pytest.mark.promise("1.1-config-size")
async def test_a_config_of_the_most_characters_is_taken(api: Api) -> None:
    delimiter = "é" * (65_535 - len('{"delimiter":""}'))
    assert (await make_dataset(api, parser_config={"delimiter": delimiter}))["parser_config"]["delimiter"] == delimiter


_BOUNDS: list[tuple[str, Any, Any, str]] = [
    ("auto_keywords", (0, 32), (-1, 33), "integer"),
    ("auto_questions", (0, 10), (-1, 11), "integer"),
    ("chunk_token_num", (1, 2048), (0, 2049), "integer"),
    ("topn_tags", (1, 10), (0, 11), "integer"),
    ("filename_embd_weight", (0, 1, 0.5, None), (-0.1, 1.1), "number"),
    ("task_page_size", (1, 10_000, None), (0,), "integer"),
    ("raptor.max_token", (1, 2048), (0, 2049), "integer"),
    ("raptor.threshold", (0, 1, 0.5), (-0.1, 1.1), "number"),
    ("raptor.max_cluster", (1, 1024), (0, 1025), "integer"),
    ("raptor.random_seed", (0, 10**9), (-1,), "integer"),
]


def nested(key: str, value: Any) -> dict[str, Any]:
    outer, _, inner = key.rpartition(".")
    return {outer: {inner: value}} if outer else {inner: value}


@pytest.mark.parametrize(("key", "good", "bad", "kind"), _BOUNDS, ids=[each[0] for each in _BOUNDS])
@pytest.mark.promise("1.3-bounds", "0.4-strict-types", "1.2-texts")
async def test_numbers_of_a_config_have_bounds(api: Api, key: str, good: Any, bad: Any, kind: str) -> None:
    for value in good:
        made = await make_dataset(api, parser_config=nested(key, value))
        stored = made["parser_config"]
        for part in key.split("."):
            stored = stored[part]
        assert stored == value
    for value in bad:
        _, code, message = await api.refusal(
            "POST", "/datasets", json={"name": "a", "parser_config": nested(key, value)}
        )
        assert code == 102
        bound = f"greater than or equal to {good[0]}" if value < good[0] else f"less than or equal to {good[1]}"
        assert message == f"Field: <parser_config.{key}> - Message: <Input should be {bound}> - Value: <{value}>"
    for value in ("1", True):
        sent = {"name": "a", "parser_config": nested(key, value)}
        _, _, message = await api.refusal("POST", "/datasets", json=sent)
        assert f"Input should be a valid {kind}" in message
    if kind == "integer":
        sent = {"name": "a", "parser_config": nested(key, 1.5)}
        assert "Input should be a valid integer" in (await api.refusal("POST", "/datasets", json=sent))[2]


@pytest.mark.parametrize(
    ("config", "field", "message"),
    [
        ({"html4excel": 1}, "html4excel", "Input should be a valid boolean"),
        ({"html4excel": "true"}, "html4excel", "Input should be a valid boolean"),
        ({"delimiter": ""}, "delimiter", "String should have at least 1 character"),
        ({"delimiter": 7}, "delimiter", "Input should be a valid string"),
        ({"layout_recognize": None}, "layout_recognize", "Input should be a valid string"),
        ({"tag_kb_ids": "x"}, "tag_kb_ids", "Input should be a valid list"),
        ({"tag_kb_ids": [1]}, "tag_kb_ids.0", "Input should be a valid string"),
        ({"pages": 1}, "pages", "Input should be a valid list"),
        ({"pages": [1]}, "pages.0", "Input should be a valid list"),
        ({"pages": [[1, "2"]]}, "pages.0.1", "Input should be a valid integer"),
        ({"raptor": {"use_raptor": "x"}}, "raptor.use_raptor", "Input should be a valid boolean"),
        ({"raptor": {"prompt": "  "}}, "raptor.prompt", "String should have at least 1 character"),
        ({"raptor": {"prompt": "no place"}}, "raptor.prompt", "The prompt must hold {cluster_content}"),
        ({"graphrag": {"use_graphrag": 0}}, "graphrag.use_graphrag", "Input should be a valid boolean"),
        ({"graphrag": {"method": "ner"}}, "graphrag.method", "Input should be 'light' or 'general'"),
        ({"graphrag": {"entity_types": "x"}}, "graphrag.entity_types", "Input should be a valid list"),
        ({"graphrag": {"entity_types": [1]}}, "graphrag.entity_types.0", "Input should be a valid string"),
        ({"graphrag": {"community": 1}}, "graphrag.community", "Input should be a valid boolean"),
        ({"graphrag": {"resolution": "no"}}, "graphrag.resolution", "Input should be a valid boolean"),
    ],
)
@pytest.mark.promise("1.3-types", "1.2-texts")
async def test_other_keys_of_a_config_have_types(api: Api, config: dict[str, Any], field: str, message: str) -> None:
    _, code, line = await api.refusal("POST", "/datasets", json={"name": "a", "parser_config": config})

    assert code == 102
    assert line.startswith(f"Field: <parser_config.{field}> - Message: <{message}> - Value: <")


@pytest.mark.promise("1.3-types")
async def test_every_key_of_a_config_is_stored_as_it_was_sent(api: Api) -> None:
    sent: dict[str, Any] = {
        "auto_keywords": 3, "auto_questions": 2, "chunk_token_num": 64, "delimiter": "\n。", "html4excel": True,
        "layout_recognize": "anything at all", "tag_kb_ids": ["a", "b"], "topn_tags": 5, "filename_embd_weight": 0.5,
        "task_page_size": 12, "pages": [[1, 2], [5, 9]],
        "raptor": {
            "use_raptor": True, "prompt": "Sum up {cluster_content}", "max_token": 9, "threshold": 0.5,
            "max_cluster": 7, "random_seed": 3,
        },
        "graphrag": {
            "use_graphrag": True, "entity_types": ["ship"], "method": "general", "community": True, "resolution": True,
        },
    }  # fmt: skip
    spaced = {**sent, "raptor": {**sent["raptor"], "prompt": "\u3000 Sum up {cluster_content}\n"}}

    made = await make_dataset(api, parser_config=spaced)

    assert made["parser_config"] == sent
    assert (await api.ok("GET", f"/datasets/{made['id']}"))["parser_config"] == sent


@pytest.mark.promise("1.1-chunk-method", "1.3-merge-on-create")
async def test_what_is_stored_of_a_config_by_method(api: Api) -> None:
    nothings: tuple[dict[str, Any], ...] = ({}, {"parser_config": None}, {"parser_config": {}})
    assert len(DEFAULTS) == 12
    assert "{cluster_content}" in RAPTOR_PROMPT
    for method, expected in DEFAULTS.items():
        for nothing in nothings:
            made = await make_dataset(api, chunk_method=method, **nothing)
            assert (made["chunk_method"], made["parser_config"]) == (method, expected)
        some = await make_dataset(api, chunk_method=method, parser_config={"raptor": {"max_token": 9}})
        assert some["parser_config"] == {**FILLED, "raptor": {**FILLED["raptor"], "max_token": 9}}
        some = await make_dataset(api, chunk_method=method, parser_config={"auto_keywords": 3})
        assert some["parser_config"] == {**FILLED, "auto_keywords": 3}


@pytest.mark.promise("1.5-config-merge", "1.5-method-replaces-config", "1.5-documents-keep-config")
async def test_a_sent_config_is_laid_over_the_stored_one(world: World, api: Api) -> None:
    made = await make_dataset(api)
    path = f"/datasets/{made['id']}"
    [document] = await upload(api, made["id"], ("a.txt", b"x"))

    merged = await api.ok("PUT", path, json={"chunk_method": "qa", "parser_config": {"raptor": {"max_token": 9}}})
    expected = {**made["parser_config"], "raptor": {**made["parser_config"]["raptor"], "max_token": 9}}
    assert (merged["chunk_method"], merged["parser_config"]) == ("qa", expected)
    assert (await api.ok("PUT", path, json={"parser_config": None}))["parser_config"] == expected
    assert (await api.ok("PUT", path, json={"chunk_method": "qa"}))["parser_config"] == expected
    assert (await api.ok("PUT", path, json={"chunk_method": "table"}))["parser_config"] == {}
    [kept] = (await api.ok("GET", f"{path}/documents", params={"id": document["id"]}))["docs"]
    assert (kept["chunk_method"], kept["parser_config"]) == ("naive", document["parser_config"])
    await assert_exact_counters(world, api)
