"""Turns that are followed from any event, on any process."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from fastapi import FastAPI

from app.domain.ids import ChunkId, DatasetId, DocumentId, TurnId
from app.domain.limits import LimitsConfig
from app.domain.models import ChatMessage, ModelReasoning, ModelText
from app.domain.references import Reference
from app.engine.ask import Ask
from app.engine.draft import Draft
from app.engine.rag import RagAnswerer
from app.llm.scripted import ScriptedChatModel
from app.security.authenticator import Authenticator
from app.security.limits import Limits
from repositories.limits import LimitCounters
from routers import errors, turns
from routers.deps import EdgeConfig
from tests.conftest import PEPPER, Tenant
from tests.engine.conftest import MakeProcess, NothingFound, Process, WordCounter
from tests.routes import include
from tests.tasks import in_a_task

PIECES = [f"Stück {n} — 日本🚀\r\n\u2028" for n in range(300)]
THOUGHTS = [f"Hm {n}. " for n in range(10)]
BLOCK = re.compile(rb"(?:id: (\d+)\n)?data: [^\n]*\n\n")


class Found:
    """Finds two references, then asks the model."""

    def __init__(self) -> None:
        self._asks_model = RagAnswerer(NothingFound(), WordCounter())

    async def answer(self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> None:
        draft.found(
            [
                Reference(
                    chunk_id=ChunkId(f"k{n}"),
                    content="Inhalt ü",
                    document_id=DocumentId(""),  # of no document: one that is not there would be left out
                    document_name="d.pdf",
                    dataset_id=DatasetId(""),
                    similarity=0.5,
                )
                for n in range(2)
            ],
            2,
        )
        await self._asks_model.answer(ask, history, draft, deadline_s=deadline_s)


def api(process: Process) -> httpx.AsyncClient:
    """The routes of turns over this process's engine."""
    app = FastAPI()
    errors.install(app)
    include(app, turns.router)
    app.state.database = process.database
    app.state.engine = process.engine
    app.state.edge = EdgeConfig(ping_s=0)
    app.state.authenticator = Authenticator(process.database, PEPPER)
    app.state.limits = Limits(LimitCounters(process.database.url), LimitsConfig(), process.engine.process_id)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=20)


async def rest(client: httpx.AsyncClient, tenant: Tenant, turn_id: TurnId, n: int, *, by_header: bool = False) -> bytes:
    path = f"/api/v1/turns/{turn_id}/events"
    if by_header:
        answer = await client.get(path, headers={**tenant.auth, "Last-Event-ID": str(n)})
    else:
        answer = await client.get(path, params={"after": n}, headers=tenant.auth)
    assert answer.status_code == 200, answer.text
    return answer.content


def suffix(whole: bytes, n: int) -> bytes:
    """Return what comes after the last block with a number of at most `n`."""
    at = 0
    for block in BLOCK.finditer(whole):
        if block[1] is not None and int(block[1]) <= n:
            at = block.end()
    return b"" if whole[at:].startswith(b'data: {"code":0,"message":"","data":true}') else whole[at:]


@pytest.fixture
def asked(process: Process) -> Process:
    """The process, whose answerer finds references."""
    process.engine._answerer = Found()
    return process


@pytest.fixture
async def other(make_process: MakeProcess) -> AsyncIterator[Process]:
    """A second process on the same database."""
    async with in_a_task(make_process().running()) as running:
        yield running


def long_model(gate: asyncio.Event | None = None) -> ScriptedChatModel:
    return ScriptedChatModel(*map(ModelReasoning, THOUGHTS), *map(ModelText, PIECES), gate=gate)
