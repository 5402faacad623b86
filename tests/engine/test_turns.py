"""The life of a turn (design.md 1.1 to 1.5)."""

import asyncio

import anyio
import pytest
from sqlalchemy import text

from app.domain.errors import Unavailable, UpstreamFailed
from app.domain.events import Done, Failed, ReasoningPiece, Stopped, TextPiece, TurnStarted, is_last
from app.domain.ids import SessionId, TurnId
from app.domain.models import ModelReasoning, ModelText
from app.domain.sessions import Session, SessionMissing
from app.domain.turns import SessionBusy, TurnMissing, TurnState
from app.engine.follow import follow
from app.engine.turns import TurnEngine
from app.llm.scripted import ScriptedChatModel
from repositories.idempotency import KeyReused
from repositories.unit_of_work import Database
from tests.conftest import Tenant
from tests.engine.conftest import MakeAsk, MakeProcess, gather


async def test_a_turn_is_numbered_from_one_and_ends_once(engine: TurnEngine, tenant: Tenant, ask: MakeAsk) -> None:
    turn_id = await engine.open(ask(ScriptedChatModel(ModelReasoning("Hm."), ModelText("To "), ModelText("reset"))))

    events = await gather(engine, tenant, turn_id)

    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    assert [event for _, event in events if isinstance(event, TextPiece | ReasoningPiece)] == [
        ReasoningPiece("Hm."),
        TextPiece("To "),
        TextPiece("reset"),
    ]
    assert isinstance(events[0][1], TurnStarted)
    assert [is_last(event) for _, event in events] == [False] * (len(events) - 1) + [True]
    ending = events[-1][1]
    assert isinstance(ending, Done)
    assert (ending.content, ending.usage.completion_tokens, ending.usage.reasoning_tokens) == ("To reset", 3, 1)


