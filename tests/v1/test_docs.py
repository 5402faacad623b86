"""The examples of docs/openai.md, run as they stand but for names and address."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import run_process

from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import knowing

DOCS = Path(__file__).resolve().parents[2] / "docs" / "openai.md"


@pytest.mark.promise("openai:docs")
async def test_every_example_runs(service: Service, tenant: Tenant) -> None:
    text = DOCS.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    known = await knowing(service, tenant)
    program = "\n".join(blocks)
    for name, value in {
        "http://localhost:9380": service.base_url,
        "<key>": tenant.key,
        "<assistant id>": known.chat.id,
        "<raw model>": "scripted",
        "<embedding model>": "embed",
    }.items():
        assert name in program
        program = program.replace(name, value)
    assert "<" not in re.sub(r'"[^"]*"', "", program).replace("<=", "")
    done = await run_process([sys.executable, "-W", "error", "-c", program], check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    told = done.stdout.decode()
    for expected in (known.chat.id, "cranes.txt", "invalid_value temperature req_", "2 8 ", "True\n"):
        assert expected in told, (expected, told)
