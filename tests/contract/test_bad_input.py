"""Whatever is sent, no route answers 5xx, every refusal is an envelope and changes nothing (conversations.md 1.2)."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db.tables import metadata
from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.contract.conftest import Callers
from tests.contract.envelopes import flaw
from tests.contract.routes import Operation, keyed
from tests.service import Service

DEEP = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
RAW: dict[str, bytes] = {
    "an unclosed object": b"{",
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"17",
    "a bool": b"true",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "a NUL": b'{"name":"a\\u0000b","question":"\\u0000","ids":["\\u0000"],"\\u0000":1}',
    "a raw NUL": b'{"name":"a\x00b"}',
    "a lone surrogate": b'{"name":"\\ud800","question":"\\udfff","messages":[{"role":"user","content":"\\ud800"}]}',
    "a surrogate for a key": b'{"\\ud800":1,"question":"x"}',
    "deep nesting": DEEP,
    "a deep array": b'{"ids":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "a huge integer": b'{"max_tokens":' + b"9" * 400 + b',"top_n":' + b"9" * 30 + b',"question":"x"}',
    "an integer of five thousand digits": b'{"question":"x","seed":' + b"1" * 5000 + b"}",
    "NaN": b'{"temperature":NaN,"similarity_threshold":Infinity,"question":"x"}',
    "a key twice": b'{"name":"a","name":7}',
    "trailing text": b"{} {}",
    "form data": b"name=x&question=y",
}
WRONG: list[Any] = [7, -1, 2**63, 1.5, True, [], [[]], {}, {"a": {}}, "", " ", "x" * 70_000, None, ["\ud800"], [None]]
FIELDS = [
    "name", "question", "session_id", "messages", "model", "ids", "llm", "prompt", "dataset_ids", "stream", "quote",
    "doc_ids", "kb_ids", "metadata_condition", "temperature", "max_tokens", "legacy", "stream_mode", "on_disconnect",
    "user_id", "delete_all", "stream_options", "extra_body", "reference", "variables", "n", "stop", "chat_id",
    "parser_config", "chunk_method", "permission", "embedding_model", "document_ids", "page", "page_size", "top_k",
    "similarity_threshold", "llm_setting", "prompt_config", "meta_data_filter", "content", "important_keywords",
]  # fmt: skip
PATHS = [
    "%00",
    "%FF",
    "%ED%A0%80",
    "..",
    "%2e%2e%2f",
    "x" * 4000,
    "'",
    "%F0%9F%9A%80",
    "-1",
    "null",
    "%0d%0aX: y",
    "%25",
]
QUERIES = [
    "page=-1", "page=99999999999999999999", "page_size=x", "page=1.5", "page_size=99999999999", "orderby=\u00e9",
    "id=%00", "name=%00", "name=%ED%A0%80", "after=x", "after=99999999999999999999", "keywords=%FF", "user_id='",
    "page=&page_size=", "desc=maybe",
    "page=1&page=2", "id=" + "x" * 5000, "from_date=yesterday", "run=%00", "suffix=..", "create_time_from=9e999",
]  # fmt: skip


async def counts(service: Service, tenant: Tenant) -> dict[str, int]:
    """Count the tenant's rows by table; what only tells that a key was used does not count."""
    async with service.database.unit(tenant.id) as unit:
        found: dict[str, int] = {}
        for table in metadata.sorted_tables:
            rows = await unit._connection.execute(text(f"SELECT count(*) FROM {table.name}"))  # noqa: S608
            found[table.name] = rows.scalar_one()
    return found


def assert_known_answer(one: Operation, answer: httpx.Response, what: object) -> None:
    """Fail unless this is an answer the contract knows."""
    where = (str(one), what, answer.status_code, answer.text[:300])
    assert answer.status_code < 500, where
    assert answer.headers["x-request-id"], where
    if answer.status_code >= 400:
        assert flaw(replace(one, path=answer.request.url.path), answer.status_code, answer.json()) is None, where


@pytest.fixture
def ids(chat: Chat) -> list[str]:
    """Something for the ids of paths: an assistant that exists, and nothing at all."""
    return [chat.id, "0" * 32]


def paths(one: Operation, ids: list[str]) -> list[str]:
    return [one.filled(value) for value in ids] if "{" in one.path else [one.path]


@pytest.mark.parametrize("name", list(RAW))
async def test_a_body_that_is_no_body_of_ours(
    service: Service, tenant: Tenant, callers: Callers, ids: list[str], name: str
) -> None:
    content = RAW[name]
    is_json_object = name in ("a key twice", "UTF-16")  # both are JSON to Python
    before = await counts(service, tenant)
    for one in keyed(service.app):
        if not one.has_body:
            continue
        for path in paths(one, ids):
            answer = await callers.of(one).request(
                one.method, path, content=content, headers={"Content-Type": "application/json"}
            )
            assert_known_answer(one, answer, name)
    if not is_json_object and name not in ("a huge integer", "NaN", "an integer of five thousand digits"):
        assert await counts(service, tenant) == before


