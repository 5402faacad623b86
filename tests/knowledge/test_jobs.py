"""Parsing as jobs: to the end, stopped, killed, tried again, fair (knowledge.md 2.6 to 2.8, design.md 1.7)."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from app.ingest.caps import ParseHints
from app.ingest.pipeline import PipelineConfig
from app.ingest.sandbox import SandboxLimits
from tests.chats.world import Api, invalid, missing
from tests.ingest.files import make_docx, make_encrypted_pdf, make_pdf, make_zip
from tests.knowledge.working import Gated, run_is, until, working
from tests.knowledge.world import FAST, World, assert_exact_counters, make_dataset, parse, parsed, shown, upload


async def test_a_parsed_document_tells_how_it_went(world: World, api: Api) -> None:
    """knowledge.md 2.6, 2.8: run states, progress, log lines, times."""
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words here"))
    await parse(api, dataset["id"], made["id"])

    queued = await shown(api, dataset["id"], made["id"])
    assert (queued["run"], queued["progress_msg"], queued["chunk_count"]) == ("RUNNING", "Task is queued...", 0)
    assert 0 < queued["progress"] < 0.01
    assert queued["process_begin_at"].endswith("GMT")

    await world.work()

    done = await shown(api, dataset["id"], made["id"])
    assert (done["run"], done["progress"], done["chunk_count"]) == ("DONE", 1.0, 1)
    assert done["process_duration"] > 0
    lines = done["progress_msg"].split("\n")
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines), lines
    assert lines[0].endswith("Page(1~100000001): Start to parse.")
    assert re.search(r"Task done \(\d+\.\d\ds\)$", lines[-1])
    await assert_exact_counters(world, api)


async def test_every_kind_of_text_file_is_parsed_with_its_outline(world: World, api: Api) -> None:
    """knowledge.md 5.4; sections.md 1: title path, level, order, and chunks tied to their section."""
    dataset = await make_dataset(api)
    html = b"<html><body><h1>Top</h1><p>intro</p><h2>Below</h2><p>more text</p></body></html>"
    files = [
        ("a.txt", b"plain words"),
        ("b.md", b"# Top\n\nintro\n\n## Below\n\nmore text\n\n# Next\n\nlast"),
        ("c.html", html),
        ("d.pdf", make_pdf(chapters=2)),
        ("e.docx", make_docx()),
    ]
    documents = await parsed(world, api, dataset["id"], *files)

    assert [(each["name"], each["run"]) for each in documents] == [(name, "DONE") for name, _ in files]
    assert all(each["chunk_count"] >= 1 for each in documents)
    rows = await world.rows(
        api,
        """
        SELECT s.position, s.level, s.path, (SELECT p.title FROM sections p WHERE p.id = s.parent_id) AS parent,
            (SELECT count(*) FROM chunks c WHERE c.section_id = s.id) AS chunks
        FROM sections s WHERE s.document_id = :id ORDER BY s.position
        """,
        id=documents[1]["id"],
    )
    assert [(row.position, row.level, row.path, row.parent) for row in rows] == [
        (0, 1, ["Top"], None),
        (1, 2, ["Top", "Below"], "Top"),
        (2, 1, ["Next"], None),
    ]
    assert [row.chunks for row in rows] == [1, 1, 1]
    assert await world.rows(api, "SELECT 1 FROM chunks WHERE section_id IS NULL") == []
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.8-fail")
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("secret.pdf", make_encrypted_pdf("pw"), "password"),
        ("bomb.docx", make_zip({"word/document.xml": b"0" * 40_000_000}), "archive bomb"),
        ("broken.docx", b"PK\x03\x04 not really", "damaged"),
        ("song.mp3", b"x", "not supported"),
    ],
)
async def test_a_file_that_cannot_be_parsed_says_why(
    world: World, api: Api, name: str, data: bytes, reason: str
) -> None:
    """knowledge.md 2.8: FAIL, progress -1, a line prefixed `[ERROR]`."""
    world.app.state.edge = replace(world.app.state.edge, upload_max_bytes=64 * 1024 * 1024)
    dataset = await make_dataset(api)
    [failed] = await parsed(world, api, dataset["id"], (name, data))

    assert (failed["run"], failed["progress"], failed["chunk_count"]) == ("FAIL", -1, 0)
    assert "[ERROR]" in failed["progress_msg"]
    assert reason in failed["progress_msg"].split("[ERROR]")[1]
    [job] = await world.rows(api, "SELECT state, error, attempts FROM jobs")
    assert (job.state, job.attempts) == ("failed", 1)
    await assert_exact_counters(world, api)


async def test_an_empty_file_is_done_without_a_chunk(world: World, api: Api) -> None:
    """knowledge.md 2.8."""
    dataset = await make_dataset(api)
    [done] = await parsed(world, api, dataset["id"], ("void.txt", b""))

    assert (done["run"], done["progress"], done["chunk_count"]) == ("DONE", 1.0, 0)
    assert "No chunk built from void.txt" in done["progress_msg"]
    assert "Task done" in done["progress_msg"]


async def test_too_many_chunks_fail_with_advice(world: World, api: Api) -> None:
    """The cap is told with a way out."""
    dataset = await make_dataset(api, parser_config={"chunk_token_num": 1, "delimiter": "\n"})
    [made] = await upload(api, dataset["id"], ("a.txt", b"\n".join(b"line %d words" % n for n in range(30))))
    await parse(api, dataset["id"], made["id"])
    await world.work(replace(FAST, pipeline=PipelineConfig(max_chunks=3)))

    failed = await shown(api, dataset["id"], made["id"])
    assert failed["run"] == "FAIL"
    assert "at most 3 are taken in" in failed["progress_msg"]


async def test_parsing_again_leaves_no_duplicates_and_keeps_section_ids(world: World, api: Api) -> None:
    """knowledge.md 2.6 P: exact counters; sections.md 1: identity survives."""
    dataset = await make_dataset(api)
    [first] = await parsed(world, api, dataset["id"], ("a.md", b"# One\n\ntext\n\n# Two\n\nother text"))
    ids = "SELECT id FROM sections ORDER BY position"
    sections = [row.id for row in await world.rows(api, ids)]

    await parse(api, dataset["id"], first["id"])
    assert (await api.ok("GET", f"/datasets/{dataset['id']}"))["chunk_count"] == 0
    await assert_exact_counters(world, api)
    await world.work()

    again = await shown(api, dataset["id"], first["id"])
    assert (again["chunk_count"], again["token_count"]) == (first["chunk_count"], first["token_count"])
    assert [row.id for row in await world.rows(api, ids)] == sections
    await assert_exact_counters(world, api)


async def test_what_cannot_be_started_or_stopped_is_told(world: World, api: Api) -> None:
    """knowledge.md 2.6, 2.7: known ones start, then the refusal."""
    dataset = await make_dataset(api)
    path = f"/datasets/{dataset['id']}/chunks"
    a, b = await upload(api, dataset["id"], ("a.txt", b"x y"), ("b.txt", b"x y"))

    bodies: list[dict[str, Any]] = [{}, {"document_ids": []}, {"document_ids": None}]
    for body in bodies:
        assert await api.refusal("POST", path, json=body) == invalid("`document_ids` is required")
        assert await api.refusal("DELETE", path, json=body) == invalid("`document_ids` is required")
    assert await api.refusal("POST", "/datasets/nope/chunks", json={"document_ids": ["x"]}) == missing(
        "You don't own the dataset nope."
    )
    assert await api.refusal("DELETE", path, json={"document_ids": [a["id"]]}) == invalid(
        "Can't stop parsing document with progress at 0 or 1"
    )
    assert await api.refusal("DELETE", path, json={"document_ids": ["x"]}) == missing("You don't own the document x.")
    assert await api.refusal("POST", path, json={"document_ids": [a["id"], "x"]}) == missing(
        "Documents not found: ['x']"
    )
    assert (await shown(api, dataset["id"], a["id"]))["run"] == "RUNNING"
    assert await api.refusal("POST", path, json={"document_ids": [b["id"], a["id"]]}) == invalid(
        "Can't parse document that is currently being processed"
    )
    assert (await shown(api, dataset["id"], b["id"]))["run"] == "RUNNING"
    twice = (await api.raw("DELETE", path, json={"document_ids": [a["id"], a["id"]]})).json()
    assert twice["data"] == {"success_count": 1, "errors": [f"Duplicate document ids: {a['id']}"]}


async def test_a_stopped_document_is_left_by_its_worker_at_once(world: World, api: Api, gated: Gated) -> None:
    """knowledge.md 2.7 P: the job is cancelled, the worker hears of it, and nothing more is written."""
    dataset = await make_dataset(api)
    made, after = await upload(api, dataset["id"], ("a.txt", b"some words"), ("b.txt", b"some words"))
    async with working(world.worker_parts(replace(FAST, heartbeat_s=30.0))):
        await parse(api, dataset["id"], made["id"])
        await until(lambda: gated.calls >= 1)

        await api.ok("DELETE", f"/datasets/{dataset['id']}/chunks", json={"document_ids": [made["id"]]})

        stopped = await shown(api, dataset["id"], made["id"])
        assert (stopped["run"], stopped["progress"], stopped["chunk_count"]) == ("CANCEL", 0, 0)
        assert stopped["progress_msg"].endswith("[Canceled]")
        assert stopped["process_begin_at"] is not None
        await parse(api, dataset["id"], after["id"])
        await until(lambda: gated.calls >= 2, within_s=5)  # the only place to work is free again
        gated.gate.set()
        await until(lambda: run_is(api, dataset["id"], after["id"], "DONE"))
    assert (await shown(api, dataset["id"], made["id"])) == stopped
    await assert_exact_counters(world, api)


async def test_stopping_kills_the_parser_child(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """knowledge.md 2.7 P: also a parser that would go on for minutes."""
    pid_file = tmp_path / "pid"
    code = f"import os,time;open({str(pid_file)!r},'w').write(str(os.getpid()));time.sleep(600)"

    async def slow(_path: Any, _name: str, _limits: SandboxLimits, _hints: ParseHints) -> Any:
        process = await anyio.open_process([sys.executable, "-c", code])
        try:
            await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                process.kill()
                await process.aclose()

    monkeypatch.setattr("app.ingest.pipeline.parse_in_child", slow)
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    async with working(world.worker_parts()):
        await parse(api, dataset["id"], made["id"])
        await until(lambda: pid_file.exists() and pid_file.read_text() != "")
        pid = int(pid_file.read_text())
        await api.ok("DELETE", f"/datasets/{dataset['id']}/chunks", json={"document_ids": [made["id"]]})
        await until(lambda: not Path(f"/proc/{pid}").exists(), within_s=2)
        assert not psutil.pid_exists(pid)


async def test_a_deleted_document_ends_its_job(world: World, api: Api, gated: Gated) -> None:
    """knowledge.md 2.5: tasks go with it, and a worker that is at it writes nothing."""
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("a.txt", b"some words"))
    async with working(world.worker_parts()):
        await parse(api, dataset["id"], made["id"])
        await until(lambda: gated.calls >= 1)
        await api.ok("DELETE", f"/datasets/{dataset['id']}/documents", json={"ids": [made["id"]]})
        gated.gate.set()
    assert await world.rows(api, "SELECT 1 FROM chunks") == []
    [job] = await world.rows(api, "SELECT state FROM jobs")
    assert job.state == "cancelled"
    await assert_exact_counters(world, api)


async def test_ingest_is_in_the_ledger(world: World, api: Api) -> None:
    """design.md 1.6."""
    dataset = await make_dataset(api)
    await parsed(world, api, dataset["id"], ("a.txt", b"some words"))

    [row] = await world.rows(api, "SELECT kind, purpose, model, provider, prompt_tokens FROM usage_ledger")
    assert (row.kind, row.purpose, row.model, row.provider) == ("embedding", "ingest", "scripted-embedding", "builtin")
    assert row.prompt_tokens > 0
