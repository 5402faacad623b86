import os
import stat
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest

from app.domain.documents import ParseFailed
from app.ingest.parsers import parse
from app.ingest.sandbox import SandboxLimits, parse_in_child
from tests.ingest.files import make_docx, make_encrypted_pdf, make_pdf


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(make_pdf())
    return path


def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a shell script in the place of the parse child."""
    path = tmp_path / "child"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("app.ingest.sandbox.sys.executable", str(path))


@pytest.mark.parametrize(
    ("filename", "data"), [("a.pdf", make_pdf()), ("a.docx", make_docx()), ("ü ber.txt", b"hi"), ("e.md", b"")]
)
async def test_the_child_reads_what_the_parser_reads(tmp_path: Path, filename: str, data: bytes) -> None:
    path = tmp_path / "blob"
    path.write_bytes(data)
    with anyio.fail_after(20):
        assert await parse_in_child(path, filename) == await anyio.to_thread.run_sync(parse, data, filename)


async def test_a_refusal_of_the_parser_comes_through(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(make_encrypted_pdf("sesame"))
    with anyio.fail_after(20), pytest.raises(ParseFailed, match="protected by a password"):
        await parse_in_child(path, "a.pdf")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (SandboxLimits(wall_s=0.05), "took longer than 0.05 s"),
        (SandboxLimits(memory_bytes=200 * 1024**2), "more memory"),
        (SandboxLimits(output_bytes=100), "more text than is taken in"),
    ],
)
async def test_limits_end_the_parse_with_a_reason(pdf: Path, limits: SandboxLimits, says: str) -> None:
    with anyio.fail_after(20), pytest.raises(ParseFailed, match=says):
        await parse_in_child(pdf, "a.pdf", limits)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("kill -SEGV $$", "crashed the parser"),
        ("kill -KILL $$", "more memory"),
        ("kill -XCPU $$", "too much computing"),
        ("echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$", "more memory"),
        ("echo nonsense", "crashed the parser"),
        ("exit 3", "crashed the parser"),
        ("yes | head -c 3000000 >&2; exit 1", "crashed the parser"),
        ("yes", "more text than is taken in"),
        ("sleep 60", "took longer"),
    ],
)
async def test_a_crash_is_explained(
    pdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    impostor(tmp_path, monkeypatch, script)
    with anyio.fail_after(20), pytest.raises(ParseFailed, match=says):
        await parse_in_child(pdf, "a.pdf", SandboxLimits(wall_s=2, output_bytes=5_000_000))


async def test_the_child_dies_with_the_task(pdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(parse_in_child, pdf, "a.pdf")
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():  # noqa: ASYNC110 - another process
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


async def test_the_child_is_told_no_secrets(pdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_SECRET", "sesame")
    impostor(tmp_path, monkeypatch, f"env > {tmp_path}/seen")
    with anyio.fail_after(20), pytest.raises(ParseFailed):
        await parse_in_child(pdf, "a.pdf")
    assert "sesame" not in (tmp_path / "seen").read_text()
    assert os.environ["PARLEY_SECRET"] == "sesame"
