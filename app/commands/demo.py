"""`parley demo`: runs the sample of `examples/` against a service, its own if none runs."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import typer

from app.commands.calling import Key, Url, known_key
from app.commands.telling import fail, tell
from app.serving.kept import address_of
from app.settings import PREFIX, read_settings

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "demo.py"
"""Run as `demo.py --url http://host:port --key KEY`; its exit status is the command's."""

_START_S = 120.0


def demo(url: Url = None, key: Key = None) -> None:
    """Load the sample documents, make an assistant, ask three questions through the official client."""
    if not SAMPLE.is_file():
        fail(f"{SAMPLE} is not there: the demo is part of a checkout")
    settings = read_settings()
    base = url or address_of(settings.host, settings.port)
    if _is_up(base):
        raise typer.Exit(_run(base, key or known_key(settings)))
    if url is not None:
        fail(f"nobody answers on {base}")
    with _own_service() as (own, own_key):
        raise typer.Exit(_run(own, own_key))


def _run(base: str, key: str) -> int:
    env = {**os.environ, f"{PREFIX}API_KEY": key}  # not among the arguments, which any user can list
    return subprocess.run([sys.executable, SAMPLE, "--url", base], env=env, check=False).returncode  # noqa: S603


def _is_up(base: str) -> bool:
    with suppress(URLError, OSError, ValueError), urlopen(f"{base}/livez", timeout=2) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


@contextmanager
def _own_service() -> Generator[tuple[str, str], None, None]:
    """Run a service on a free port with data of its own, for as long as the block lasts."""
    tell("No service answers here: starting one for the demo.")
    folder = Path(tempfile.mkdtemp(prefix="parley-demo-"))
    folder.chmod(0o711)  # as root, PostgreSQL runs as another user, who has to get through
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        f"{PREFIX}DATA_DIR": str(folder / "data"),
        f"{PREFIX}HOST": "127.0.0.1",
        f"{PREFIX}PORT": str(port),
        f"{PREFIX}LOG_LEVEL": "warning",
    }
    service = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"], env=env, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        base = f"http://127.0.0.1:{port}"
        until = time.monotonic() + _START_S
        while not _is_up(base):
            if service.poll() is not None or time.monotonic() > until:
                fail("the service did not start")
            time.sleep(0.1)
        yield base, (folder / "data" / "api-key").read_text().strip()
    finally:
        service.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            service.wait(60)
        service.kill()
        service.wait()
        shutil.rmtree(folder, ignore_errors=True)
