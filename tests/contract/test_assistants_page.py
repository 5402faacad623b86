"""The examples of docs/assistants.md, run as they stand."""

import os
import re
from pathlib import Path

import anyio

from tests.conftest import Tenant
from tests.service import Service

PAGE = Path(__file__).parents[2] / "docs" / "assistants.md"


async def test_the_examples_of_the_page_run(service: Service, tenant: Tenant) -> None:
    preamble, example = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    _, helper = preamble.strip().split("\n")  # the first line says where the reader's service is
    named = {**os.environ, "API": f"{service.base_url}/api/v1", "KEY": tenant.key}
    with anyio.fail_after(30):
        done = await anyio.run_process(["bash", "-e", "-o", "pipefail", "-c", f"{helper}\n{example}"], env=named)
    assert done.stdout.split() == [b"true"] * 3
