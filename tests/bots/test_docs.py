"""The examples of docs/keys-and-bots.md, run as they stand."""

import json
import os
import re
from pathlib import Path

import anyio

from app.domain.chats import Chat
from tests.conftest import Tenant
from tests.service import Service
from tests.tokens.world import make

PAGE = Path(__file__).parents[2] / "docs" / "keys-and-bots.md"


async def test_the_examples_of_the_page_run(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with service.client(tenant) as client:
        other = await make(client)
    named = {"PARLEY": service.base_url, "KEY": tenant.key, "KEY_ID": other["id"], "CHAT": chat.id}
    examples = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        with anyio.fail_after(20):
            done = await anyio.run_process(["sh", "-c", example], env={**os.environ, **named})
        assert json.loads(done.stdout)["code"] == 0, done.stdout
        assert "token" in json.loads(done.stdout)["data"]
