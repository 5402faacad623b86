"""Files are sent as they are to callers who speak RAGFlow 0.22, also those that look like an answer of ours."""

import httpx
import pytest

LIKE_OURS = b'{"code": 0, "data": null, "message": ""}'


@pytest.mark.parametrize("content", [LIKE_OURS, b"[1]", b"{not json", b""])
async def test_a_json_file_is_no_answer_to_be_worded(client: httpx.AsyncClient, content: bytes) -> None:
    made = await client.post("/api/v1/file/upload", files={"file": ("a.json", content)})
    file_id = made.json()["data"][0]["id"]
    answer = await client.get(f"/compat/0.22/api/v1/file/get/{file_id}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == content


async def test_nor_is_a_json_document_that_is_looked_at(client: httpx.AsyncClient) -> None:
    dataset = (await client.post("/api/v1/datasets", json={"name": "d"})).json()["data"]["id"]
    made = await client.post(f"/api/v1/datasets/{dataset}/documents", files={"file": ("a.json", LIKE_OURS)})
    document = made.json()["data"][0]["id"]
    for path in (f"documents/{document}/preview", f"documents/{document}", f"datasets/{dataset}/documents/{document}"):
        assert (await client.get(f"/compat/0.22/api/v1/{path}")).content == LIKE_OURS, path


async def test_an_answer_given_again_is_worded_like_the_first(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = [
        await client.post("/compat/0.22/api/v1/chats", json={"name": "a"}, headers=headers) for _ in range(2)
    ]
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "kb_names" not in again.json()["data"]
