"""The first start tells all that is needed, in lines that work; later ones are quick and tell little."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.operations.conftest import scripted
from tests.operations.running import Service, environment, gone, parley, serving, until
from tests.upstream.fixtures import ScriptedUpstream


def read_until(terminal: int, wanted: bytes, within_s: float) -> str:
    said, deadline = b"", time.monotonic() + within_s
    while wanted not in said:
        assert time.monotonic() < deadline, said.decode()
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 65536)
    return said.decode().replace("\r\n", "\n")


def test_on_a_terminal_the_first_start_prints_lines_that_work_when_pasted(
    folder: Path, upstream: ScriptedUpstream
) -> None:
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    env = environment(folder, scripted(upstream))
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"],
        env=env,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        said = read_until(terminal, b"message.content)\r\n", 60)
        key = (folder / "data" / "api-key").read_text().strip()
        assert f"API key    {key}\n" in said
        assert "scripted@default" in said
        assert "all-minilm-l6-v2@builtin" in said
        assert "its own PostgreSQL" in said
        assert re.search(r"http://127\.0\.0\.1:\d+/docs", said)

        curl = next(line for line in said.splitlines() if line.startswith("curl "))
        answered = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=30)
        assert "word0" in answered.stdout
        python = "\n".join(
            line for line in said.splitlines() if line.startswith(("from openai", "chat =", "answer =", "print("))
        )
        assert python.count("\n") == 3
        answered = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, timeout=30)
        assert answered.stdout.startswith("word0 word1"), answered.stderr
        assert key not in read_until_quiet(terminal)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        os.close(terminal)


def read_until_quiet(terminal: int) -> str:
    said = b""
    while select.select([terminal], [], [], 0.3)[0]:
        said += os.read(terminal, 65536)
    return said.decode()


def test_elsewhere_the_first_start_logs_where_the_key_is_and_never_the_key(service: Service) -> None:
    told = service.lines("serving")[0]
    assert told["key_file"] == str(service.data_dir / "api-key")
    assert told["chat_model"] == "scripted@default"
    assert service.key not in service.log
    assert stat.S_IMODE((service.data_dir / "api-key").stat().st_mode) == 0o600
    assert stat.S_IMODE((service.data_dir / "secret-key").stat().st_mode) == 0o600


def test_the_second_start_takes_under_five_seconds_and_keeps_key_and_assistant(folder: Path) -> None:
    with serving(folder) as first:
        key, chat_id = first.key, first.chat_id
        family = first.family()
        assert first.stop(signal.SIGINT) == 0
        until(lambda: all(map(gone, family)), 5)
    begun = time.monotonic()
    with serving(folder) as second:
        assert time.monotonic() - begun < 5
        assert second.key == key
        assert "key_file" not in second.lines("serving")[0]
        with second.client() as client:
            chats = client.get("/api/v1/chats", headers=second.auth).json()["data"]
        assert [chat["id"] for chat in chats] == [chat_id]


def test_a_second_service_on_the_same_data_is_refused_with_a_line_that_says_so(service: Service) -> None:
    refused = parley("serve", env=service.env, folder=service.folder)
    assert refused.returncode == 1
    assert f"{service.data_dir / 'postgres'} is in use by another parley service (pid {service.process.pid})" in (
        refused.stderr
    )
    assert refused.stderr.count("\n") == 1


def test_an_address_in_use_is_refused_with_a_line_that_says_so(service: Service, folder: Path) -> None:
    port = service.address.rpartition(":")[2]
    refused = parley("serve", env=environment(folder, {"PORT": port}), folder=folder)
    assert refused.returncode == 1
    assert refused.stderr == f"parley: 127.0.0.1:{port} is in use: stop what runs there, or set PARLEY_PORT\n"


def test_a_key_of_the_settings_exists_after_every_start(folder: Path) -> None:
    for _ in range(2):
        with serving(folder, API_KEY="sk-chosen-by-us") as service, service.client() as client:
            found = client.get("/api/v1/chats", headers={"Authorization": "Bearer sk-chosen-by-us"})
            assert found.status_code == 200
            assert "sk-chosen-by-us" not in service.log
            assert not (service.data_dir / "api-key").exists()


UNUSABLE = [
    ("NO_SUCH_THING", "1", "parley: PARLEY_NO_SUCH_THING: no such setting\n"),
    ("PORT", "many", "parley: PARLEY_PORT: Input should be a valid integer"),
    ("DATABASE_URL", "mysql://x/y", "parley: PARLEY_DATABASE_URL: must begin with postgresql://\n"),
    ("MODELS_FILE", "/no/such/file.toml", "parley: /no/such/file.toml: cannot be read: No such file or directory"),
    ("LLM_BASE_URL", "http://127.0.0.1:9/v1", "parley: PARLEY_LLM_MODEL is needed beside PARLEY_LLM_BASE_URL"),
]
STARTS = """
import contextlib, io, json, os, sys
from app.cli import main

told = []
for name, value in json.loads(sys.argv.pop()):
    os.environ[name] = value
    sys.argv[:] = ["parley", "serve"]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as ended:
            told.append((ended.code, said.getvalue()))
    del os.environ[name]
print(json.dumps(told))
"""


def test_settings_that_cannot_be_used_stop_the_start_with_their_names(folder: Path) -> None:
    """One process starts again and again: what a start costs is what it imports."""
    settings = json.dumps([(f"PARLEY_{name}", value) for name, value, _ in UNUSABLE])
    arguments = [sys.executable, "-c", STARTS, settings]
    done = subprocess.run(arguments, env=environment(folder, {}), cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    starts: list[tuple[int, str]] = json.loads(done.stdout)
    for (_, _, line), (status, said) in zip(UNUSABLE, starts, strict=True):
        assert status == 2
        assert said.startswith(line)
        assert said.count("\n") == 1


def test_a_setting_that_cannot_be_used_ends_the_process(folder: Path) -> None:
    name, value, line = UNUSABLE[0]
    refused = parley("serve", env=environment(folder, {name: value}), folder=folder)
    assert (refused.returncode, refused.stderr) == (2, line)


def test_a_data_directory_that_cannot_be_made_is_told_in_a_line(folder: Path) -> None:
    refused = parley("serve", env=environment(folder, {"DATA_DIR": "/dev/null/data"}), folder=folder)
    assert refused.returncode == 1
    assert refused.stderr.startswith("parley: /dev/null/data/postgres cannot be made (Not a directory)")
    assert refused.stderr.count("\n") == 1
