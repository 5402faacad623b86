"""Whatever is sent to routes of search, by whomever: no 5xx, an envelope, nothing made (conversations.md 1.2, 1.4)."""

import json
from typing import Any

from tests.contract.test_bad_input import RAW, WRONG
from tests.searches.world import Api, make_search

BY_KEY = (
    ("POST", "/api/v1/sessions/ask", ("question", "dataset_ids", "legacy", "stream_mode")),
    ("POST", "/api/v1/sessions/related_questions", ("question", "industry")),
    ("POST", "/api/v1/chat/recommendation", ("question", "search_id")),
    ("POST", "/api/v1/chat/mindmap", ("question", "kb_ids", "search_id")),
    ("POST", "/api/v1/searches", ("name", "description", "avatar", "search_config")),
    ("PUT", "/api/v1/searches/{id}", ("name", "description", "avatar", "search_config", "tenant_id")),
    ("POST", "/api/v1/searches/{id}/completions", ("question", "kb_ids")),
    ("POST", "/v1/conversation/ask", ("question", "kb_ids", "search_id")),
    ("POST", "/v1/search/create", ("name",)),
    ("POST", "/v1/search/list", ("owner_ids",)),
    ("POST", "/v1/search/update", ("search_id", "tenant_id", "name")),
    ("POST", "/v1/search/rm", ("search_id",)),
)
ON_PAGE = (
    ("POST", "/api/v1/searchbots/ask", ("question", "kb_ids", "search_id")),
    (
        "POST",
        "/api/v1/searchbots/retrieval_test",
        ("kb_id", "question", "page", "size", "doc_ids", "top_k", "meta_data_filter", "metadata_fields", "highlight"),
    ),
    ("POST", "/api/v1/searchbots/related_questions", ("question", "search_id")),
    ("POST", "/api/v1/searchbots/mindmap", ("question", "kb_ids", "search_id")),
)
FULL: dict[str, Any] = {
    "question": "x", "kb_ids": [], "kb_id": "nothing", "dataset_ids": ["nothing"], "name": "n", "search_config": {},
    "include_metadata": True,
}  # fmt: skip


def is_told(status: int, body: Any) -> bool:
    return (
        status < 500 and {"code", "data"} <= set(body) and (status < 400 or (body["data"] is None and body["message"]))
    )


async def assert_odd_bodies_are_told(
    caller: Api, method: str, path: str, search_id: str, fields: tuple[str, ...]
) -> None:
    path = path.replace("{id}", search_id)
    headers = {"Content-Type": "application/json"}
    for name, content in RAW.items():
        answer = await caller.raw(method, path, content=content, headers=headers)
        assert is_told(answer.status_code, answer.json()), (path, name, answer.text)
        if name in ("an unclosed object", "trailing text", "not UTF-8", "a raw NUL"):
            assert answer.status_code == 400, (path, name)
            assert answer.json()["message"] == "Malformed JSON syntax: Missing commas/brackets or invalid encoding"
        if name in ("an array", "a string"):
            assert answer.json()["message"] == "Request body must be a JSON object."
    for field in fields:
        for value in WRONG:
            content = json.dumps(FULL | {field: value}).encode()
            answer = await caller.raw(method, path, content=content, headers=headers)
            if answer.headers["content-type"].startswith("application/json"):
                assert is_told(answer.status_code, answer.json()), (path, field, str(value)[:50], answer.text)
            assert answer.status_code < 500


async def test_odd_bodies_by_key(api: Api) -> None:
    search_id = await make_search(api)
    for method, path, fields in BY_KEY:
        await assert_odd_bodies_are_told(api, method, path, search_id, fields)


async def test_odd_bodies_from_a_page(api: Api, page: Api) -> None:
    search_id = await make_search(api)
    for method, path, fields in ON_PAGE:
        await assert_odd_bodies_are_told(page, method, path, search_id, fields)


async def test_who_calls_is_asked_first(api: Api, page: Api) -> None:
    for caller, routes, other in ((api, BY_KEY, page), (page, ON_PAGE, api)):
        for method, path, _ in routes:
            path = path.replace("{id}", "0" * 32)
            for key, expected in (("", (401, 103)), (f"Bearer {caller.key}x", (401, 103)), (other.key, (403, 104))):
                header = key if not key or key.startswith("Bearer") else f"Bearer {key}"
                headers = {"Authorization": header} if header else {}
                answer = await api.client.request(method, path, headers=headers, content=b"{not json")
                assert (answer.status_code, answer.json()["code"]) == expected, (path, key[:8])
