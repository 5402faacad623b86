"""`ragflow-sdk` 0.22, unmodified, on a service of its own (knowledge.md, appendix A)."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.running import Service, own_folder, serving
from tests.service import MODEL
from tests.upstream.fixtures import ScriptedUpstream

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def served_as_22() -> Iterator[Service]:
    with own_folder() as folder, serving(folder, COMPAT="0.22") as service:
        yield service


def _walk(base_url: str, key: str) -> str:
    command = [sys.executable, "-m", "tests.clients.ragflow_walk", base_url, key]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.promise("A-sdk-walk", "0.7-by-mount")
def test_the_client_walks_its_whole_surface(served_as_22: Service) -> None:
    """By the setting, and below the mount of a service that has it."""
    told = _walk(served_as_22.address, served_as_22.key)
    assert "ragflow-sdk 0.22." in told
    assert _walk(f"{served_as_22.address}/compat/0.22", served_as_22.key).count("\nok  ") == told.count("\nok  ")


@pytest.fixture
def served_plain(upstream: ScriptedUpstream) -> Iterator[Service]:
    """In the default dialect, with the scripted provider for its models."""
    models = {"LLM_BASE_URL": upstream.base_url, "LLM_API_KEY": "upstream-secret", "LLM_MODEL": MODEL}
    with own_folder() as folder, serving(folder, **models) as service:
        yield service


def _walk_chats(base_url: str, key: str, shape: str) -> str:
    command = [sys.executable, "-m", "tests.clients.ragflow_walk_chats", base_url, key, shape]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.promise("conversations:13-sdk-walk", "conversations:1.1-mount", "conversations:4.5-sdk")
@pytest.mark.promise("conversations:1.1-discriminators")
def test_the_client_walks_its_chats_and_sessions(served_plain: Service) -> None:
    """At the address itself, in the default dialect, and below the mount."""
    told = _walk_chats(served_plain.address, served_plain.key, "pieces")
    assert "ragflow-sdk 0.22." in told
    old = _walk_chats(f"{served_plain.address}/compat/0.22", served_plain.key, "cumulative")
    assert old.count("\nok  ") == told.count("\nok  ") + 1  # there each piece holds those before it
