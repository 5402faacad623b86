"""Datasets: create, list, change, delete; the wall; odd input (knowledge.md 1)."""

from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import anyio
import pytest

from app.domain.datasets import free_names
from app.domain.ids import new_id
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import DEFAULT_MODEL, World, make_dataset, parsed, upload

V4 = "0123456789ab4def8123456789abcdef"


def field(name: str, message: str, value: Any) -> tuple[int, int, str]:
    return invalid(f"Field: <{name}> - Message: <{message}> - Value: <{value}>")


def assert_times(told: dict[str, Any]) -> None:
    """Both are milliseconds since the epoch, of late, and each has its date beside it, in UTC."""
    now_ms = datetime.now(UTC).timestamp() * 1000
    assert now_ms - 60_000 < told["create_time"] <= told["update_time"] <= now_ms + 1000
    for name in ("create", "update"):
        assert type(told[f"{name}_time"]) is int
        assert told[f"{name}_date"] == formatdate(told[f"{name}_time"] // 1000, usegmt=True)


@pytest.mark.promise("1.8-object", "1.1-defaults", "1.9-one-dataset", "0.5-times")
async def test_a_new_dataset_has_every_field_of_the_contract(api: Api) -> None:
    """knowledge.md 1.8, defaults of 1.1; those of 1.3 are in test_dataset_configs.py."""
    made = await api.ok("POST", "/datasets", json={"name": "  handbook\u3000"})

    assert len(made["id"]) == 32
    assert made["parser_config"]["chunk_token_num"] == 512
    assert_times(made)
    assert made == {
        "id": made["id"], "tenant_id": api.tenant_id, "created_by": api.tenant_id, "name": "handbook", "avatar": None,
        "description": None, "language": "English", "permission": "me", "status": "1",
        "embedding_model": DEFAULT_MODEL, "chunk_method": "naive", "pipeline_id": None,
        "parser_config": made["parser_config"], "pagerank": 0, "document_count": 0, "chunk_count": 0, "token_num": 0,
        "similarity_threshold": 0.2, "vector_similarity_weight": 0.3,
        **{f"{kind}_task_{what}": None for kind in ("graphrag", "raptor", "mindmap") for what in ("id", "finish_at")},
        **{name: made[name] for name in ("create_time", "create_date", "update_time", "update_date")},
    }  # fmt: skip
    path = f"/datasets/{made['id']}"
    assert await api.ok("GET", path) == {**made, "size": 0, "connectors": []}
    await upload(api, made["id"], ("a.txt", b"12345"), ("b.txt", b"67"))
    shown = await api.ok("GET", path)
    assert (shown["size"], shown["document_count"]) == (7, 2)
    assert set(shown) == {*made, "size", "connectors"}


@pytest.mark.promise("1.4-suffix")
async def test_a_taken_name_is_counted_on(api: Api) -> None:
    """knowledge.md 1.4: ignoring case, the number before a dot-extension."""
    names = [(await make_dataset(api, name=name))["name"] for name in ("Kit", "kit", "KIT(1)", "a.b", "A.B")]

    assert names == ["Kit", "kit(1)", "KIT(2)", "a.b", "A(1).B"]
    assert free_names("x(3).txt")[:2] == ["x(3).txt", "x(4).txt"]
    assert free_names(".env")[1] == ".env(1)"
    assert len(free_names("x")) == 1001


@pytest.mark.promise("1.4-concurrent")
async def test_a_hundred_datasets_of_one_name_can_be_made_at_once(api: Api) -> None:
    """knowledge.md 1.4: 100 concurrent creates all succeed."""
    names: list[str] = []

    async def make() -> None:
        names.append((await make_dataset(api, name="same"))["name"])

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(make)

    assert len({name.lower() for name in names}) == 100


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        ({}, field("name", "Field required", {})),
        ({"name": ""}, field("name", "String should have at least 1 character", "")),
        ({"name": " "}, field("name", "String should have at least 1 character", " ")),
        ({"name": "a" * 129}, field("name", "String should have at most 128 characters", "a" * 125 + "...")),
        ({"name": 0}, field("name", "Input should be a valid string", 0)),
        ({"name": "a", "id": "x"}, field("id", "Extra inputs are not permitted", "x")),
        ({"name": "a", "pagerank": 1}, field("pagerank", "Extra inputs are not permitted", 1)),
        ({"name": "a", "permission": "ME"}, field("permission", "Input should be 'me' or 'team'", "ME")),
        ({"name": "a", "permission": None}, field("permission", "Input should be 'me' or 'team'", None)),
        (
            {"name": "a", "chunk_method": "x"},
            field(
                "chunk_method",
                "Input should be 'naive', 'book', 'email', 'laws', 'manual', 'one', 'paper', 'picture', "
                "'presentation', 'qa', 'table' or 'tag'",
                "x",
            ),
        ),
        (
            {"name": "a", "avatar": "x"},
            field("avatar", "Missing MIME prefix. Expected format: data:<mime>;base64,<data>", "x"),
        ),
        ({"name": "a", "avatar": "x,y"}, field("avatar", "Invalid MIME prefix format. Must start with 'data:'", "x,y")),
        (
            {"name": "a", "avatar": "data:image/gif;base64,"},
            field("avatar", "Unsupported MIME type. Allowed: ['image/jpeg', 'image/png']", "data:image/gif;base64,"),
        ),
        (
            {"name": "a", "embedding_model": "x"},
            field("embedding_model", "Embedding model identifier must follow <model_name>@<provider> format", "x"),
        ),
        (
            {"name": "a", "embedding_model": " @P"},
            field("embedding_model", "Both model_name and provider must be non-empty strings", " @P"),
        ),
        ({"name": "a", "embedding_model": "x@nobody"}, invalid("Unsupported model: <x@nobody>")),
        ({"name": "a", "embedding_model": "keyless@Cloud"}, invalid("Unauthorized model: <keyless@Cloud>")),
        (
            {"name": "a", "parser_config": {"chunk_token_num": 0}},
            field("parser_config.chunk_token_num", "Input should be greater than or equal to 1", 0),
        ),
        (
            {"name": "a", "parser_config": {"chunk_token_num": "1"}},
            field("parser_config.chunk_token_num", "Input should be a valid integer", "1"),
        ),
        (
            {"name": "a", "parser_config": {"graphrag": {"method": None}}},
            field("parser_config.graphrag.method", "Input should be 'light' or 'general'", None),
        ),
        ({"name": "a\x00"}, invalid("Text must not contain NUL characters")),
    ],
)
@pytest.mark.promise("1.2-enum-texts", "1.2-texts", "1.1-availability", "1.1-avatar-checks", "1.1-embedding-checks")
@pytest.mark.promise("1.1-name", "1.1-permission", "1.1-chunk-method", "1.1-extra")
async def test_odd_fields_are_told_in_the_contracts_words(
    api: Api, sent: dict[str, Any], refusal: tuple[int, int, str]
) -> None:
    """knowledge.md 0.4, 1.1, 1.2."""
    assert await api.refusal("POST", "/datasets", json=sent) == refusal


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("", "application/json", "Malformed JSON syntax: Missing commas/brackets or invalid encoding"),
        ("{", "application/json", "Malformed JSON syntax: Missing commas/brackets or invalid encoding"),
        ('["a"]', "application/json", "Invalid request payload: expected object, got list"),
        ('"a"', "application/json", "Invalid request payload: expected object, got str"),
        ("7", "application/json", "Invalid request payload: expected object, got int"),
        ("{}", "text/plain", "Unsupported content type: Expected application/json, got text/plain"),
        ("1.5", "application/json", "Invalid request payload: expected object, got float"),
        ("true", "application/json", "Invalid request payload: expected object, got bool"),
        ("{}", None, "Unsupported content type: Expected application/json, got None"),
        ('{"name": "\\ud800"}', "application/json", None),
    ],
)
@pytest.mark.promise("0.4-strict-bodies")
async def test_broken_bodies_are_refused(api: Api, content: str, kind: str | None, message: str | None) -> None:
    """knowledge.md 0.4, conversations.md 1.2."""
    headers = {"Content-Type": kind} if kind is not None else {}
    for method, path in (("POST", "/datasets"), ("PUT", f"/datasets/{new_id()}"), ("DELETE", "/datasets")):
        status, code, told = await api.refusal(method, path, content=content, headers=headers)
        assert (status, code) == (400, 102), path
        assert message is None or told == message


