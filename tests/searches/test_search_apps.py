"""Search apps: made, listed, changed, deleted, under both their paths (conversations.md 7.7, 7.8)."""

from email.utils import formatdate
from typing import Any

import pytest

from app.domain.principals import Scope
from tests.searches.world import Api, World

SEARCHES = "/api/v1/searches"
OLD = "/v1/search"
DEFAULTS = {
    "kb_ids": [], "doc_ids": [], "similarity_threshold": 0.2, "vector_similarity_weight": 0.3, "top_k": 1024,
    "rerank_id": "", "use_kg": False, "summary": False, "chat_id": "", "llm_setting": {},
    "chat_settingcross_languages": [], "highlight": False, "keyword": False, "web_search": False,
    "related_search": False, "query_mindmap": False,
}  # fmt: skip


OBJECT = {
    "id", "name", "description", "avatar", "tenant_id", "created_by", "search_config", "create_time", "create_date",
    "update_time", "update_date",
}  # fmt: skip


async def made(api: Api, **sent: Any) -> Any:
    """Make a search app and return it as it is shown."""
    created = await api.ok("POST", SEARCHES, json=sent)
    return await api.ok("GET", f"{SEARCHES}/{created['search_id']}")


@pytest.mark.promise("conversations:7.8-create")
@pytest.mark.promise("conversations:7.8-object")
@pytest.mark.promise("conversations:7.7-defaults")
async def test_a_new_search_app_has_every_setting(api: Api) -> None:
    for path in (SEARCHES, f"{OLD}/create"):
        created = await api.ok("POST", path, json={"name": f" Find {path} ", "description": "For all."})
        assert set(created) == {"search_id"}
        assert len(created["search_id"]) == 32
        found = await api.ok("GET", f"{SEARCHES}/{created['search_id']}")
        assert found["name"] == f"Find {path}"
        assert found["search_config"] == DEFAULTS
        assert (found["description"], found["avatar"]) == ("For all.", "")
        assert (found["tenant_id"], found["created_by"]) == (api.tenant_id, api.tenant_id)
        assert found["update_time"] == found["create_time"]
        assert found["update_date"] == found["create_date"] == formatdate(found["create_time"] // 1000, usegmt=True)
        assert set(found) == OBJECT


@pytest.mark.promise("conversations:7.8-create-config")
@pytest.mark.promise("conversations:7.7-keys")
async def test_what_is_sent_of_the_configuration_is_laid_over_the_defaults(api: Api) -> None:
    config = {
        "kb_ids": ["a"], "llm_setting": {"temperature": 0.5, "parameter": "Precise"}, "cross_languages": ["German"],
        "our_own": {"x": 1}, "chat_settingcross_languages": ["French"], "web_search": True, "use_rerank": False,
        "meta_data_filter": {"method": "auto"}, "reference_metadata": {"include": True, "fields": ["a"]},
    }  # fmt: skip
    assert (await made(api, name="n", search_config=config))["search_config"] == DEFAULTS | config


@pytest.mark.promise("conversations:7.8-duplicate")
async def test_a_name_that_is_taken_gets_a_number(api: Api, rival: Api) -> None:
    names = [(await made(api, name=name))["name"] for name in ("Find", "Find", "find", "Find(1)")]
    assert names == ["Find", "Find(1)", "find(2)", "Find(3)"]
    assert (await made(rival, name="Find"))["name"] == "Find"


@pytest.mark.promise("conversations:7.8-name-errors")
async def test_names_that_cannot_be(api: Api) -> None:
    for path in (SEARCHES, f"{OLD}/create"):
        for name, message in (
            (7, "Search name must be string."),
            (None, "Search name must be string."),
            ("", "Search name can't be empty."),
            (" \t", "Search name can't be empty."),
            ("x" * 256, "Search name length is 256 which is large than 255."),
            ("é" * 128, "Search name length is 256 which is large than 255."),
        ):
            assert await api.refusal("POST", path, json={"name": name}) == (400, 102, message)
        assert await api.refusal("POST", path, json={}) == (400, 102, "required argument are missing: name; ")
        config = await api.refusal("POST", path, json={"name": "x", "search_config": []})
        assert config == (400, 102, "search_config must be a JSON object")
    assert (await made(api, name="é" * 127 + "x"))["name"] == "é" * 127 + "x"


@pytest.mark.promise("conversations:7.8-update")
async def test_an_update_is_laid_over_key_by_key(api: Api) -> None:
    config = {"llm_setting": {"temperature": 0.5, "top_p": 0.5}, "kb_ids": ["a"]}
    app = await made(api, name="n", description="d", search_config=config)
    sent: dict[str, Any] = {"name": " m ", "search_config": {"llm_setting": {"temperature": 0.1}}}
    changed = await api.ok("PUT", f"{SEARCHES}/{app['id']}", json=sent)

    assert (changed["name"], changed["description"]) == ("m", "d")
    assert changed["search_config"] == DEFAULTS | {"llm_setting": {"temperature": 0.1}, "kb_ids": ["a"]}
    assert changed["update_time"] > app["update_time"]
    assert changed["create_time"] == app["create_time"]

    told = {**sent, "search_id": app["id"], "tenant_id": api.tenant_id, "description": "e", "avatar": "data:x"}
    changed = await api.ok("POST", f"{OLD}/update", json=told)
    assert (changed["name"], changed["description"], changed["avatar"]) == ("m", "e", "data:x")


@pytest.mark.promise("conversations:7.8-update-errors")
async def test_updates_that_cannot_be(api: Api, rival: Api) -> None:
    app, other = await made(api, name="n"), await made(api, name="Other")
    sent: dict[str, Any] = {"name": "n", "search_config": {}}

    async def refused(**more: Any) -> tuple[int, int, str]:
        new = await api.refusal("PUT", f"{SEARCHES}/{app['id']}", json=sent | more)
        named = {"search_id": app["id"], "tenant_id": api.tenant_id}
        assert await api.refusal("POST", f"{OLD}/update", json=named | sent | more) == new
        return new

    assert await refused(name=7) == (400, 102, "Search name must be string.")
    assert await refused(name=" ") == (400, 102, "Search name can't be empty.")
    longest = await api.ok("PUT", f"{SEARCHES}/{app['id']}", json={**sent, "name": "é" * 64})
    assert longest["name"] == "é" * 64
    assert await refused(name="é" * 65) == (400, 102, "Search name length is 130 which is large than 128")
    assert await refused(name="OTHER") == (400, 102, "Duplicated search name.")
    assert await refused(search_config="x") == (400, 102, "search_config must be a JSON object")
    for key in ("id", "created_by", "create_time", "update_time", "create_date", "update_date"):
        assert await refused(**{key: "x"}) == (400, 102, f"Parameter {key} isn't allowed")
    assert await refused(tenant_id=rival.tenant_id) == (404, 105, "Authorized identity.")
    assert await refused(description=7) == (400, 102, "`description` should be a string")

    missing = "required argument are missing: name,search_config; "
    assert await api.refusal("PUT", f"{SEARCHES}/{app['id']}", json={}) == (400, 102, missing)
    missing = "required argument are missing: search_id,name,search_config,tenant_id; "
    assert await api.refusal("POST", f"{OLD}/update", json={}) == (400, 102, missing)
    odd = await api.refusal("POST", f"{OLD}/update", json={**sent, "search_id": 7, "tenant_id": api.tenant_id})
    assert odd == (400, 102, "`search_id` should be a string")
    assert (await api.ok("GET", f"{SEARCHES}/{other['id']}"))["name"] == "Other"
    same_in_capitals = await api.ok("PUT", f"{SEARCHES}/{app['id']}", json={**sent, "name": "N"})
    assert same_in_capitals["name"] == "N"


@pytest.mark.promise("conversations:7.8-codes-22")
async def test_0_22_has_codes_of_its_own(api: Api) -> None:
    app = await made(api, name="n")
    sent: dict[str, Any] = {"name": "n", "search_config": {}, "tenant_id": api.tenant_id}
    assert await api.refusal_22("POST", f"{OLD}/create", json={}) == {
        "code": 101,
        "message": "required argument are missing: name; ",
    }
    assert await api.refusal_22("POST", f"{OLD}/update", json={**sent, "search_id": app["id"], "id": "x"}) == {
        "code": 101,
        "message": "Parameter id isn't allowed",
    }
    for path, body in ((f"{OLD}/update", {**sent, "search_id": "x"}), (f"{OLD}/rm", {"search_id": "x"})):
        assert await api.refusal_22("POST", path, json=body) == {"code": 109, "message": "No authorization."}
    assert await api.refusal_22("GET", f"{OLD}/detail?search_id=x") == {
        "code": 103,
        "message": "Has no permission for this operation.",
    }
    assert await api.refusal_22("POST", f"{OLD}/create", json={"name": ""}) == {
        "code": 102,
        "message": "Search name can't be empty.",
    }


@pytest.mark.promise("conversations:7.8-detail")
@pytest.mark.promise("conversations:7.8-wall")
async def test_search_apps_of_others_are_not_there(api: Api, rival: Api) -> None:
    app = await made(api, name="n")
    for path in (f"{SEARCHES}/{app['id']}", f"{OLD}/detail?search_id={app['id']}"):
        assert (await api.ok("GET", path))["id"] == app["id"]
        assert await rival.refusal("GET", path) == (404, 105, "Has no permission for this operation.")
    sent: dict[str, Any] = {"name": "mine", "search_config": {}}
    gone = (404, 105, f"Cannot find search {app['id']}")
    assert await rival.refusal("PUT", f"{SEARCHES}/{app['id']}", json=sent) == gone
    assert await rival.refusal("DELETE", f"{SEARCHES}/{app['id']}") == gone
    named = {"search_id": app["id"]}
    assert await rival.refusal("POST", f"{OLD}/update", json={**sent, **named, "tenant_id": rival.tenant_id}) == gone
    assert await rival.refusal("POST", f"{OLD}/rm", json=named) == gone
    asked = await rival.refusal("POST", f"{SEARCHES}/{app['id']}/completions", json={"question": "x"})
    assert asked == gone
    assert (await rival.ok("GET", SEARCHES)) == {"search_apps": [], "total": 0}
    assert (await api.ok("GET", f"{SEARCHES}/{app['id']}"))["name"] == "n"
    lacking = await api.refusal("GET", f"{OLD}/detail")
    assert lacking == (400, 102, "required argument are missing: search_id; ")


@pytest.mark.promise("conversations:7.8-delete")
async def test_a_deleted_search_app_is_gone_and_its_name_free(api: Api) -> None:
    first, second = await made(api, name="n"), await made(api, name="m")
    assert await api.ok("DELETE", f"{SEARCHES}/{first['id']}") is True
    assert await api.ok("POST", f"{OLD}/rm", json={"search_id": second["id"]}) is True
    for app in (first, second):
        refused = await api.refusal("DELETE", f"{SEARCHES}/{app['id']}")
        assert refused == (404, 105, f"Cannot find search {app['id']}")
    assert (await made(api, name="n"))["name"] == "n"
    lacking = await api.refusal("POST", f"{OLD}/rm", json={})
    assert lacking == (400, 102, "required argument are missing: search_id; ")


@pytest.mark.promise("conversations:7.8-list")
async def test_lists_page_order_and_look_for_words(api: Api, rival: Api) -> None:
    for name in ("beta 100%", "Alpha", "gamma"):
        await made(api, name=name)
    await made(rival, name="delta")

    async def named(query: str = "", **owners: Any) -> list[str]:
        new = await api.ok("GET", f"{SEARCHES}?{query}", params=owners or None)
        old = await api.ok("POST", f"{OLD}/list?{query}", json=owners)
        assert old == new
        return [each["name"] for each in new["search_apps"]]

    newest = ["gamma", "Alpha", "beta 100%"]
    assert await named() == newest
    assert await named("page=0&page_size=2") == await named("page=2&page_size=0") == newest
    assert await named("page=1&page_size=2") == ["gamma", "Alpha"]
    assert await named("page=2&page_size=2") == ["beta 100%"]
    assert await named("desc=false") == await named("desc=False") == newest[::-1]
    assert await named("orderby=name&desc=false") == sorted(newest, key=str.lower)
    assert await named("keywords=aLpHa") == ["Alpha"]
    assert await named("keywords=%25") == ["beta 100%"]
    found = await api.ok("GET", f"{SEARCHES}?keywords=a&page=1&page_size=1")
    assert (found["total"], [each["name"] for each in found["search_apps"]]) == (3, ["gamma"])
    assert (await api.ok("GET", f"{SEARCHES}?keywords=mm"))["total"] == 1
    listed = await api.ok("GET", f"{SEARCHES}?page=1&page_size=1")
    assert listed["total"] == 3
    [shown] = listed["search_apps"]
    assert set(shown) == OBJECT | {"status", "nickname", "tenant_avatar"}
    assert (shown["status"], shown["nickname"], shown["tenant_avatar"]) == ("1", "someone", "")
    assert shown["create_time"] <= shown["update_time"]
    first = next(each["id"] for each in (await api.ok("GET", SEARCHES))["search_apps"] if each["name"] == "Alpha")
    await api.ok("PUT", f"{SEARCHES}/{first}", json={"name": "Alpha", "search_config": {}})
    assert await named("orderby=update_time") == ["Alpha", "gamma", "beta 100%"]


@pytest.mark.promise("conversations:7.8-owners")
async def test_lists_may_name_owners(api: Api, rival: Api) -> None:
    await made(api, name="mine")
    for owners, expected in (([], 1), ([api.tenant_id], 1), ([rival.tenant_id, api.tenant_id], 1), (["x"], 0)):
        listed = await api.ok("POST", f"{OLD}/list", json={"owner_ids": owners})
        assert listed["total"] == len(listed["search_apps"]) == expected
        if owners:
            assert (await api.ok("GET", SEARCHES, params={"owner_ids": owners}))["total"] == expected
    for odd in ("x", [7]):
        assert (await api.refusal("POST", f"{OLD}/list", json={"owner_ids": odd}))[:2] == (400, 102)


@pytest.mark.promise("conversations:7.8-list-errors")
async def test_lists_that_cannot_be(api: Api) -> None:
    for query in ("page=x", "page_size=-1", "orderby=size"):
        assert (await api.refusal("GET", f"{SEARCHES}?{query}"))[:2] == (400, 102)
        assert (await api.refusal("POST", f"{OLD}/list?{query}"))[:2] == (400, 102)


async def test_the_same_creation_sent_again_makes_nothing_new(api: Api) -> None:
    sent = {"json": {"name": "once"}, "headers": {"Idempotency-Key": "k"}}
    first = await api.ok("POST", SEARCHES, **sent)
    assert await api.ok("POST", SEARCHES, json={"name": "once"}, headers={"Idempotency-Key": "k"}) == first
    assert (await api.ok("GET", SEARCHES))["total"] == 1


async def test_a_key_that_may_only_look_changes_nothing(world: World, api: Api) -> None:
    app = await made(api, name="n")
    reader = await world.caller(api.tenant_id, scopes=frozenset({Scope.READ}))
    assert (await reader.ok("GET", SEARCHES))["total"] == 1
    assert (await reader.ok("POST", f"{OLD}/list"))["total"] == 1
    for method, path in (
        ("POST", SEARCHES), ("POST", f"{OLD}/create"), ("PUT", f"{SEARCHES}/{app['id']}"), ("POST", f"{OLD}/update"),
        ("DELETE", f"{SEARCHES}/{app['id']}"), ("POST", f"{OLD}/rm"),
    ):  # fmt: skip
        assert (await reader.refusal(method, path, json={} if method != "DELETE" else None))[:2] == (403, 104)
