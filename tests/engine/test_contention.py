"""Many questions in one session, from several processes: each waits its turn, and Postgres finds no deadlock (8.2)."""

from collections.abc import AsyncIterator

import anyio
import pytest

from app.domain.models import ModelText
from app.domain.sessions import Session
from app.llm.scripted import ScriptedChatModel
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.engine.conftest import MakeAsk, MakeProcess, Process
from tests.tasks import in_a_task

ASKERS, QUESTIONS = 8, 15


@pytest.fixture
async def other(make_process: MakeProcess) -> AsyncIterator[Process]:
    async with in_a_task(make_process().running()) as running:
        yield running


async def test_opening_and_closing_turns_of_one_session_never_wait_for_each_other(
    process: Process, other: Process, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """Opening locks the session and then looks for a running turn; closing must lock in the same order."""

    async def keep_asking(one: Process, asker: int) -> None:
        for number in range(QUESTIONS):
            model = ScriptedChatModel(ModelText("Yes."))
            await one.engine.open(ask(model, question=f"{asker} {number}", session_id=session.id))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for asker in range(ASKERS):
                tasks.start_soon(keep_asking, (process, other)[asker % 2], asker)
        while process.engine.running_count or other.engine.running_count:  # noqa: ASYNC110
            await anyio.sleep(0.01)

    async with database.unit(tenant.id) as unit:
        messages = (await unit.session_messages.last([session.id], most=5000))[session.id].messages
    assert [one.position for one in messages] == list(range(2 * ASKERS * QUESTIONS))
    assert {one.state for one in messages} == {"done"}