@pytest.mark.promise("1.6-paging", "1.6-anded")
async def test_lists_are_paged_ordered_and_filtered(api: Api) -> None:
    """knowledge.md 1.6."""
    made = [await make_dataset(api, name=f"d{number}") for number in range(3)]
    answer = (await api.raw("GET", "/datasets", params={"page_size": 2})).json()

    assert [each["name"] for each in answer["data"]] == ["d2", "d1"]
    assert answer["total_datasets"] == 3
    assert await api.ok("GET", "/datasets", params={"page_size": 2, "page": 2}) == [made[0]]
    assert await api.ok("GET", "/datasets", params={"page": 10**30}) == []
    oldest = await api.ok("GET", "/datasets", params={"desc": "no", "page_size": 1})
    assert oldest == [made[0]]
    made[1] = await api.ok("PUT", f"/datasets/{made[1]['id']}", json={"description": "changed last"})
    for orderby, names in (("update_time", ["d1", "d2", "d0"]), ("create_time", ["d2", "d1", "d0"])):
        ordered = await api.ok("GET", "/datasets", params={"orderby": orderby})
        assert [each["name"] for each in ordered] == names
    assert await api.ok("GET", "/datasets", params={"name": "D1"}) == [made[1]]
    assert await api.ok("GET", "/datasets", params={"name": "d1", "id": made[1]["id"]}) == [made[1]]
    none = (await api.raw("GET", "/datasets", params={"name": "d1", "id": made[0]["id"]})).json()
    assert none == {"code": 0, "data": [], "total_datasets": 0}


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"page": 0}, field("page", "Input should be greater than or equal to 1", 0)),
        (
            {"page": "x"},
            field("page", "Input should be a valid integer, unable to parse string as an integer", "x"),
        ),
        ({"page_size": 0}, field("page_size", "Input should be greater than or equal to 1", 0)),
        (
            {"page_size": "1.5"},
            field("page_size", "Input should be a valid integer, unable to parse string as an integer", "1.5"),
        ),
        ({"desc": "x"}, field("desc", "Input should be a valid boolean, unable to interpret input", "x")),
        ({"orderby": "name"}, field("orderby", "Input should be 'create_time' or 'update_time'", "name")),
        (
            {"orderby": "Create_time"},
            field("orderby", "Input should be 'create_time' or 'update_time'", "Create_time"),
        ),
        ({"id": ""}, field("id", "Invalid UUID1 format", "")),
        ({"id": V4}, field("id", "Invalid UUID1 format", V4)),
        ({"other": "1"}, field("other", "Extra inputs are not permitted", "1")),
    ],
)
@pytest.mark.promise("1.6-bounds", "1.6-unknown-parameter")
async def test_odd_queries_are_told_what_is_wrong(
    api: Api, query: dict[str, Any], refusal: tuple[int, int, str]
) -> None:
    """knowledge.md 1.6."""
    assert await api.refusal("GET", "/datasets", params=query) == refusal


