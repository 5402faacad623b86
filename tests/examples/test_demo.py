"""The demo against a real server with the embedded models, started as a person would."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench.processes import ROOT, Parley, data_folder, free_port, serving
from examples import demo


@pytest.fixture(scope="module")
def parley() -> Iterator[Parley]:
    with data_folder() as folder, serving(Parley(folder=folder)) as running:
        yield running
        assert running.process.poll() is None, running.log.read_text()[-4000:]


def run(*arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    env = kept | ({"PARLEY_API_KEY": key} if key is not None else {"PARLEY_DATA_DIR": "/nonexistent"})
    command = [sys.executable, "examples/demo.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=110, check=False)


def base_url(parley: Parley) -> str:
    return f"http://127.0.0.1:{parley.port}"


@pytest.mark.slow
def test_it_answers_three_questions_with_sources_and_can_be_run_again(parley: Parley) -> None:
    first = run("--base-url", base_url(parley), key=parley.key)
    again = run("--base-url", base_url(parley), key=parley.key)

    assert (first.returncode, first.stderr) == (0, "")
    for question in demo.QUESTIONS:
        assert question in first.stdout
    for fact in ("30 days' notice", "up to 8 euros a shift", "in drawer 14"):
        assert fact in first.stdout
    for source in ("01-welcome-and-membership.md", "09-volunteer-handbook.docx", "10-prices-and-torque.pdf"):
        assert f"{source}, similarity 0." in first.stdout
    assert "first token after" in first.stdout
    assert (again.returncode, again.stderr) == (0, "")
    assert "12 documents" in again.stdout


@pytest.mark.slow
def test_an_answer_without_a_citation_is_a_failure(
    parley: Parley, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "QUESTIONS", ("Who won the football world cup in 1998?",))

    status = demo.main(["--url", base_url(parley), "--key", parley.key])

    assert status == 1
    assert capsys.readouterr().err.startswith(
        "demo: the answer to 'Who won the football world cup in 1998?' cites nothing"
    )


@pytest.mark.slow
def test_a_wrong_key_is_one_clear_line(parley: Parley) -> None:
    refused = run("--base-url", base_url(parley), "--key", "ragflow-wrong")

    assert refused.returncode == 1
    assert refused.stderr == "demo: GET /datasets: 401 Authentication error: API key is invalid!\n"


def test_no_key_and_no_server_are_one_clear_line_each() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"

    keyless, serverless = run("--base-url", nowhere), run("--base-url", nowhere, key="ragflow-any")

    assert (keyless.returncode, serverless.returncode) == (1, 1)
    assert keyless.stderr.startswith("demo: no key: set PARLEY_API_KEY, or --key")
    assert serverless.stderr.startswith(f"demo: no talking to {nowhere}: ")
    assert serverless.stderr.count("\n") == 1
