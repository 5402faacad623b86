"""Datasets: create, list, change, delete; the wall; odd input (knowledge.md 1)."""

from typing import Any

import anyio
import pytest

from app.domain.datasets import free_names
from app.domain.principals import Scope
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import DEFAULT_MODEL, World, assert_exact_counters, make_dataset, parsed, upload

V4 = "0123456789ab4def8123456789abcdef"


def field(name: str, message: str, value: Any) -> tuple[int, int, str]:
    return invalid(f"Field: <{name}> - Message: <{message}> - Value: <{value}>")


@pytest.mark.promise("1.8-object", "1.1-defaults", "1.9-one-dataset")
async def test_a_new_dataset_has_every_field_of_the_contract(api: Api) -> None:
    """knowledge.md 1.8, defaults of 1.1 and 1.3."""
    made = await api.ok("POST", "/datasets", json={"name": "  handbook\u3000"})

    assert set(made) == {
        "id", "tenant_id", "created_by", "name", "avatar", "description", "language", "permission", "status",
        "embedding_model", "chunk_method", "pipeline_id", "parser_config", "pagerank", "document_count",
        "chunk_count", "token_num", "similarity_threshold", "vector_similarity_weight", "graphrag_task_id",
        "graphrag_task_finish_at", "raptor_task_id", "raptor_task_finish_at", "mindmap_task_id",
        "mindmap_task_finish_at", "create_time", "create_date", "update_time", "update_date",
    }  # fmt: skip
    assert made["name"] == "handbook"
    assert made["embedding_model"] == DEFAULT_MODEL
    assert made["parser_config"]["chunk_token_num"] == 512
    assert (made["avatar"], made["description"], made["permission"], made["chunk_method"]) == (
        None,
        None,
        "me",
        "naive",
    )
    assert await api.ok("GET", f"/datasets/{made['id']}") == {**made, "size": 0, "connectors": []}


@pytest.mark.promise("1.4-suffix")
async def test_a_taken_name_is_counted_on(api: Api) -> None:
    """knowledge.md 1.4: ignoring case, the number before a dot-extension."""
    names = [(await make_dataset(api, name=name))["name"] for name in ("Kit", "kit", "KIT(1)", "a.b", "A.B")]

    assert names == ["Kit", "kit(1)", "KIT(2)", "a.b", "A(1).B"]
    assert free_names("x(3).txt")[:2] == ["x(3).txt", "x(4).txt"]
    assert free_names(".env")[1] == ".env(1)"


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
@pytest.mark.promise("1.2-enum-texts", "1.1-availability")
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
        ('{"name": "\\ud800"}', "application/json", None),
    ],
)
@pytest.mark.promise("0.4-strict-bodies")
async def test_broken_bodies_are_refused(api: Api, content: str, kind: str, message: str | None) -> None:
    """knowledge.md 0.4, conversations.md 1.2."""
    status, code, told = await api.refusal("POST", "/datasets", content=content, headers={"Content-Type": kind})

    assert (status, code) == (400, 102)
    assert message is None or told == message


@pytest.mark.promise("1.3-merge-on-create")
async def test_a_sent_config_is_merged_over_the_defaults(api: Api) -> None:
    """knowledge.md 1.3: schema defaults fill in once something was sent."""
    made = await make_dataset(api, parser_config={"chunk_token_num": 64})

    assert made["parser_config"]["chunk_token_num"] == 64
    assert made["parser_config"]["topn_tags"] == 1
    assert made["parser_config"]["raptor"]["use_raptor"] is False


@pytest.mark.promise("1.6-paging", "1.6-anded")
async def test_lists_are_paged_ordered_and_filtered(api: Api) -> None:
    """knowledge.md 1.6."""
    made = [await make_dataset(api, name=f"d{number}") for number in range(3)]
    answer = (await api.raw("GET", "/datasets", params={"page_size": 2})).json()

    assert [each["name"] for each in answer["data"]] == ["d2", "d1"]
    assert answer["total_datasets"] == 3
    assert await api.ok("GET", "/datasets", params={"page": 10**30}) == []
    oldest = await api.ok("GET", "/datasets", params={"desc": "no", "page_size": 1})
    assert oldest == [made[0]]
    assert await api.ok("GET", "/datasets", params={"name": "D1"}) == [made[1]]
    assert await api.ok("GET", "/datasets", params={"name": "d1", "id": made[0]["id"]}) == []


