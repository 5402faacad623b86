"""Headless Chromium for tests, over its debugging pipe: open a page, ask it things, photograph it."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no browser on this machine")

_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--window-size=900,700")


class Page:
    """One open page."""

    def __init__(self, browser: "_Pipe", session: str) -> None:
        self._browser = browser
        self._session = session

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited.

        Raises:
            AssertionError: it threw.
        """
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        told = self._browser.call("Runtime.evaluate", asked, self._session)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression: str, *, timeout_s: float = 15) -> Any:
        """Return the value of an expression once it is true."""
        until = time.monotonic() + timeout_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < until, f"never true: {expression}; the page: {self.evaluate(_TEXT)}"
            time.sleep(0.05)
        return value

    def text(self) -> str:
        """Return what a reader sees."""
        return str(self.evaluate(_TEXT))

    def photograph(self, file: Path) -> None:
        """Write a PNG."""
        told = self._browser.call("Page.captureScreenshot", {}, self._session)
        file.write_bytes(base64.b64decode(told["data"]))


_TEXT = "document.body?.innerText"


class _Pipe:
    def __init__(self, process: "subprocess.Popen[bytes]", write: int, read: int) -> None:
        self._process = process
        self._write = write
        self._read = read
        self._numbers = itertools.count(1)
        self._rest = b""

    def call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        until = time.monotonic() + 20
        while True:
            told = self._next(until)
            if told.get("id") == number:
                assert "error" not in told, told
                result: dict[str, Any] = told["result"]
                return result

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser says nothing"
            piece = os.read(self._read, 65536)
            assert piece, f"the browser ended: {self._process.poll()}"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def opened(url: str, folder: Path) -> Generator[Page, None, None]:
    """Open a page in a browser of its own, whose profile is in `folder`."""
    assert CHROMIUM is not None
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()

    def hand_over() -> None:  # the browser reads commands at 3 and answers at 4
        read, write = os.dup(down_read), os.dup(up_write)
        os.dup2(read, 3)
        os.dup2(write, 4)

    command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = subprocess.Popen(
        command, close_fds=False, preexec_fn=hand_over, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        pipe = _Pipe(process, down_write, up_read)
        target = pipe.call("Target.createTarget", {"url": url})["targetId"]
        session = pipe.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(pipe, session)
        page.wait("location.href !== 'about:blank' && document.readyState === 'complete'")
        yield page
    finally:
        process.kill()
        process.wait(10)
        for descriptor in (down_read, down_write, up_read, up_write):
            os.close(descriptor)