@pytest.mark.promise("conversations:10.11-persisting")
async def test_the_question_is_stored_before_the_model_is_asked(
    engine: TurnEngine, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    gate = asyncio.Event()
    model = ScriptedChatModel(ModelText("Yes."), gate=gate)

    turn_id = await engine.open(ask(model, question="Is it kept?", session_id=session.id))

    async with database.unit(tenant.id) as unit:
        (question,) = await unit.messages.of_turn(turn_id)
    assert (question.role, question.content, question.state, question.position) == ("user", "Is it kept?", "running", 0)
    gate.set()
    await gather(engine, tenant, turn_id)
    async with database.unit(tenant.id) as unit:
        messages = (await unit.session_messages.last([session.id], most=5000))[session.id].messages
        stored = await unit.sessions.get(session.id)
    assert [(one.role, one.content, one.state) for one in messages] == [
        ("user", "Is it kept?", "done"),
        ("assistant", "Yes.", "done"),
    ]
    assert messages[0].turn_id == messages[1].turn_id
    assert stored is not None
    assert (stored.round, stored.tokens > 0) == (1, True)


@pytest.mark.promise("conversations:4.4-disconnect")
async def test_a_follower_who_left_does_not_end_a_sessions_turn(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    gate = asyncio.Event()
    turn_id = await engine.open(ask(ScriptedChatModel(ModelText("Still here."), gate=gate), session_id=session.id))
    async for _ in follow(engine, tenant.id, turn_id):
        break
    gate.set()

    assert isinstance((await gather(engine, tenant, turn_id))[-1][1], Done)


@pytest.mark.promise("conversations:4.4-disconnect-alone")
async def test_a_turn_without_a_session_stops_soon_after_its_last_follower_left(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk
) -> None:
    """conversations.md 4.4: the model call of a turn without a session ends with its caller."""
    model = ScriptedChatModel(ModelText("To res"), hang=True)
    turn_id = await engine.open(ask(model, on_disconnect="stop"))
    events = follow(engine, tenant.id, turn_id)
    with anyio.fail_after(5):
        await model.reached.wait()
        await anext(events)
        await events.aclose()
        left_s = anyio.current_time()
        await model.closed.wait()
    assert anyio.current_time() - left_s < 0.5  # at once: the contract has 0.2 s, a busy machine may need some

    turn = await engine.ended(tenant.id, turn_id, timeout_s=5)
    assert turn.state is TurnState.STOPPED
    assert turn.usage.prompt_tokens > 0
    async with engine.database.unit(tenant.id) as unit:
        kept = [(one.role, one.content, one.state) for one in await unit.messages.of_turn(turn_id)]
    assert kept == [("user", "How do I reset it?", "stopped"), ("assistant", "To res", "stopped")]


async def test_a_stopped_turn_keeps_its_pieces_and_closes_the_upstream(
    engine: TurnEngine, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    model = ScriptedChatModel(ModelText("To res"), hang=True)
    turn_id = await engine.open(ask(model, session_id=session.id))
    with anyio.fail_after(5):
        await model.reached.wait()

    await engine.stop(tenant.id, turn_id)

    ending = (await gather(engine, tenant, turn_id))[-1][1]
    assert isinstance(ending, Stopped)
    assert ending.content == "To res"
    assert ending.usage.is_estimated  # the provider never told what it cost
    assert ending.usage.prompt_tokens > 0
    assert model.closed.is_set()
    async with database.unit(tenant.id) as unit:
        assert [one.content for one in await unit.messages.of_turn(turn_id)] == ["How do I reset it?", "To res"]


async def test_stopping_a_turn_that_ended_changes_nothing(engine: TurnEngine, tenant: Tenant, ask: MakeAsk) -> None:
    turn_id = await engine.open(ask(ScriptedChatModel(ModelText("Done."))))
    await gather(engine, tenant, turn_id)

    await engine.stop(tenant.id, turn_id)

    assert (await engine.get(tenant.id, turn_id)).state is TurnState.DONE


async def test_another_tenant_can_neither_follow_nor_stop_a_turn(
    engine: TurnEngine, tenant: Tenant, rival: Tenant, ask: MakeAsk
) -> None:
    model = ScriptedChatModel(ModelText("Secret"), hang=True)
    turn_id = await engine.open(ask(model))

    with pytest.raises(TurnMissing):
        await anext(follow(engine, rival.id, turn_id))
    with pytest.raises(TurnMissing):
        await engine.stop(rival.id, turn_id)
    assert (await engine.get(tenant.id, turn_id)).state is TurnState.RUNNING


async def test_a_failed_upstream_keeps_what_was_said_and_stays_out_of_history(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    broken = ScriptedChatModel(ModelText("Half an"), UpstreamFailed("The provider broke off."))
    failed_id = await engine.open(ask(broken, question="First?", session_id=session.id))
    ending = (await gather(engine, tenant, failed_id))[-1][1]
    assert isinstance(ending, Failed)
    assert (ending.content, ending.message, ending.kind) == ("Half an", "The provider broke off.", "upstream")

    whole = ScriptedChatModel(ModelText("Whole."))
    await gather(engine, tenant, await engine.open(ask(whole, question="Second?", session_id=session.id)))

    assert [message.content for message in whole.calls[0].messages] == ["Be brief.", "Second?"]


async def test_a_defect_of_ours_fails_one_turn_and_tells_nothing_of_itself(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk
) -> None:
    turn_id = await engine.open(ask(ScriptedChatModel(RuntimeError("secret detail"))))
    ending = (await gather(engine, tenant, turn_id))[-1][1]
    assert isinstance(ending, Failed)
    assert (ending.kind, ending.message) == ("internal", "Internal server error")

    after = await engine.open(ask(ScriptedChatModel(ModelText("Fine."))))
    assert isinstance((await gather(engine, tenant, after))[-1][1], Done)


@pytest.mark.promise("conversations:8.2-one-at-a-time")
async def test_turns_of_a_session_run_one_at_a_time_and_each_knows_the_ones_before(
    engine: TurnEngine, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """conversations.md 8.2: the second concurrent turn waits."""
    models = [ScriptedChatModel(ModelText(f"Answer {n}."), gap_s=0.01) for n in range(5)]
    async with anyio.create_task_group() as tasks:
        for n, model in enumerate(models):
            tasks.start_soon(engine.open, ask(model, question=f"Question {n}?", session_id=session.id))
    with anyio.fail_after(10):
        for model in models:
            await model.closed.wait()
        while engine.running_count:  # noqa: ASYNC110
            await anyio.sleep(0.01)

    async with database.unit(tenant.id) as unit:
        messages = (await unit.session_messages.last([session.id], most=5000))[session.id].messages
    assert [one.position for one in messages] == list(range(10))
    assert [one.role for one in messages] == ["user", "assistant"] * 5
    assert len({one.turn_id for one in messages}) == 5
    assert sorted(len(model.calls[0].messages) for model in models) == [2, 4, 6, 8, 10]


@pytest.mark.promise("conversations:8.2-busy")
async def test_a_turn_gives_up_on_a_busy_session_after_its_timeout_and_stores_nothing(
    make_process: MakeProcess, database: Database, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    async with make_process(lock_timeout_s=0.3).running() as process:
        hanging = ScriptedChatModel(ModelText("…"), hang=True)
        await process.engine.open(ask(hanging, session_id=session.id))

        with pytest.raises(SessionBusy, match="Another answer is being generated for this session"):
            await process.engine.open(ask(ScriptedChatModel(), question="Me too?", session_id=session.id))

        async with database.unit(tenant.id) as unit:
            messages = (await unit.session_messages.last([session.id], most=5000))[session.id].messages
        assert [one.content for one in messages] == ["How do I reset it?"]


async def test_a_session_that_is_gone_is_missing(engine: TurnEngine, ask: MakeAsk) -> None:
    with pytest.raises(SessionMissing):
        await engine.open(ask(ScriptedChatModel(), session_id=SessionId("0" * 32)))


async def test_the_same_idempotency_key_asks_once(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk, session: Session
) -> None:
    """design.md 1.5."""
    model = ScriptedChatModel(ModelText("Once."))
    first = await engine.open(ask(model, session_id=session.id, idempotency_key="k1"))
    await gather(engine, tenant, first)

    again = await engine.open(ask(model, session_id=session.id, idempotency_key="k1"))

    assert again == first
    assert len(model.calls) == 1
    with pytest.raises(KeyReused):
        await engine.open(ask(model, session_id=session.id, idempotency_key="k1", body=b"other"))


async def test_calls_at_once_with_one_idempotency_key_ask_once(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk
) -> None:
    model = ScriptedChatModel(ModelText("Once."))
    found: set[TurnId] = set()

    async def call() -> None:
        found.add(await engine.open(ask(model, idempotency_key="k2")))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(call)
    (turn_id,) = found
    await gather(engine, tenant, turn_id)
    assert len(model.calls) == 1


async def test_a_stock_clients_retry_attaches_to_the_turn_it_repeats(
    engine: TurnEngine, tenant: Tenant, ask: MakeAsk
) -> None:
    """design.md 1.5: same key, route and body, a retry count above 0, an answer not yet delivered."""
    model = ScriptedChatModel(ModelText("Once."), hang=True)
    first = await engine.open(ask(model, retry_count=0))

    assert await engine.open(ask(model, retry_count=1)) == first
    assert await engine.open(ask(ScriptedChatModel(), retry_count=1, body=b"another question")) != first
    assert await engine.open(ask(ScriptedChatModel(), retry_count=0)) != first


async def test_a_retry_after_a_failed_turn_asks_again(engine: TurnEngine, tenant: Tenant, ask: MakeAsk) -> None:
    failed = await engine.open(ask(ScriptedChatModel(UpstreamFailed("No.")), retry_count=0))
    await gather(engine, tenant, failed)
    model = ScriptedChatModel(ModelText("Yes."))

    again = await engine.open(ask(model, retry_count=1))

    assert again != failed
    assert isinstance((await gather(engine, tenant, again))[-1][1], Done)


async def test_a_retry_long_after_delivery_is_a_new_question(
    engine: TurnEngine, database: Database, tenant: Tenant, ask: MakeAsk
) -> None:
    first = await engine.open(ask(ScriptedChatModel(ModelText("Yes.")), retry_count=0))
    await gather(engine, tenant, first)
    engine.writer.note_delivered(tenant.id, first)
    await engine.writer.write()
    assert await engine.open(ask(ScriptedChatModel(), retry_count=1)) == first  # it may have been lost on the way
    async with database.unit(tenant.id) as unit:
        long_ago = text("UPDATE turns SET delivered_at = delivered_at - interval '1 minute' WHERE id = :id")
        await unit._connection.execute(long_ago, {"id": first})

    assert await engine.open(ask(ScriptedChatModel(), retry_count=1)) != first


async def test_a_draining_process_takes_no_new_turn_and_stops_running_ones_with_their_text(
    make_process: MakeProcess, tenant: Tenant, ask: MakeAsk
) -> None:
    """operations.md 4."""
    async with make_process().running() as process:
        model = ScriptedChatModel(ModelText("Half"), hang=True)
        turn_id = await process.engine.open(ask(model))
        with anyio.fail_after(5):
            await model.reached.wait()
            await process.engine.drain(0.05)

        turn = await process.engine.get(tenant.id, turn_id)
        assert turn.state is TurnState.STOPPED
        with pytest.raises(Unavailable):
            await process.engine.open(ask(model))


async def test_a_turn_past_its_deadline_fails_with_what_it_has(
    make_process: MakeProcess, tenant: Tenant, ask: MakeAsk
) -> None:
    async with make_process(turn_timeout_s=0.2).running() as process:
        turn_id = await process.engine.open(ask(ScriptedChatModel(ModelText("Slow"), hang=True)))
        ending = (await gather(process.engine, tenant, turn_id))[-1][1]
    assert isinstance(ending, Failed)
    assert (ending.kind, ending.content) == ("upstream_timeout", "Slow")


async def test_the_ledger_and_the_day_agree_with_the_turn(
    engine: TurnEngine, database: Database, tenant: Tenant, ask: MakeAsk
) -> None:
    """design.md 1.6: statistics are sums of the ledger."""
    turn_ids = [await engine.open(ask(ScriptedChatModel(ModelText("One"), ModelText(" two")))) for _ in range(3)]
    for turn_id in turn_ids:
        await gather(engine, tenant, turn_id)
    turn_id = turn_ids[-1]
    turn = await engine.get(tenant.id, turn_id)
    async with database.unit(tenant.id) as unit:
        connection = unit._connection
        ledger = (await connection.execute(text("SELECT * FROM usage_ledger ORDER BY id"))).all()
        daily = (await connection.execute(text("SELECT * FROM usage_daily"))).one()

    assert len(ledger) == 3
    assert {(row.kind, row.purpose, row.model) for row in ledger} == {("chat", "answer", "scripted")}
    last = next(row for row in ledger if row.turn_id == turn_id)
    assert (last.prompt_tokens, last.completion_tokens) == (turn.usage.prompt_tokens, turn.usage.completion_tokens)
    assert daily.calls == 3
    assert daily.prompt_tokens == sum(row.prompt_tokens for row in ledger)
    assert daily.completion_tokens == sum(row.completion_tokens for row in ledger)
