"""The scripted provider as pytest fixtures: one process a session, on a free port."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest


class ScriptedUpstream:
    """A running scripted provider."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.root}/v1"

    def calls(self) -> list[dict[str, Any]]:
        """Return what was asked of it since `forget`."""
        found: list[dict[str, Any]] = json.loads(self._ask("GET"))
        return found

    def forget(self) -> None:
        """Empty the list of calls."""
        self._ask("DELETE")

    async def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool], *, timeout_s: float = 5) -> None:
        """Return once its calls meet `condition`; fail after `timeout_s`."""
        with anyio.fail_after(timeout_s):
            while not condition(await anyio.to_thread.run_sync(self.calls)):  # noqa: ASYNC110 - another process
                await anyio.sleep(0.01)

    def is_up(self) -> bool:
        """Tell whether it answers."""
        try:
            self.calls()
        except OSError:
            return False
        return True

    def _ask(self, method: str) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            connection.request(method, "/_calls")
            return connection.getresponse().read()


@contextmanager
def scripted_upstream() -> Generator[ScriptedUpstream, None, None]:
    """Run the scripted provider as a process of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        port = int(listener.getsockname()[1])
        command = [sys.executable, "-m", "tests.upstream.server", "--fd", str(listener.fileno())]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        upstream = ScriptedUpstream(port)
        until = time.monotonic() + 20
        while not upstream.is_up():
            assert process.poll() is None, "the scripted upstream died"
            assert time.monotonic() < until, "the scripted upstream did not start"
            time.sleep(0.02)
        yield upstream
    finally:
        process.kill()
        process.wait(5)


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[ScriptedUpstream]:
    with scripted_upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(upstream_process: ScriptedUpstream) -> ScriptedUpstream:
    """The scripted provider, with no calls remembered."""
    upstream_process.forget()
    return upstream_process
