"""Every route has a lock, and a page that tells of it (conversations.md 1.4; operations.md 4)."""

from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.domain.principals import KeyKind, Scope
from routers.deps import KeyedRoute
from tests.conftest import Tenant
from tests.contract.routes import MACHINES, keyed, operations
from tests.service import Service


def flat(routes: Iterable[Any]) -> list[BaseRoute]:
    """Return the routes of included routers with the rest."""
    found: list[BaseRoute] = []
    for route in routes:
        included = getattr(route, "original_router", None)
        found += flat(included.routes) if included is not None else [route]
    return found


async def test_every_route_wants_a_key_but_those_for_machines(service: Service) -> None:
    """Walks what the app really routes, hidden routes too."""
    open_paths = {
        str(getattr(route, "path", route)) for route in flat(service.app.routes) if not isinstance(route, KeyedRoute)
    }
    assert open_paths <= MACHINES, open_paths
    assert {one.path for one in operations(service.app)} >= {
        route.path.replace(":path}", "}")
        for route in flat(service.app.routes)
        if isinstance(route, APIRoute) and route.include_in_schema
    }


def is_v1(path: str) -> bool:
    """Tell OpenAI's paths from RAGFlow's below `/v1`."""
    return path.startswith("/v1/") and path.split("/")[2] not in ("system", "document", "api", "conversation", "search")


async def assert_refused(
    service: Service, headers: dict[str, str], expected: tuple[int, int], *, is_page: bool | None = None
) -> None:
    """Try every route with something unusable in it: who calls is found out before anything is read.

    `is_page` means only the routes for pages, or only the others.
    """
    async with service.client() as client:
        for one in keyed(service.app):
            if is_page not in (None, one.is_page):
                continue
            answer = await client.request(one.method, one.filled(), headers=headers, content=b"{not json")
            body = answer.json()
            if one.is_dify:
                assert (answer.status_code, body["code"]) == (403, 403), (str(one), answer.text)
                assert body["message"], str(one)
                continue
            if is_v1(one.path):
                assert answer.status_code == expected[0], (str(one), answer.text)
                assert set(body) == {"error"}, str(one)
                assert set(body["error"]) == {"message", "type", "param", "code"}
                continue
            assert (answer.status_code, body["code"]) == expected, (str(one), answer.text)
            assert body["data"] is None
            assert body["message"]
            if one.is_openai:
                assert set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.promise("0.1-key-before-all", "conversations:1.4-key-first")
async def test_no_key_opens_nothing(service: Service) -> None:
    for headers in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}):
        await assert_refused(service, headers, (401, 103))


@pytest.mark.promise("0.1-key-before-all", "conversations:1.4-key-first")
async def test_an_unknown_key_opens_nothing(service: Service, tenant: Tenant) -> None:
    for key in ("ragflow-nobody", tenant.key[:-1], tenant.key + "x", tenant.key.upper(), "x" * 10_000):
        await assert_refused(service, {"Authorization": f"Bearer {key}"}, (401, 103))


async def test_a_revoked_key_opens_nothing(service: Service, tenant: Tenant) -> None:
    async with service.database.unit(tenant.id) as unit:
        assert await unit.keys.revoke(tenant.key_id)
    await assert_refused(service, tenant.auth, (401, 103))


@pytest.mark.promise("conversations:7.1-kinds", "conversations:1.4-kinds")
async def test_an_embed_token_opens_no_api_route(service: Service) -> None:
    for kind in (KeyKind.EMBED, KeyKind.VISITOR):
        await assert_refused(service, (await service.tenant(kind=kind)).auth, (403, 104), is_page=False)


@pytest.mark.promise("conversations:7.1-kinds")
async def test_an_api_key_opens_no_route_for_pages(service: Service, tenant: Tenant) -> None:
    await assert_refused(service, tenant.auth, (403, 104), is_page=True)


async def test_a_key_without_any_scope_may_do_nothing(service: Service) -> None:
    await assert_refused(service, (await service.tenant(scopes=frozenset())).auth, (403, 104))


@pytest.mark.promise("0.7-scopes")
async def test_a_key_that_may_only_look_changes_nothing(service: Service) -> None:
    """Every method but GET asks for more, unless its route says that it only reads."""
    reader = await service.tenant(scopes=frozenset({Scope.READ}))
    async with service.client(reader) as client:
        for one in keyed(service.app):
            if one.is_page:
                continue
            wanted = one.told.get("x-scope", Scope.READ if one.method == "GET" else Scope.MANAGE)
            answer = await client.request(one.method, one.filled(), json={})
            is_refused = (answer.status_code, answer.json().get("code")) in ((403, 104), (403, 403))
            if is_v1(one.path):
                is_refused = answer.status_code == 403
            assert is_refused is (wanted != Scope.READ), (str(one), answer.text)
            if one.method != "GET":
                assert wanted != Scope.READ or one.path.endswith(("/retrieval", "/search", "/search/list")), str(one)


async def test_machines_need_no_key(service: Service) -> None:
    async with service.client() as client:
        for path in sorted(MACHINES):
            assert (await client.get(path)).status_code in (200, 503), path


async def test_unknown_routes_and_wrong_methods_answer_in_the_envelope(
    service: Service, client: httpx.AsyncClient
) -> None:
    """conversations.md 1.2."""
    missing = await client.get("/api/v1/nothing")
    assert (missing.status_code, missing.json()["code"], missing.json()["data"]) == (404, 105, None)
    wrong = await client.patch("/api/v1/system/healthz")
    assert (wrong.status_code, wrong.json()) == (405, {"code": 102, "message": "Method Not Allowed", "data": None})


async def test_every_route_is_described(service: Service) -> None:
    """operations.md 4: OpenAPI 3.1, every route with its summary and its errors, each named once."""
    schema = service.app.openapi()
    assert schema["openapi"].startswith("3.1")
    ids = [one.told["operationId"] for one in operations(service.app)]
    assert len(ids) == len(set(ids))
    for one in keyed(service.app):
        assert one.told.get("summary"), str(one)
        assert one.told.get("tags"), str(one)
        assert {"400", "403", "500"} <= set(one.told["responses"]), str(one)
        assert "401" in one.told["responses"] or one.is_dify, str(one)
        assert "422" not in one.told["responses"], str(one)


async def test_the_page_tells_what_opens_every_route_and_what_it_answers(service: Service) -> None:
    assert set(service.app.openapi()["components"]["securitySchemes"]) == {"ApiKey", "PageToken"}
    for one in operations(service.app):
        opener: list[dict[str, list[str]]] | None = (
            None if one.path in MACHINES else [{"PageToken" if one.is_page else "ApiKey": []}]
        )
        assert one.told.get("security") == opener, str(one)
        successes = [answer for status, answer in one.told["responses"].items() if status.startswith("2")]
        assert successes, str(one)
        assert "Successful Response" not in [answer["description"] for answer in successes], str(one)


async def test_the_page_itself_is_open_to_all_and_made_once(service: Service) -> None:
    async with service.client() as client:
        first, again, shown = [await client.get(path) for path in ("/openapi.json", "/openapi.json", "/docs")]
    assert first.json() == service.app.openapi()
    assert first.content == again.content
    assert [answer.headers["content-type"].split(";")[0] for answer in (first, shown)] == [
        "application/json",
        "text/html",
    ]
    assert "/api/v1/chats/{chat_id}/completions" in shown.text