@pytest.mark.parametrize(
    ("query", "refusal"),
    [
        ({"page": 0}, field("page", "Input should be greater than or equal to 1", 0)),
        (
            {"page": "x"},
            field("page", "Input should be a valid integer, unable to parse string as an integer", "x"),
        ),
        ({"desc": "x"}, field("desc", "Input should be a valid boolean, unable to interpret input", "x")),
        ({"orderby": "name"}, field("orderby", "Input should be 'create_time' or 'update_time'", "name")),
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


@pytest.mark.promise("1.5-only-sent", "1.5-case")
async def test_a_change_touches_only_what_was_sent(api: Api) -> None:
    """knowledge.md 1.5."""
    made = await make_dataset(api, name="Old", description="kept")
    path = f"/datasets/{made['id']}"

    changed = await api.ok("PUT", path, json={"name": "OLD", "parser_config": {"chunk_token_num": 9}})

    assert (changed["name"], changed["description"]) == ("OLD", "kept")
    assert changed["parser_config"] == {**made["parser_config"], "chunk_token_num": 9}
    assert changed["update_time"] >= made["update_time"]
    replaced = await api.ok("PUT", path, json={"chunk_method": "qa"})
    assert replaced["parser_config"] == {"raptor": {"use_raptor": False}, "graphrag": {"use_graphrag": False}}
    assert (await api.ok("PUT", path, json={"parser_config": {}}))["parser_config"] == replaced["parser_config"]


@pytest.mark.promise("1.5-nothing-sent", "1.5-name-taken", "1.5-embedding-with-chunks", "1.5-id")
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
    await api.ok("PUT", f"/datasets/{other['id']}", json={"embedding_model": "other-embedding@builtin"})
    assert await api.refusal("PUT", f"/datasets/{V4}", json={"name": "x"}) == field(
        "dataset_id", "Invalid UUID1 format", V4
    )


@pytest.mark.promise("1.7-cascade")
async def test_deleting_takes_everything_along(world: World, api: Api) -> None:
    """knowledge.md 1.7: documents, chunks, jobs, blobs; other datasets stay."""
    gone, kept = await make_dataset(api), await make_dataset(api)
    await parsed(world, api, gone["id"], ("a.txt", b"words"))
    [queued] = await upload(api, gone["id"], ("b.txt", b"words"))
    await api.ok("POST", f"/datasets/{gone['id']}/chunks", json={"document_ids": [queued["id"]]})
    keys = [row.blob_key for row in await world.rows(api, "SELECT blob_key FROM documents")]

    assert await api.ok("DELETE", "/datasets", json={"ids": [gone["id"].upper()]}) == {"success_count": 1}

    for table in ("documents", "chunks", "sections"):
        assert await world.rows(api, f"SELECT 1 FROM {table}") == [], table  # noqa: S608
    assert [row.state for row in await world.rows(api, "SELECT state FROM jobs ORDER BY created_at")] == [
        "done",
        "cancelled",
    ]
    for key in keys:
        with pytest.raises(Exception, match="gone"):
            await world.blobs.get(key)
    assert [each["id"] for each in await api.ok("GET", "/datasets")] == [kept["id"]]
    await assert_exact_counters(world, api)


@pytest.mark.promise(
    "1.7-all-or-nothing", "1.7-null-is-all", "1.7-empty-is-none", "1.7-duplicates", "1.7-ids-required", "1.7-delete-all"
)
async def test_deleting_is_all_or_nothing(api: Api, rival: Api) -> None:
    """knowledge.md 1.7."""
    made = await make_dataset(api)
    foreign = await make_dataset(rival)
    unknown = foreign["id"]

    assert await api.refusal("DELETE", "/datasets", json={"ids": [made["id"], unknown]}) == missing(
        f"User '{api.tenant_id}' lacks permission for datasets: '{unknown}'"
    )
    assert (await api.refusal("DELETE", "/datasets", json={"ids": [made["id"], V4]}))[0] == 400
    assert (await api.refusal("DELETE", "/datasets", json={}))[2].startswith("Field: <ids> - Message: <Field required>")
    twice = await api.refusal("DELETE", "/datasets", json={"ids": [made["id"], made["id"]]})
    assert f"Duplicate ids: '{made['id']}'" in twice[2]
    assert await api.ok("DELETE", "/datasets", json={"ids": []}) == {"success_count": 0}
    assert await api.ok("DELETE", "/datasets", json={"ids": None, "delete_all": False}) == {"success_count": 0}
    assert len(await api.ok("GET", "/datasets")) == 1
    assert await api.ok("DELETE", "/datasets", json={"ids": None}) == {"success_count": 1}
    again = await make_dataset(api)
    assert await api.ok("DELETE", "/datasets", json={"ids": [again["id"]], "delete_all": True}) == {"success_count": 1}
    await make_dataset(api)
    assert await api.ok("DELETE", "/datasets", json={"delete_all": True}) == {"success_count": 1}
    assert len(await rival.ok("GET", "/datasets")) == 1


@pytest.mark.promise("0.6-wall")
async def test_another_tenants_dataset_is_missing_on_every_route(world: World, api: Api, rival: Api) -> None:
    """design.md 1.4: foreign looks like unknown."""
    made = await make_dataset(api, name="secret")
    [document] = await upload(api, made["id"], ("a.txt", b"words"))
    path, file = f"/datasets/{made['id']}", f"/datasets/{made['id']}/documents/{document['id']}"
    ids = {"document_ids": [document["id"]]}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", path, {}),
        ("GET", f"/datasets?id={made['id']}", {}),
        ("GET", "/datasets?name=secret", {}),
        ("PUT", path, {"json": {"name": "mine"}}),
        ("DELETE", "/datasets", {"json": {"ids": [made["id"]]}}),
        ("POST", f"{path}/documents", {"files": [("file", ("b.txt", b"x"))]}),
        ("GET", f"{path}/documents", {}),
        ("DELETE", f"{path}/documents", {}),
        ("GET", file, {}),
        ("GET", f"{file}/chunks", {}),
        ("POST", f"{path}/chunks", {"json": ids}),
        ("DELETE", f"{path}/chunks", {"json": ids}),
        ("POST", "/retrieval", {"json": {"question": "words", "dataset_ids": [made["id"]]}}),
    ]
    for method, url, more in calls:
        status, code, message = await rival.refusal(method, url, **more)
        assert (status, code) == (404, 105), (method, url, message)
    own = await make_dataset(rival)
    mixed = f"/datasets/{own['id']}/documents/{document['id']}"
    assert (await rival.refusal("GET", mixed))[0] == 404
    assert (await rival.refusal("POST", f"/datasets/{own['id']}/chunks", json=ids))[0] == 404
    assert (await api.ok("GET", f"{path}/documents"))["total"] == 1


@pytest.mark.promise("0.1-key-before-all")
async def test_every_route_asks_for_a_key_first(world: World, api: Api) -> None:
    """conversations.md 1.4: before the path and the body are looked at."""
    for method, path in (
        ("GET", "/datasets"),
        ("POST", "/datasets"),
        ("PUT", "/datasets/x"),
        ("DELETE", "/datasets"),
        ("GET", "/datasets/x/documents"),
        ("POST", "/datasets/x/documents"),
        ("DELETE", "/datasets/x/documents"),
        ("GET", "/datasets/x/documents/y"),
        ("GET", "/datasets/x/documents/y/chunks"),
        ("POST", "/datasets/x/chunks"),
        ("DELETE", "/datasets/x/chunks"),
        ("POST", "/retrieval"),
    ):
        for headers in ({}, {"Authorization": "Bearer nope"}):
            answer = await world.client.request(method, f"/api/v1{path}", headers=headers, content=b"{")
            assert (answer.status_code, answer.json()["code"]) == (401, 103), (method, path)


@pytest.mark.promise("0.7-scopes")
async def test_a_key_that_may_only_read_changes_nothing(world: World) -> None:
    """conversations.md 1.3 F: searching is reading."""
    reader = await world.caller(scopes=frozenset({Scope.READ}))

    assert (await reader.refusal("POST", "/datasets", json={"name": "a"}))[:2] == (403, 104)
    assert (await reader.raw("GET", "/datasets")).status_code == 200
    assert (await reader.refusal("POST", "/retrieval", json={}))[:2] == (400, 102)


@pytest.mark.promise("1.4-idempotency")
async def test_a_repeated_create_makes_one_dataset(api: Api) -> None:
    """design.md 1.5."""
    headers = {"Idempotency-Key": "once"}
    first = await api.raw("POST", "/datasets", json={"name": "a"}, headers=headers)
    again = await api.raw("POST", "/datasets", json={"name": "a"}, headers=headers)

    assert first.json() == again.json()
    assert len(await api.ok("GET", "/datasets")) == 1
