"""The dialect of RAGFlow 0.22, as its clients meet it (knowledge.md 0; conversations.md 1.1)."""

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.db.knowledge import datasets
from tests.conftest import Tenant
from tests.service import NO_ROOTS, Service

V1 = "/compat/0.22/api/v1"
NOBODY = "1d9f0a4e5e7a11f0a0c10242ac120002"


@pytest.fixture
async def bare(service: Service) -> Any:
    async with httpx.AsyncClient(base_url=service.base_url, timeout=30, verify=NO_ROOTS) as client:
        yield client


@pytest.fixture
async def old(tenant: Tenant, bare: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with a key; every path it is given is below the mount."""
    bare.headers["Authorization"] = f"Bearer {tenant.key}"
    return bare


@pytest.mark.promise("0.1-no-header-compat")
async def test_without_a_header_the_code_is_that_of_success(bare: httpx.AsyncClient) -> None:
    answer = await bare.get(f"{V1}/datasets")
    assert answer.status_code == 200
    assert answer.json() == {"code": 0, "data": False, "message": "`Authorization` can't be empty"}


@pytest.mark.promise("0.1-one-word-compat")
async def test_a_header_of_one_word_is_told_of(bare: httpx.AsyncClient) -> None:
    answer = await bare.get(f"{V1}/datasets", headers={"Authorization": "Bearer"})
    assert answer.status_code == 200
    assert answer.json() == {"code": 0, "data": False, "message": "Please check your authorization format."}


@pytest.mark.promise("0.1-unknown-key-compat", "0.1-key-first")
async def test_an_unknown_key_is_refused_before_anything_else_is_read(bare: httpx.AsyncClient) -> None:
    answer = await bare.put(f"{V1}/datasets/no-id", headers={"Authorization": "Bearer nobody"}, content=b"{")
    assert answer.status_code == 200
    assert answer.json() == {"code": 109, "data": False, "message": "Authentication error: API key is invalid!"}


@pytest.mark.promise("0.3-unknown-route-compat")
async def test_a_route_nobody_serves(old: httpx.AsyncClient) -> None:
    answer = await old.get(f"{V1}/nothing/here")
    assert answer.status_code == 200
    assert answer.json() == {"code": 100, "data": None, "message": "<NotFound '404: Not Found'>"}


@pytest.mark.promise("0.3-wrong-method-compat")
async def test_a_route_with_another_method(old: httpx.AsyncClient) -> None:
    answer = await old.patch(f"{V1}/retrieval", json={})
    assert answer.status_code == 200
    assert answer.json() == {"code": 100, "data": None, "message": "<MethodNotAllowed '405: Method Not Allowed'>"}


@pytest.mark.promise("0.3-slashes")
async def test_slashes_at_the_end_and_doubled_ones_do_not_count(old: httpx.AsyncClient) -> None:
    """In every dialect, and method and body are kept."""
    for v1 in (V1, "/api/v1"):
        for number, path in enumerate(("/datasets/", "//datasets", "/datasets//")):
            name = f"{number} below {v1}"
            made = await old.post(v1 + path, json={"name": name})
            assert (made.status_code, made.json()["data"]["name"]) == (200, name), path
            listed = await old.get(v1 + path, params={"name": name})
            assert [each["name"] for each in listed.json()["data"]] == [name], path


@pytest.mark.promise("0.3-empty-ids-compat", "0.3-words-are-no-ids")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/datasets/documents"),
        ("GET", "/datasets/chunks"),
        ("PUT", "/datasets/X/documents/"),
        ("GET", "/datasets//documents"),
        ("DELETE", "/datasets//documents"),
        ("POST", "/datasets//chunks"),
        ("DELETE", "/datasets//chunks"),
        ("POST", "/datasets/X/documents//chunks"),
        ("DELETE", "/datasets/X/documents//chunks"),
        ("PUT", "/datasets/X/documents/D/chunks/"),
    ],
)
async def test_an_empty_id_is_another_route_with_the_wrong_method(
    old: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await old.request(method, V1 + path, json={})
    assert answer.status_code == 200
    assert answer.json() == {"code": 100, "data": None, "message": "<MethodNotAllowed '405: Method Not Allowed'>"}


@pytest.mark.promise("0.3-empty-ids-compat")
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/datasets//documents/D"), ("PUT", "/datasets/X/documents//chunks/C")]
)
async def test_an_empty_id_is_a_route_that_is_not_there(old: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await old.request(method, V1 + path, json={})
    assert answer.json() == {"code": 100, "data": None, "message": "<NotFound '404: Not Found'>"}


@pytest.mark.promise("0.3-empty-ids-compat")
async def test_chunks_of_no_document_is_a_download_of_the_document_chunks(old: httpx.AsyncClient) -> None:
    made = (await old.post(f"{V1}/datasets", json={"name": "slashes"})).json()["data"]
    answer = await old.get(f"{V1}/datasets/{made['id']}/documents//chunks")
    assert answer.json() == {"code": 102, "message": "The dataset not own the document chunks."}


@pytest.mark.promise("0.1-success-envelope-compat")
async def test_success_has_data_and_no_message(old: httpx.AsyncClient) -> None:
    made = (await old.post(f"{V1}/datasets", json={"name": "enveloped"})).json()
    assert set(made) == {"code", "data"}
    assert set((await old.get(f"{V1}/datasets")).json()) == {"code", "data", "total_datasets"}
    deleted = await old.request("DELETE", f"{V1}/datasets", json={"ids": [made["data"]["id"]]})
    assert deleted.json() == {"code": 0}


@pytest.mark.promise("0.1-failure-envelope-compat", "0.4-strict-json")
async def test_a_failure_has_code_and_message_and_no_more(old: httpx.AsyncClient) -> None:
    answer = await old.post(f"{V1}/datasets", json={"name": ""})
    assert answer.status_code == 200
    assert set(answer.json()) == {"code", "message"}
    assert answer.json()["code"] == 101
    assert "String should have at least 1 character" in answer.json()["message"]
    malformed = "Malformed JSON syntax: Missing commas/brackets or invalid encoding"
    for method, path in (("POST", "/datasets"), ("PUT", f"/datasets/{NOBODY}"), ("DELETE", "/datasets")):
        for content, kind, message in (
            (b"{", "application/json", malformed),
            (b"", "application/json", malformed),
            (b"[1]", "application/json", "Invalid request payload: expected object, got list"),
            (b"{}", "text/plain", "Unsupported content type: Expected application/json, got text/plain"),
        ):
            broken = await old.request(method, V1 + path, content=content, headers={"Content-Type": kind})
            assert (broken.status_code, broken.json()) == (200, {"code": 101, "message": message})


@pytest.mark.promise("1-compat-codes")
async def test_the_codes_of_datasets(service: Service, old: httpx.AsyncClient, tenant: Tenant) -> None:
    async def told(method: str, path: str = "", **more: Any) -> dict[str, Any]:
        answer = await old.request(method, f"{V1}/datasets{path}", **more)
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    one, two = [(await told("POST", json={"name": name}))["data"]["id"] for name in ("one", "two")]
    lacks = f"User '{tenant.id}' lacks permission for dataset"
    for path in (f"?id={NOBODY}", "?name=three"):
        named = path.partition("=")[2]
        assert await told("GET", path) == {"code": 108, "message": f"{lacks} '{named}'"}
    assert await told("PUT", f"/{NOBODY}", json={"name": "x"}) == {"code": 108, "message": f"{lacks} '{NOBODY}'"}
    assert await told("DELETE", json={"ids": [NOBODY]}) == {"code": 108, "message": f"{lacks}s: '{NOBODY}'"}
    assert await told("PUT", f"/{one}", json={"name": "TWO"}) == {
        "code": 102,
        "message": "Dataset name 'TWO' already exists",
    }
    async with service.database.unit(tenant.id) as unit:
        await unit._connection.execute(update(datasets).where(datasets.c.id == one).values(chunk_count=3))
    fixed = await told("PUT", f"/{one}", json={"embedding_model": "x@y"})
    assert (set(fixed), fixed["code"]) == ({"code", "message"}, 102)
    assert fixed["message"].startswith("When chunk_num (3) > 0, embedding_model must remain ")
    wrong: list[tuple[str, str, dict[str, Any], str]] = [
        ("", "POST", {"json": {"name": "x", "embedding_model": "x@y"}}, "Unsupported model: <x@y>"),
        (f"/{two}", "PUT", {"json": {"embedding_model": "x@y"}}, "Unsupported model: <x@y>"),
        (f"/{one}", "PUT", {"json": {}}, "No properties were modified"),
        ("?page=0", "GET", {}, "Field: <page> - Message: <Input should be greater than or equal to 1> - Value: <0>"),
        ("?odd=1", "GET", {}, "Field: <odd> - Message: <Extra inputs are not permitted> - Value: <1>"),
        ("/x", "PUT", {"json": {"name": "y"}}, "Field: <dataset_id> - Message: <Invalid UUID1 format> - Value: <x>"),
        ("", "DELETE", {"json": {}}, "Field: <ids> - Message: <Field required> - Value: <{}>"),
    ]
    for path, method, more, message in wrong:
        assert await told(method, path, **more) == {"code": 101, "message": message}
    assert await told("DELETE", json={"ids": None}) == {"code": 0}
    assert await told("GET") == {"code": 0, "data": [], "total_datasets": 0}


@pytest.mark.promise("0.7-by-header")
async def test_the_header_chooses_the_dialect_of_one_request(old: httpx.AsyncClient) -> None:
    path = "/api/v1/datasets?id=" + "0" * 32
    assert (await old.get(path)).status_code != 200
    chosen = await old.get(path, headers={"X-RAGFlow-Compat": "0.22"})
    assert chosen.status_code == 200
    assert chosen.json()["code"] == 101
    below = await old.get(f"/compat/0.22{path}", headers={"X-RAGFlow-Compat": "off"})
    assert below.json() == chosen.json()


@pytest.mark.promise("0.7-unknown-level")
async def test_a_level_nobody_speaks_is_refused(old: httpx.AsyncClient) -> None:
    answer = await old.get("/api/v1/datasets", headers={"X-RAGFlow-Compat": "0.99"})
    assert answer.status_code == 400
    assert answer.json() == {"code": 102, "message": "Unknown compat level: 0.99", "data": None}
