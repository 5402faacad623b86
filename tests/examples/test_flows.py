"""The four flows of `examples/flows`, and the same four as applications out there write them, on a running service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from examples.flows import batch, streaming
from tests.browser import needs_browser, opened
from tests.clients.proxy import Cut, CuttingProxy
from tests.service import ServedProcess, free_port, parley_serve, scripted
from tests.service_fixtures import upstream, upstream_process
from tests.upstream.fixtures import ScriptedUpstream

__all__ = ["upstream", "upstream_process"]

ROOT = Path(__file__).resolve().parents[2]
WORDS = "".join(f"word{number} " for number in range(16))


@pytest.fixture(scope="module")
def parley(upstream_process: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    folder = tmp_path_factory.mktemp("flows")
    with parley_serve(folder, upstream_process, settings={"PARLEY_RATE_LIMIT": "0"}) as running:
        yield running


@pytest.fixture
def service(parley: ServedProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{parley.base_url}/api/v1", headers=parley.auth, timeout=20) as client:
        yield client


@pytest.fixture
def chat_id(service: httpx.Client) -> Iterator[str]:
    made = service.post("/chats", json={"name": "flows"}).json()
    assert made["code"] == 0, made
    yield made["data"]["id"]
    service.delete(f"/chats/{made['data']['id']}")


def run(module: str, parley: ServedProcess) -> str:
    command = [sys.executable, "-m", f"examples.flows.{module}", "--base-url", parley.base_url, "--key", parley.key]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_workflow_tells_three_answers_and_leaves_nothing(parley: ServedProcess, service: httpx.Client) -> None:
    told = run("workflow", parley)

    assert told.count("Assistant: word0 word1 ") == 3
    assert "7 messages are kept" in told  # the opener, three questions, three answers
    assert [one["name"] for one in service.get("/chats").json()["data"] if one["name"].startswith("Workflow")] == []


@pytest.mark.slow
def test_batch_and_streaming_run_as_scripts(parley: ServedProcess) -> None:
    assert run("batch", parley).count("word0 word1 ") == 8
    assert run("streaming", parley).strip() == WORDS.strip()


async def test_a_broken_stream_is_taken_up_and_asked_once(
    parley: ServedProcess, chat_id: str, upstream: ScriptedUpstream
) -> None:
    question = scripted("Once?", pieces=40, gap_ms=3)
    cuts = [Cut("down", 900), Cut("down", 2500)]
    async with CuttingProxy(parley.base_url, cuts).running() as proxy:

        def read() -> str:
            base_url = f"{proxy.base_url}/api/v1"
            with httpx.Client(base_url=base_url, headers=parley.auth, timeout=20) as client:
                return "".join(streaming.streamed(client, chat_id, question))

        text = await anyio.to_thread.run_sync(read)

    assert text == "".join(f"word{number} " for number in range(40))
    assert proxy.connections == 3
    assert len(upstream.calls()) == 1


def test_one_bad_question_of_a_batch_is_told_beside_the_others(service: httpx.Client, chat_id: str) -> None:
    questions = [scripted(f"Question {number}", pieces=3) for number in range(6)]
    questions[2] = scripted("Bad", status=400, message="not this one")

    results = batch.ask_all(service, chat_id, questions)

    assert [result.question for result in results] == questions
    assert [bool(result.error) for result in results] == [number == 2 for number in range(6)]
    assert {result.answer for result in results if not result.error} == {"word0 word1 word2 "}
    assert len({result.session_id for result in results if not result.error}) == 5


def test_the_streaming_client_of_the_seeds(parley: ServedProcess, chat_id: str) -> None:
    """requests with a retry policy, lines that start with `data: `, six characters sliced, answers added up."""
    session = requests.Session()
    retries = Retry(total=3, backoff_factor=1, status_forcelist=[429, 500, 502, 503, 504])
    session.mount("http://", HTTPAdapter(max_retries=retries))
    answer = session.post(
        f"{parley.base_url}/api/v1/chats/{chat_id}/completions",
        headers={**parley.auth, "Content-Type": "application/json"},
        json={"question": "What is it?", "stream": True},
        stream=True,
        timeout=20,
    )
    answer.raise_for_status()
    buffer, is_ended = "", False
    for raw in answer.iter_lines():
        line = raw.decode()
        if line.startswith("data: "):
            data = json.loads(line[6:])
            if data.get("data") is True:
                is_ended = True
                break
            buffer += data["data"]["answer"]
    assert (buffer, is_ended) == (WORDS, True)


# --- the relay, in a browser -----------------------------------------------------------------------------------------


@pytest.fixture
def relay(parley: ServedProcess, chat_id: str) -> Iterator[str]:
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    env = kept | {"PARLEY_BASE_URL": parley.base_url, "PARLEY_API_KEY": parley.key, "PARLEY_CHAT_ID": chat_id}
    command = [sys.executable, "-m", "uvicorn", "examples.flows.relay:app", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            assert client.get(f"http://127.0.0.1:{port}/").status_code == 200
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
def test_the_relay_hands_events_on_and_keeps_refusals(relay: str) -> None:
    with httpx.Client(base_url=relay, timeout=20) as client:
        with client.stream("POST", "/chat", json={"question": "What is it?"}) as answer:
            told = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
        refused = client.post("/chat", json={"question": "And?", "session_id": "0" * 32})
    pieces: list[dict[str, Any]] = [json.loads(one)["data"] for one in told[:-2]]
    assert "".join(one["answer"] for one in pieces) == WORDS
    assert told[-1] == "[DONE]"
    assert (refused.status_code, refused.json()["code"]) == (404, 105)


@pytest.mark.slow
@needs_browser
def test_a_page_in_a_browser_shows_the_answer(relay: str, tmp_path: Path) -> None:
    with opened(f"{relay}/#What%20is%20it%3F", tmp_path) as page:
        page.wait("document.querySelector('#log').textContent.includes('word15')")
        page.photograph(tmp_path / "page.png")
        assert "You: What is it?" in page.text()
        assert WORDS.strip() in page.text()
