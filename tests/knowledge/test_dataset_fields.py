"""Fields of datasets: bounds, defaults, messages, by table (knowledge.md 1.1 to 1.5)."""

import uuid
from dataclasses import replace
from typing import Any

import anyio
import pytest

from app.domain.datasets import free_names
from tests.chats.world import Api, invalid
from tests.knowledge.world import DEFAULT_MODEL, World, make_dataset, parsed, upload

PNG = "data:image/png;base64,"
LARGEST_PNG = PNG + "x" * (65_535 - len(PNG))


def told(field: str, message: str) -> str:
    return f"Field: <{field}> - Message: <{message}"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"name": "\u3000 日本 \n"}, {"name": "日本"}),
        ({"name": "日" * 128}, {"name": "日" * 128}),
        ({"name": "👩‍🚀 / \\ \"'<>"}, {"name": "👩‍🚀 / \\ \"'<>"}),
        ({"avatar": PNG}, {"avatar": PNG}),
        ({"avatar": "data:image/jpeg,x"}, {"avatar": "data:image/jpeg,x"}),
        ({"avatar": PNG + "?? no base64"}, {"avatar": PNG + "?? no base64"}),
        ({"avatar": LARGEST_PNG}, {"avatar": LARGEST_PNG}),
        ({"avatar": None, "description": None}, {"avatar": None, "description": None}),
        ({"description": ""}, {"description": ""}),
        ({"description": " x "}, {"description": " x "}),
        ({"description": "x" * 65_535}, {"description": "x" * 65_535}),
        ({"embedding_model": f"  {DEFAULT_MODEL} "}, {"embedding_model": DEFAULT_MODEL}),
        ({"embedding_model": None}, {"embedding_model": DEFAULT_MODEL}),
        ({"permission": "team"}, {"permission": "team"}),
        ({"permission": "me"}, {"permission": "me"}),
        ({"chunk_method": "table"}, {"chunk_method": "table", "parser_config": {}}),
        ({"parser_config": None}, {}),
    ],
)
@pytest.mark.promise(
    "1.1-name", "1.1-avatar", "1.1-description", "1.1-embedding-model", "1.1-permission", "1.1-chunk-method"
)
async def test_what_the_fields_take(api: Api, sent: dict[str, Any], stored: dict[str, Any]) -> None:
    made = await make_dataset(api, **sent)

    assert {key: made[key] for key in stored} == stored
    changed = await api.ok("PUT", f"/datasets/{made['id']}", json=sent)
    assert {key: changed[key] for key in stored} == stored


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ({"name": "x" * 129}, told("name", "String should have at most 128 characters")),
        ({"name": None}, told("name", "Input should be a valid string")),
        ({"avatar": ""}, told("avatar", "Missing MIME prefix. Expected format: data:<mime>;base64,<data>")),
        ({"avatar": 7}, told("avatar", "Input should be a valid string")),
        ({"avatar": LARGEST_PNG + "x"}, told("avatar", "String should have at most 65535 characters")),
        ({"description": "x" * 65_536}, told("description", "String should have at most 65535 characters")),
        ({"description": 7}, told("description", "Input should be a valid string")),
        ({"embedding_model": "x" * 256}, told("embedding_model", "String should have at most 255 characters")),
        ({"embedding_model": "x" * 253 + "@y"}, f"Unsupported model: <{'x' * 253}@y>"),
        (
            {"embedding_model": ""},
            told("embedding_model", "Embedding model identifier must follow <model_name>@<provider> format>"),
        ),
        ({"embedding_model": "M@ "}, told("embedding_model", "Both model_name and provider must be non-empty strings")),
        (
            {"embedding_model": "\x1c@P"},
            told("embedding_model", "Model name and provider cannot be whitespace-only strings>"),
        ),
        ({"embedding_model": "M@ @x"}, "Unsupported model: <M@ @x>"),
        ({"embedding_model": "a @\u3000@ b"}, "Unsupported model: <a @\u3000@ b>"),
        ({"embedding_model": "nobody@builtin"}, "Unsupported model: <nobody@builtin>"),
        ({"embedding_model": "scripted-embedding@Cloud"}, "Unsupported model: <scripted-embedding@Cloud>"),
        ({"embedding_model": "keyless@Cloud"}, "Unauthorized model: <keyless@Cloud>"),
        ({"permission": " me"}, told("permission", "Input should be 'me' or 'team'")),
        ({"permission": []}, told("permission", "Input should be 'me' or 'team'")),
        ({"chunk_method": None}, told("chunk_method", "Input should be 'naive', 'book', 'email'")),
        ({"chunk_method": ""}, told("chunk_method", "Input should be 'naive', 'book', 'email'")),
        ({"chunk_method": []}, told("chunk_method", "Input should be 'naive', 'book', 'email'")),
        ({"parser_config": "x"}, told("parser_config", "Input should be")),
        ({"parser_config": {"odd": 1}}, told("parser_config.odd", "Extra inputs are not permitted")),
        ({"parser_config": {"raptor": {"odd": 1}}}, told("parser_config.raptor.odd", "Extra inputs are not permitted")),
        (
            {"parser_config": {"graphrag": {"odd": 1}}},
            told("parser_config.graphrag.odd", "Extra inputs are not permitted"),
        ),
        ({"parser_config": {"toc_extraction": True}}, told("parser_config.toc_extraction", "Extra inputs are not")),
        (
            {"parser_config": {"delimiter": "é" * (65_536 - len('{"delimiter":""}'))}},
            told("parser_config", "Parser config exceeds size limit (max 65,535 characters). Current size: 65536>"),
        ),
        *(({name: 1}, told(name, "Extra inputs are not permitted")) for name in (
            "id", "tenant_id", "created_by", "create_date", "create_time", "update_date", "update_time",
            "document_count", "chunk_count", "token_num", "status", "language",
        )),
    ],
)  # fmt: skip
@pytest.mark.promise("1.1-extra", "1.1-avatar-checks", "1.1-embedding-checks", "1.2-texts", "1.1-config-size")
@pytest.mark.promise("1.1-name", "1.1-avatar", "1.1-description", "1.1-permission", "1.1-availability")
async def test_what_the_fields_refuse(api: Api, sent: dict[str, Any], line: str) -> None:
    made = await make_dataset(api)
    for method, path, body in (("POST", "/datasets", {"name": "a", **sent}), ("PUT", f"/datasets/{made['id']}", sent)):
        status, code, message = await api.refusal(method, path, json=body)
        assert (status, code) == (400, 102)
        assert line in message
    assert len(await api.ok("GET", "/datasets")) == 1