async def test_lists_cost_the_same_however_many_there_are(world: World, api: Api) -> None:
    """Key, tenant, count, page: no query per row."""
    await make_dataset(api)
    await api.ok("GET", "/datasets")
    with world.queries() as one:
        await api.ok("GET", "/datasets")
    for _ in range(5):
        await make_dataset(api)
    with world.queries() as many:
        await api.ok("GET", "/datasets")

    assert len(one) == len(many) <= 4


@pytest.mark.promise("1.5-only-sent", "1.5-case", "0.5-times")
async def test_a_change_touches_only_what_was_sent(api: Api) -> None:
    """knowledge.md 1.5."""
    sent = {"avatar": "data:image/png;base64,", "permission": "team", "embedding_model": "other-embedding@builtin"}
    made = await make_dataset(api, name="Old", description="kept", **sent)
    path = f"/datasets/{made['id']}"
    await api.ok("PUT", path, json={"pagerank": 7})
    await anyio.sleep(0.002)  # times are told in milliseconds

    changed = await api.ok("PUT", path, json={"name": "OLD", "parser_config": {"chunk_token_num": 9}})

    assert_times(changed)
    assert changed["update_time"] > made["update_time"]
    config = {**made["parser_config"], "chunk_token_num": 9}
    times = {name: changed[name] for name in ("update_time", "update_date")}
    assert changed == {**made, "name": "OLD", "parser_config": config, "pagerank": 7, **times}
    assert await api.ok("GET", path) == {**changed, "size": 0, "connectors": []}
    replaced = await api.ok("PUT", path, json={"chunk_method": "qa"})
    assert replaced["parser_config"] == {"raptor": {"use_raptor": False}, "graphrag": {"use_graphrag": False}}
    assert (await api.ok("PUT", path, json={"parser_config": {}}))["parser_config"] == replaced["parser_config"]


