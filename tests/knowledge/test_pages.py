"""The examples of docs/knowledge.md, docs/retrieval.md and docs/enrichment.md, run as they stand."""

import json
import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from routers import dify, index_jobs
from tests.chats.world import Api
from tests.knowledge.speaking import Speaker, fenced, talker, world
from tests.knowledge.world import World, api, make_dataset, parsed, shown
from tests.routes import include
from tests.service import on_a_socket

__all__ = ["api", "talker", "world"]

DOCS = Path(__file__).parents[2] / "docs"


@asynccontextmanager
async def serving(world: World) -> AsyncGenerator[str]:
    include(world.app, dify.router, index_jobs.router)
    async with on_a_socket(world.app) as base_url:
        yield base_url


async def run(page: str, folder: Path, **named: str) -> str:
    """Run all examples of a page as one script, every call of which has to succeed; what it writes."""
    examples = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    script = "\n".join(examples).replace("curl -s", "curl --fail-with-body -s")
    script = re.sub(r"^export API=.*$", "", script, flags=re.MULTILINE)
    with anyio.fail_after(60):
        done = await anyio.run_process(
            ["bash", "-e", "-o", "pipefail", "-c", script], env={**os.environ, **named}, cwd=folder, check=False
        )
    assert done.returncode == 0, (done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


async def test_the_examples_of_knowledge_run(world: World, api: Api, tmp_path: Path) -> None:
    async with serving(world) as base_url:
        text = await run("knowledge.md", tmp_path, API=f"{base_url}/api/v1", KEY=api.key)
    assert "Dogs need a <em>ticket</em>." in text
    assert "igneous" not in text
    assert "Granite" in text  # the range that was asked for
    assert '"key":"author"' in text
    assert "timetables" in text


async def test_the_examples_of_retrieval_run(world: World, api: Api, tmp_path: Path) -> None:
    dataset_id = (await make_dataset(api))["id"]
    await parsed(world, api, dataset_id, ("terms.txt", b"Refunds take thirty days."))
    async with serving(world) as base_url:
        text = await run("retrieval.md", tmp_path, PARLEY=base_url, KEY=api.key, DATASET=dataset_id)
    found, end = json.JSONDecoder().raw_decode(text)
    records = json.loads(text[end:])
    assert found["data"]["chunks"][0]["highlight"] == "<em>Refunds</em> <em>take</em> thirty days."
    assert records["records"][0]["title"] == "terms.txt"


async def test_the_examples_of_enrichment_run(world: World, api: Api, talker: Speaker, tmp_path: Path) -> None:
    def said(prompt: str) -> str:
        if "JSON object" in prompt:
            return '{"author": "Ann", "kind": "letter", "written": "soon"}'
        return "Has the granite come?" if "question" in prompt else "granite, letter"

    talker.answer = said
    async with serving(world) as base_url:
        await run("enrichment.md", tmp_path, API=f"{base_url}/api/v1", KEY=api.key)
    await world.work()
    [row] = await world.rows(api, "SELECT id, dataset_id FROM documents")
    document = await shown(api, row.dataset_id, row.id)
    assert document["run"] == "DONE", document["progress_msg"]
    assert document["meta_fields"] == {"author": "Ann", "kind": "letter", "file_name": "letter.txt"}
    chunks = await api.ok("GET", f"/datasets/{row.dataset_id}/documents/{row.id}/chunks")
    assert chunks["chunks"][0]["important_keywords"] == ["granite", "letter"]
    assert chunks["chunks"][0]["questions"] == ["Has the granite come?"]
    assert any(fenced(prompt).startswith("Dear Toby") for prompt in talker.asked)