@pytest.mark.promise("0.4-lines")
async def test_every_wrong_field_has_its_line(api: Api) -> None:
    sent = {"name": "", "permission": "x", "odd": "y" * 129, "more": "z" * 128}
    lines = (await api.refusal("POST", "/datasets", json=sent))[2].split("\n")

    assert sorted(lines) == [
        f"Field: <more> - Message: <Extra inputs are not permitted> - Value: <{'z' * 128}>",
        "Field: <name> - Message: <String should have at least 1 character> - Value: <>",
        f"Field: <odd> - Message: <Extra inputs are not permitted> - Value: <{'y' * 125}...>",
        "Field: <permission> - Message: <Input should be 'me' or 'team'> - Value: <x>",
    ]
    both = (await api.refusal("PUT", "/datasets/x", json={"name": ""}))[2].split("\n")
    assert both == [
        "Field: <dataset_id> - Message: <Invalid UUID1 format> - Value: <x>",
        "Field: <name> - Message: <String should have at least 1 character> - Value: <>",
    ]


@pytest.mark.parametrize("body", ["null", '""', "0", "[]", "{}", "false"])
@pytest.mark.promise("0.4-empty-object")
async def test_what_is_nothing_counts_as_an_empty_object(api: Api, body: str) -> None:
    made = await make_dataset(api)
    headers = {"Content-Type": "application/json"}

    for method, field in (("POST", "name"), ("DELETE", "ids")):
        refused = await api.refusal(method, "/datasets", content=body, headers=headers)
        assert refused == invalid(f"Field: <{field}> - Message: <Field required> - Value: <{{}}>")
    refusal = await api.refusal("PUT", f"/datasets/{made['id']}", content=body, headers=headers)
    assert refusal == invalid("No properties were modified")


@pytest.mark.promise("1.4-rename", "1.4-reject")
async def test_a_taken_name_is_refused_where_the_operator_wants_it(world: World, api: Api, rival: Api) -> None:
    assert [(await make_dataset(api, name=name))["name"] for name in ("Kit", "kit", "KIT", "x.y(2).z")] == [
        "Kit", "kit(1)", "KIT(2)", "x.y(2).z",
    ]  # fmt: skip
    assert free_names("x.y(2).z")[1] == "x.y(3).z"
    world.app.state.edge = replace(world.app.state.edge, duplicate_dataset_name="reject")

    assert await api.refusal("POST", "/datasets", json={"name": "KIT"}) == invalid("Dataset name 'KIT' already exists")
    assert (await make_dataset(rival, name="Kit"))["name"] == "Kit"
    assert len(await api.ok("GET", "/datasets")) == 4


