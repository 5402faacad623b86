"""Uploads that are no files: the page at an address, and documents without bytes (knowledge.md 2.1)."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from app.net.http import HttpClient, HttpConfig
from app.net.pages import PageFetcher
from tests.chats.world import Api
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, shown
from tests.net.test_pages import Site, running_site

PAGE = b"<html><body><h1>Ferries</h1><p>The ferry leaves at nine.</p><script>alert(1)</script></body></html>"


@pytest.fixture
async def site(world: World) -> AsyncGenerator[Site]:
    """A site on this machine, which the app may reach here."""
    async with running_site() as site, HttpClient(HttpConfig()) as http:
        world.app.state.pages = PageFetcher(http, timeout_s=5)
        yield site


async def documents_in(world: World, api: Api) -> int:
    return int((await world.rows(api, "SELECT count(*) AS n FROM documents"))[0].n)


@pytest.mark.promise("2.1-web")
async def test_a_page_becomes_a_document_that_can_be_parsed(world: World, api: Api, site: Site) -> None:
    dataset_id = (await make_dataset(api))["id"]
    url = site.page("/timetable?day=1", PAGE, kind="text/html; charset=utf-8")

    [named] = await api.ok(
        "POST", f"/datasets/{dataset_id}/documents?type=web", data={"name": "Ferries", "url": url}, files={"x": b""}
    )
    [form] = await api.ok("POST", f"/datasets/{dataset_id}/documents?type=web", data={"url": url})

    assert (named["name"], named["type"], named["suffix"], named["size"], named["run"]) == (
        "Ferries.html", "doc", "html", len(PAGE), "UNSTART",
    )  # fmt: skip
    assert form["name"] == "timetable.html"
    answer = await api.raw("GET", f"/datasets/{dataset_id}/documents/{named['id']}")
    assert answer.content == PAGE
    await parse(api, dataset_id, named["id"])
    await world.work()
    document = await shown(api, dataset_id, named["id"])
    assert (document["run"], document["chunk_count"]) == ("DONE", 1), document["progress_msg"]
    chunks = await api.ok("GET", f"/datasets/{dataset_id}/documents/{named['id']}/chunks")
    assert "The ferry leaves at nine." in chunks["chunks"][0]["content"]
    assert "alert" not in chunks["chunks"][0]["content"]
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.1-web")
async def test_a_page_is_stored_once_under_its_key(world: World, api: Api, site: Site) -> None:
    dataset_id = (await make_dataset(api))["id"]
    url = site.page("/a", PAGE)
    path, headers = f"/datasets/{dataset_id}/documents?type=web", {"Idempotency-Key": "once"}
    first = await api.ok("POST", path, data={"url": url}, headers=headers)
    assert await api.ok("POST", path, data={"url": url}, headers=headers) == first
    assert await documents_in(world, api) == 1


@pytest.mark.promise("2.1-web", "2.1-web-guard", "2.1-web-caps")
async def test_pages_that_cannot_be_had_leave_nothing(world: World, api: Api, rival: Api, site: Site) -> None:
    dataset_id = (await make_dataset(api))["id"]
    path = f"/datasets/{dataset_id}/documents?type=web"
    url = site.page("/a", PAGE)
    missing, odd = site.page("/b", b"", status="404 Not Found"), site.page("/c", b"x", kind="application/x-odd")
    for fields in (
        {}, {"url": ""}, {"url": "file:///etc/passwd"}, {"url": missing}, {"url": odd}, {"url": url, "name": "n" * 256},
        {"url": site.page("/large", b"x" * (1024 * 1024 + 1))},
    ):  # fmt: skip
        assert (await api.refusal("POST", path, data=fields, files={"x": b""}))[0] in (400, 500), fields
    assert (await api.refusal("POST", f"/datasets/{dataset_id}/documents?type=other", data={"url": url}))[0] == 400
    asked = len(site.asked)
    assert (await rival.refusal("POST", path, data={"url": url}, files={"x": b""}))[0] == 404
    assert len(site.asked) == asked, "nobody fetches for a dataset that is not theirs"
    assert await documents_in(world, api) == 0
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("2.1-web-guard")
async def test_the_service_itself_is_behind_the_guard(world: World, api: Api, site: Site) -> None:
    async with HttpClient(HttpConfig(is_public_only=True)) as http:
        world.app.state.pages = PageFetcher(http, timeout_s=5)
        dataset_id = (await make_dataset(api))["id"]
        url = site.page("/a", PAGE)
        status, _, message = await api.refusal(
            "POST", f"/datasets/{dataset_id}/documents?type=web", data={"url": url}, files={"x": b""}
        )
    assert (status, message) == (400, f"{url} could not be reached.")
    assert site.asked == []


@pytest.mark.promise("2.1-empty")
async def test_a_document_without_bytes_takes_chunks(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    path = f"/datasets/{dataset_id}/documents?type=empty"

    [notes] = await api.ok("POST", path, json={"name": "Notes"})
    [second] = await api.ok("POST", path, json={"name": "notes"})
    [markdown] = await api.ok("POST", path, json={"name": "a.md"})

    assert (notes["name"], notes["type"], notes["size"], notes["run"]) == ("Notes", "virtual", 0, "UNSTART")
    assert (second["name"], markdown["type"], markdown["suffix"]) == ("notes(1)", "doc", "md")
    chunks = f"/datasets/{dataset_id}/documents/{notes['id']}/chunks"
    await api.ok("POST", chunks, json={"content": "Granite is an igneous rock."})
    assert (await api.ok("GET", chunks, params={"keywords": "granite"}))["total"] == 1
    await parse(api, dataset_id, markdown["id"])
    await world.work()
    assert (await shown(api, dataset_id, markdown["id"]))["run"] == "DONE"
    bodies: list[Any] = [{}, {"name": ""}, {"name": " "}, {"name": 1}, {"name": None}, {"name": "n" * 256}, [], "x"]
    for sent in bodies:
        assert (await api.refusal("POST", path, json=sent))[0] == 400, sent
    assert (await api.refusal("POST", path, content=b"{"))[0] == 400
    await assert_exact_counters(world, api)