@pytest.mark.parametrize("share", range(4))
async def test_fields_of_wrong_types(service: Service, callers: Callers, ids: list[str], share: int) -> None:
    """Each field of each route gets a quarter of the values, another quarter than its neighbour."""
    turn = 0
    for one in keyed(service.app):
        if not one.has_body or one.method == "DELETE":
            continue
        path = paths(one, ids[:1])[0]
        for field in _fields_of(service, one):
            turn += 1
            if turn % 4 != share:
                continue
            for value in WRONG[turn // 4 % 4 :: 4]:
                body = {field: value} | ({"stream": False} if "ompletions" in path and field != "stream" else {})
                headers = {"Content-Type": "application/json"}
                answer = await callers.of(one).request(
                    one.method, path, content=json.dumps(body).encode(), headers=headers
                )
                assert_known_answer(one, answer, (field, str(value)[:50]))


def _fields_of(service: Service, one: Operation) -> list[str]:
    """Return the fields its page tells of, or a few that others have."""
    content = one.told.get("requestBody", {}).get("content", {})
    found: list[str] = []
    for media in content.values():
        found += _properties(service.app.openapi(), media.get("schema", {}))
    return sorted(set(found)) or FIELDS[:12]


def _properties(schema: dict[str, Any], node: dict[str, Any]) -> list[str]:
    if "$ref" in node:
        return _properties(schema, schema["components"]["schemas"][node["$ref"].rsplit("/", 1)[-1]])
    found = list(node.get("properties", {}))
    for inner in (*node.get("anyOf", ()), *node.get("allOf", ())):
        found += _properties(schema, inner)
    return found


async def test_silly_ids_in_paths(service: Service, callers: Callers) -> None:
    for one in keyed(service.app):
        if "{" not in one.path:
            continue
        for value in PATHS:
            answer = await callers.of(one).request(one.method, one.filled(value), json={} if one.has_body else None)
            assert_known_answer(one, answer, value)


async def test_silly_queries(service: Service, callers: Callers, ids: list[str]) -> None:
    for one in keyed(service.app):
        if one.method != "GET":
            continue
        for path in paths(one, ids):
            for query in QUERIES:
                assert_known_answer(one, await callers.of(one).get(f"{path}?{query}"), query)


async def test_silly_headers(service: Service, tenant: Tenant, client: httpx.AsyncClient, ids: list[str]) -> None:
    odd: list[Any] = [
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": b"Bearer " + b"x" * 8000},
        {**_bytes(tenant), "Idempotency-Key": b""},
        {**_bytes(tenant), "Idempotency-Key": b"x" * 5000},
        {**_bytes(tenant), "Idempotency-Key": b"\xff"},
        {**_bytes(tenant), "X-Request-Id": b"a b\xff"},
        {**_bytes(tenant), "x-stainless-retry-count": b"-1"},
        {**_bytes(tenant), "x-stainless-retry-count": b"99999999999999"},
        {**_bytes(tenant), "x-stainless-retry-count": "²".encode("latin-1")},
        {**_bytes(tenant), "Last-Event-ID": "²".encode("latin-1")},
        {**_bytes(tenant), "Last-Event-ID": b"9" * 400},
        {**_bytes(tenant), "Content-Type": b"application/json; charset=utf-99"},
        {**_bytes(tenant), "Content-Type": b"multipart/form-data"},
        {**_bytes(tenant), "Content-Type": b"multipart/form-data; boundary="},
    ]
    async with service.client() as bare:
        for one in keyed(service.app):
            for headers in odd:
                content = b'{"stream":false}' if one.has_body else b""
                request = bare.build_request(one.method, one.filled(ids[1]), headers=headers, content=content)
                assert_known_answer(one, await bare.send(request), headers)


def _bytes(tenant: Tenant) -> dict[str, bytes]:
    return {"Authorization": f"Bearer {tenant.key}".encode()}


async def test_five_megabytes_are_taken_or_refused(service: Service, callers: Callers, ids: list[str]) -> None:
    long = "x" * 5_000_000
    content = json.dumps({"question": long, "name": long, "stream": False}).encode()
    for one in keyed(service.app):
        if one.has_body:
            answer = await callers.of(one).request(
                one.method, one.filled(ids[0]), content=content, headers={"Content-Type": "application/json"}
            )
            assert_known_answer(one, answer, "5 MB")


async def test_a_body_over_the_limit_is_a_413_and_the_connection_lives(client: httpx.AsyncClient, chat: Chat) -> None:
    """openai.md T-18."""
    for route in (f"/api/v1/chats/{chat.id}/completions", f"/api/v1/chats_openai/{chat.id}/chat/completions"):
        answer = await client.post(route, content=b'{"question":"' + b"x" * (9 * 1024 * 1024) + b'"}')
        assert (answer.status_code, answer.json()["code"]) == (413, 102)
    assert (await client.get("/api/v1/chats")).status_code == 200


async def test_foreign_ids_look_like_missing_ones(service: Service, tenant: Tenant, chat: Chat) -> None:
    """conversations.md 1.3: the tenant wall; an unknown id and another tenant's get the same words."""
    rival = await service.tenant()
    async with service.client(tenant) as own, service.client(rival) as foreign:
        question = {"question": "Hi", "stream": False}
        mine = (await own.post(f"/api/v1/chats/{chat.id}/completions", json=question)).json()["data"]
        for one in keyed(service.app):
            if "{" not in one.path:
                continue
            body = {"question": "x", "stream": False, "model": "m", "messages": [{"role": "user", "content": "x"}]}
            answers = []
            for chat_id, turn_id, session_id in ((chat.id, mine["id"], mine["session_id"]), ("0" * 32,) * 3):
                path = one.path.replace("{chat_id}", chat_id).replace("{turn_id}", turn_id)
                path = path.replace("{session_id}", session_id)
                if "{" in path:
                    break
                more: dict[str, Any] = {"json": body} if one.method in ("POST", "PUT", "PATCH") else {}
                answer = await foreign.request(one.method, path, **more)
                assert_known_answer(one, answer, path)
                assert mine["answer"] not in answer.text
                answers.append((answer.status_code, answer.text.replace(chat_id, "").replace(turn_id, "")))
            assert len(set(answers)) <= 1, (str(one), answers)
        assert (await own.get(f"/api/v1/turns/{mine['id']}")).status_code == 200
