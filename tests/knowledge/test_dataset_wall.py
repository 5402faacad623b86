"""Who may reach datasets: those with a key that may, and nothing of another tenant's (knowledge.md 0.1, 0.6, 0.7)."""

from typing import Any

import pytest

from app.domain.ids import new_id
from app.domain.principals import Scope
from tests.chats.world import Api
from tests.knowledge.world import World, make_dataset, parsed


def calls_about(dataset: str, document: str, chunk: str, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Every call that names a dataset or something in it."""
    path, inside = f"/datasets/{dataset}", f"/datasets/{dataset}/documents/{document}"
    ids = {"document_ids": [document]}
    return [
        ("GET", path, {}),
        ("GET", f"/datasets?id={dataset}", {}),
        ("GET", f"/datasets?name={name}", {}),
        ("PUT", path, {"json": {"name": "mine"}}),
        ("DELETE", "/datasets", {"json": {"ids": [dataset]}}),
        ("POST", f"{path}/documents", {"files": [("file", ("b.txt", b"x"))]}),
        ("GET", f"{path}/documents", {}),
        ("DELETE", f"{path}/documents", {}),
        ("DELETE", f"{path}/documents", {"json": {"ids": [document]}}),
        ("GET", inside, {}),
        ("PUT", inside, {"json": {"name": "b.txt"}}),
        ("PATCH", inside, {"json": {"name": "b.txt"}}),
        ("GET", f"/documents/{document}", {}),
        ("GET", f"/documents/{document}/preview", {}),
        ("POST", "/documents/ingest", {"json": {"doc_ids": [document]}}),
        ("GET", f"{path}/metadata/summary", {}),
        ("POST", f"{path}/metadata/update", {"json": {}}),
        ("PATCH", f"{path}/documents/metadatas", {"json": {}}),
        ("GET", f"{path}/metadata/config", {}),
        ("PUT", f"{path}/metadata/config", {"json": {"metadata": []}}),
        ("PUT", f"{inside}/metadata/config", {"json": {"metadata": []}}),
        ("POST", f"{path}/documents/batch-update-status", {"json": {"doc_ids": [document], "status": "0"}}),
        ("GET", f"{inside}/chunks", {}),
        ("POST", f"{inside}/chunks", {"json": {"content": "x"}}),
        ("DELETE", f"{inside}/chunks", {"json": {"chunk_ids": [chunk]}}),
        ("DELETE", f"{inside}/chunks", {"json": {}}),
        ("PATCH", f"{inside}/chunks", {"json": {"chunk_ids": [chunk], "available": False}}),
        ("GET", f"{inside}/chunks/{chunk}", {}),
        ("PUT", f"{inside}/chunks/{chunk}", {"json": {"content": "x"}}),
        ("PATCH", f"{inside}/chunks/{chunk}", {"json": {"content": "x"}}),
        ("POST", f"{path}/chunks", {"json": ids}),
        ("DELETE", f"{path}/chunks", {"json": ids}),
        ("POST", f"{path}/documents/parse", {"json": ids}),
        ("POST", f"{path}/documents/stop", {"json": ids}),
        ("POST", "/retrieval", {"json": {"question": "words", "dataset_ids": [dataset]}}),
        ("POST", "/datasets/search", {"json": {"question": "words", "dataset_ids": [dataset]}}),
        ("POST", f"{path}/search", {"json": {"question": "words"}}),
    ]


@pytest.mark.promise("0.6-wall")
async def test_another_tenants_dataset_is_missing_on_every_route(world: World, api: Api, rival: Api) -> None:
    """design.md 1.4: foreign is told in the very words of unknown, and nothing of it changes."""
    made = await make_dataset(api, name="secret")
    path = f"/datasets/{made['id']}"
    [document] = await parsed(world, api, made["id"], ("a.txt", b"words"))
    [chunk] = (await api.ok("GET", f"{path}/documents/{document['id']}/chunks"))["chunks"]
    before = await api.ok("GET", path)

    async def told(*names: str) -> list[tuple[str, tuple[int, int, str]]]:
        answers: list[tuple[str, tuple[int, int, str]]] = []
        for method, url, more in calls_about(*names):
            status, code, message = await rival.refusal(method, url, **more)
            for at, name in enumerate(names):
                url, message = url.replace(name, f"<{at}>"), message.replace(name, f"<{at}>")
            answers.append((f"{method} {url}", (status, code, message)))
        return answers

    foreign = await told(made["id"], document["id"], chunk["id"], "secret")
    assert foreign == await told(new_id(), new_id(), "0" * 16, "nobody")
    assert {answer[:2] for _, answer in foreign} == {(404, 105)}
    own = await make_dataset(rival)
    mixed = f"/datasets/{own['id']}/documents/{document['id']}"
    assert (await rival.refusal("GET", mixed))[0] == 404
    ids = {"document_ids": [document["id"]]}
    assert (await rival.refusal("POST", f"/datasets/{own['id']}/chunks", json=ids))[0] == 404
    assert await api.ok("GET", path) == before
    assert (await api.ok("GET", f"{path}/documents"))["docs"] == [document]
    assert (await api.ok("GET", f"{path}/documents/{document['id']}/chunks"))["chunks"] == [chunk]


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
