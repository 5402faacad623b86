"""Official clients, unmodified, walk `/v1`: Python newest and 1.x, and npm (openai.md 12)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import MODEL, ServedProcess, parley_serve
from tests.service_fixtures import upstream, upstream_process
from tests.upstream.fixtures import ScriptedUpstream

__all__ = ["upstream", "upstream_process"]

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).resolve().parent / "node"
OLD_CLIENT = Path(sys.prefix) / "openai-1"  # `make install-dev` puts it there
EMBEDDING = "scripted-embedding"


@pytest.fixture(scope="module")
def parley(upstream_process: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    settings = {
        "PARLEY_RATE_LIMIT": "0",
        "PARLEY_EMBEDDING_BASE_URL": upstream_process.base_url,
        "PARLEY_EMBEDDING_API_KEY": "upstream-secret",
        "PARLEY_EMBEDDING_MODEL": EMBEDDING,
        "PARLEY_EMBEDDING_DIMENSIONS": "8",
    }
    with parley_serve(tmp_path_factory.mktemp("walks"), upstream_process, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def arguments(parley: ServedProcess) -> list[str]:
    """Return what the walks are told: address, key, and a model of each kind."""
    made = httpx.post(f"{parley.base_url}/api/v1/chats", headers=parley.auth, json={"name": "walk"}).json()
    return [f"{parley.base_url}/v1", parley.key, made["data"]["id"], MODEL, EMBEDDING]


def walked(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


@pytest.mark.slow
def test_the_newest_python_client(arguments: list[str]) -> None:
    told = walked([sys.executable, "-m", "tests.clients.openai_walk", *arguments])
    assert told.count("\nok  ") == 11


@pytest.mark.slow
@pytest.mark.skipif(not OLD_CLIENT.exists(), reason="the 1.x client is not installed: `make install-dev`")
def test_the_python_client_of_1(arguments: list[str]) -> None:
    told = walked([sys.executable, "-m", "tests.clients.openai_walk", *arguments], PYTHONPATH=str(OLD_CLIENT))
    assert told.startswith("openai 1.")
    assert told.count("\nok  ") == 11


@pytest.fixture(scope="module")
def node_client() -> None:
    """Fetch the npm client by its lock file, once."""
    if shutil.which("npm") is None:
        pytest.skip("node is not installed")
    if not all((NODE / "node_modules" / name).is_dir() for name in ("openai", "ai", "zod")):
        done = subprocess.run(["npm", "ci", "--silent"], cwd=NODE, capture_output=True, timeout=100, check=False)
        if done.returncode != 0:
            pytest.skip("the npm client could not be fetched")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("node_client")
def test_the_npm_client(arguments: list[str]) -> None:
    told = walked(["node", str(NODE / "walk.mjs"), *arguments])
    assert told.count("ok  ") == 13
