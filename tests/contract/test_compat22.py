"""The dialect of RAGFlow 0.22, as its clients meet it (knowledge.md 0; conversations.md 1.1)."""

from typing import Any

import httpx
import pytest

from tests.conftest import Tenant
from tests.service import NO_ROOTS, Service

V1 = "/compat/0.22/api/v1"


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
    for path in ("/datasets/", "//datasets", "/datasets//"):
        answer = await old.get(V1 + path)
        assert answer.json()["code"] == 0, path


@pytest.mark.promise("0.3-empty-ids-compat")
@pytest.mark.parametrize(
    ("method", "path"),
    [
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
    broken = await old.post(f"{V1}/datasets", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.json() == {
        "code": 101,
        "message": "Malformed JSON syntax: Missing commas/brackets or invalid encoding",
    }


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