@pytest.mark.promise("1.4-many", "0.5-ids", "1.6-paging")
async def test_many_datasets_can_be_made(api: Api) -> None:
    """A hundred at once by five callers, and more after one another; ids, of what is in them too, are UUIDs."""
    made: list[Any] = []

    async def some(count: int) -> None:
        made.extend([await make_dataset(api) for _ in range(count)])

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(some, 20)
    await some(150)

    listed = (await api.raw("GET", "/datasets", params={"page_size": 1000})).json()
    assert (len(listed["data"]), listed["total_datasets"]) == (250, 250)
    assert len(await api.ok("GET", "/datasets")) == 30
    made += await upload(api, made[0]["id"], ("a.txt", b"x"), ("b.txt", b"x"))
    made += await api.ok("POST", "/file/upload", files=[("file", ("a.txt", b"x")), ("file", ("b.txt", b"x"))])
    assert len({each["id"] for each in made}) == 254
    assert {uuid.UUID(each["id"]).version for each in made} == {1}
    assert all(len(each["id"]) == 32 and each["id"] == each["id"].lower() for each in made)


@pytest.mark.promise("1.5-embedding-before-availability", "1.5-embedding-model-null")
async def test_the_model_of_a_dataset_with_chunks_stays(world: World, api: Api) -> None:
    made = await make_dataset(api)
    await parsed(world, api, made["id"], ("a.txt", b"words"))
    path = f"/datasets/{made['id']}"

    for wanted in ("other-embedding@builtin", "nobody@nowhere"):
        assert await api.refusal("PUT", path, json={"embedding_model": wanted}) == invalid(
            f"When chunk_num (1) > 0, embedding_model must remain {DEFAULT_MODEL}"
        )
    assert (await api.ok("PUT", path, json={"embedding_model": None}))["embedding_model"] == DEFAULT_MODEL


@pytest.mark.promise("1.1-embedding-model", "1.5-embedding-model-null", "1.5-availability")
async def test_a_dataset_keeps_its_model_until_another_is_named(world: World, api: Api) -> None:
    """Not the default one; and whatever is changed, the model must still be there."""
    made = await make_dataset(api, embedding_model="other-embedding@builtin")
    path = f"/datasets/{made['id']}"
    for sent in ({"embedding_model": None}, {"description": "x"}):
        assert (await api.ok("PUT", path, json=sent))["embedding_model"] == "other-embedding@builtin"
    for name, refusal in (("gone@builtin", "Unsupported"), ("keyless@Cloud", "Unauthorized")):
        await world.rows(api, "UPDATE datasets SET embedding_model = :name RETURNING 1", name=name)
        for sent in ({"embedding_model": None}, {"description": "y"}):
            assert await api.refusal("PUT", path, json=sent) == invalid(f"{refusal} model: <{name}>")
    assert (await api.ok("GET", path))["description"] == "x"
    changed = await api.ok("PUT", path, json={"embedding_model": f" {DEFAULT_MODEL} "})
    assert changed["embedding_model"] == DEFAULT_MODEL


@pytest.mark.promise("1.5-pagerank")
async def test_pagerank_is_of_one_dataset(api: Api) -> None:
    one, other = await make_dataset(api), await make_dataset(api)
    for made in (one, other):
        assert (await api.ok("PUT", f"/datasets/{made['id']}", json={"pagerank": 100}))["pagerank"] == 100

    assert (await api.ok("PUT", f"/datasets/{one['id']}", json={"pagerank": 0}))["pagerank"] == 0
    assert (await api.ok("GET", f"/datasets/{other['id']}"))["pagerank"] == 100
    for value in (-1, 101, None, 1.0, "1", True):
        assert (await api.refusal("PUT", f"/datasets/{one['id']}", json={"pagerank": value}))[0] == 400


@pytest.mark.parametrize("word", ["documents", "chunks"])
@pytest.mark.promise("0.3-words-are-no-ids")
async def test_what_is_left_of_an_empty_id_is_no_dataset(api: Api, word: str) -> None:
    assert await api.refusal("GET", f"/datasets/{word}") == (405, 102, "Method Not Allowed")


@pytest.mark.promise("1.6-name-id-missing", "1.6-desc", "1.6-name-case")
async def test_lists_tell_what_is_missing(api: Api, rival: Api) -> None:
    made = await make_dataset(api, name="Häuser")
    lacks = f"User '{rival.tenant_id}' lacks permission for dataset"

    assert await rival.refusal("GET", "/datasets", params={"id": made["id"]}) == (404, 105, f"{lacks} '{made['id']}'")
    assert await rival.refusal("GET", "/datasets", params={"name": "x"}) == (404, 105, f"{lacks} 'x'")
    assert await api.ok("GET", "/datasets", params={"name": "HÄUSER"}) == [made]
    assert await api.ok("GET", "/datasets", params={"name": ""}) == [made]
    later = await make_dataset(api)
    for yes, no in (("true", "False"), ("1", "0"), ("yes", "NO"), ("y", "n"), ("T", "f"), ("on", "OFF")):
        assert await api.ok("GET", "/datasets", params={"desc": yes}) == [later, made], yes
        assert await api.ok("GET", "/datasets", params={"desc": no}) == [made, later], no