@pytest.mark.promise("1.5-nothing-sent", "1.5-name-taken", "1.5-embedding-with-chunks", "1.5-id", "1.5-missing")
async def test_what_cannot_be_changed_is_told(world: World, api: Api) -> None:
    """knowledge.md 1.5."""
    one, other = await make_dataset(api, name="one"), await make_dataset(api, name="other")
    path = f"/datasets/{one['id']}"

    assert await api.refusal("PUT", path, json={}) == invalid("No properties were modified")
    assert await api.refusal("PUT", path, json={"name": "OTHER"}) == invalid("Dataset name 'OTHER' already exists")
    await parsed(world, api, one["id"], ("a.txt", b"words"))
    assert await api.refusal("PUT", path, json={"embedding_model": "other-embedding@builtin"}) == invalid(
        f"When chunk_num (1) > 0, embedding_model must remain {DEFAULT_MODEL}"
    )
    changed = await api.ok("PUT", f"/datasets/{other['id']}", json={"embedding_model": "other-embedding@builtin"})
    assert changed["embedding_model"] == "other-embedding@builtin"
    assert await api.refusal("PUT", f"/datasets/{V4}", json={"name": "x"}) == field(
        "dataset_id", "Invalid UUID1 format", V4
    )
    nobody = new_id()
    lacks = missing(f"User '{api.tenant_id}' lacks permission for dataset '{nobody}'")
    for sent in ({"name": "one"}, {"embedding_model": "nobody@nowhere"}):
        assert await api.refusal("PUT", f"/datasets/{nobody}", json=sent) == lacks
    assert await api.refusal("GET", f"/datasets/{nobody}") == lacks
    assert [each["name"] for each in await api.ok("GET", "/datasets")] == ["other", "one"]


@pytest.mark.promise("1.4-idempotency")
async def test_a_repeated_create_makes_one_dataset(api: Api) -> None:
    """design.md 1.5."""
    headers = {"Idempotency-Key": "once"}
    first = await api.raw("POST", "/datasets", json={"name": "a"}, headers=headers)
    again = await api.raw("POST", "/datasets", json={"name": "a"}, headers=headers)

    assert first.json() == again.json()
    assert len(await api.ok("GET", "/datasets")) == 1
