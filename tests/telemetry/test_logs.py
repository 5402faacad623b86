"""Log lines are JSON off a terminal, whoever writes them, and carry what is bound."""

import json
import subprocess
import sys
from typing import Any

SCRIPT = """
import logging, sys, warnings
import structlog
from app.telemetry.logs import set_up_logs
set_up_logs(*sys.argv[1:])
structlog.contextvars.bind_contextvars(request_id="req_1")
structlog.get_logger().info("ours", path="/x", odd=b"\\xff")
structlog.get_logger().debug("too quiet")
structlog.get_logger().info("half a character", text="\\ud800", number=10**30)
logging.getLogger("some.library").warning("theirs %s", 1)
logging.getLogger("uvicorn.access").error("a line of uvicorn's")
logging.getLogger("sqlalchemy.engine").info("SELECT secret")
try:
    raise ValueError("what went wrong")
except ValueError as error:
    structlog.get_logger().error("failed", exc_info=error)
warnings.warn("look out")
"""


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def test_off_a_terminal_every_line_is_json() -> None:
    lines: list[dict[str, Any]] = [json.loads(line) for line in run().splitlines()]
    assert [line["event"].split("\n")[0] for line in lines[:4]] == [
        "ours",
        "half a character",
        "theirs 1",
        "failed",
    ]
    assert all(line["request_id"] == "req_1" for line in lines)
    assert (lines[1]["text"], lines[1]["number"]) == ("\ud800", 10**30)
    assert lines[2]["logger"] == "some.library"
    assert "what went wrong" in lines[3]["exception"]
    assert "look out" in lines[4]["event"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_the_level_decides_what_is_told() -> None:
    assert "too quiet" in run("json", "debug")
    assert "ours" not in run("json", "warning")


def test_a_console_gets_lines_for_people() -> None:
    told = run("console", "info")
    assert "ours" in told
    assert not told.startswith("{")
    assert "SELECT" not in told
