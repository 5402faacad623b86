"""Following a turn from any event number, on any process, while it runs and after it ended."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from app.domain.events import (
    Done,
    Failed,
    Numbered,
    RetrievalDone,
    Stopped,
    TextPiece,
    ToolCallPiece,
    TurnStarted,
    is_last,
)
from app.domain.events import ReasoningPiece as Reasoning
from app.domain.ids import TenantId, TurnId
from app.domain.models import FinishReason
from app.domain.references import without_deleted
from app.domain.sessions import Message
from app.domain.turns import Turn, TurnMissing, TurnState
from app.engine.codec import decode
from app.engine.running import RunningTurn
from app.engine.turns import TurnEngine
from repositories.unit_of_work import UnitOfWork

_LOOK_AGAIN_S = 0.5


async def follow(
    engine: TurnEngine, tenant_id: TenantId, turn_id: TurnId, *, seen: int = 0
) -> AsyncGenerator[Sequence[Numbered], None]:
    """Yield a turn's events from the first, in the batches they come in; ends after the last event.

    A follower who comes back says what it has `seen`: where the log has expired, the last event is then new to it.

    Raises:
        TurnMissing: there is no such turn.
    """
    after = 0
    running = engine.local(tenant_id, turn_id)
    if running is not None:
        engine.follower_came(running)
        try:
            async for batch in _follow_running(running, after):
                yield batch
                after = max(after, batch[-1][0])
                if is_last(batch[-1][1]):
                    return
        finally:
            engine.follower_left(running)
    async for batch in _follow_stored(engine, tenant_id, turn_id, after, seen):
        yield batch


async def _follow_running(running: RunningTurn, after: int) -> AsyncGenerator[Sequence[Numbered], None]:
    """Yield from memory; ends without a last event when this process lost the turn."""
    while True:
        await running.log.beyond(after)
        batch = running.log.since(after)
        if not batch:
            return
        after = batch[-1][0]
        yield batch


async def _follow_stored(
    engine: TurnEngine, tenant_id: TenantId, turn_id: TurnId, after: int, seen: int
) -> AsyncGenerator[Sequence[Numbered], None]:
    """Yield from Postgres, looking again whenever the turn's process tells of more."""
    while True:
        async with engine.database.unit(tenant_id) as unit:
            turn = await unit.turns.get(turn_id)  # before the log: a last event cannot slip in between unseen
            payloads = await unit.turn_events.after(turn_id, after)
            has_ended = turn is not None and turn.state is not TurnState.RUNNING
            is_expired = has_ended and await _has_expired(unit, turn_id, payloads, after)
            messages = await unit.messages.of_turn(turn_id) if is_expired else []
            batch = [numbered for payload in payloads for numbered in decode(payload) if numbered[0] > after]
            if has_ended and not is_expired:
                batch = await _less_deleted(unit, batch)
        if turn is None:
            raise TurnMissing(f"Turn {turn_id} does not exist.")
        if is_expired:
            batch = replay(turn, messages, seen)
        if batch:
            after = batch[-1][0]
            yield batch
        if has_ended:
            return
        await engine.wakeups.wait(turn_id, _LOOK_AGAIN_S)


async def _less_deleted(unit: UnitOfWork, batch: list[Numbered]) -> list[Numbered]:
    """Return the events of an ended turn without what was found in documents deleted since (openai.md 9)."""
    found = [reference for _, event in batch if isinstance(event, RetrievalDone) for reference in event.references]
    if not found:
        return batch
    documents, datasets = {one.document_id for one in found}, {one.dataset_id for one in found}
    live = await unit.messages.live(documents, datasets)
    return [
        (number, replace(event, references=without_deleted(event.references, live)))
        if isinstance(event, RetrievalDone)
        else (number, event)
        for number, event in batch
    ]


async def _has_expired(unit: UnitOfWork, turn_id: TurnId, payloads: Sequence[bytes], after: int) -> bool:
    """Say whether the log is gone, or its beginning is."""
    if not payloads:
        return await unit.turn_events.is_expired(turn_id)
    return after == 0 and decode(payloads[0])[0][0] != 1


def replay(turn: Turn, messages: Sequence[Message], seen: int) -> list[Numbered]:
    """Return the events of an ended turn whose log has expired, made from its message (design.md 1.2).

    They are whole and few; the last is numbered above `seen`, so that nobody waits for it in vain.
    """
    answer = next((message for message in messages if message.role == "assistant"), None)
    content = answer.content if answer is not None else ""
    started = TurnStarted(
        turn_id=turn.id,
        session_id=turn.session_id,
        chat_id=turn.chat_id,
        model=turn.model or "",
        created_s=turn.created_at.timestamp(),
    )
    events: list[Numbered] = [(1, started)]
    if answer is not None and answer.references is not None:
        found = RetrievalDone(references=answer.references, total=turn.reference_total or 0)
        events.append((len(events) + 1, found))
    if answer is not None and answer.reasoning:
        events.append((len(events) + 1, Reasoning(answer.reasoning)))
    if content:
        events.append((len(events) + 1, TextPiece(content)))
    for number, call in enumerate(answer.tool_calls if answer is not None else ()):
        piece = ToolCallPiece(number=number, id=call.id, name=call.name, arguments=call.arguments)
        events.append((len(events) + 1, piece))
    ending = _ending(turn, content, answer.cited if answer is not None else ())
    return [*events, (max(len(events), seen) + 1, ending)]


def _ending(turn: Turn, content: str, cited: tuple[int, ...]) -> Done | Stopped | Failed:
    ended_s = (turn.ended_at or turn.created_at).timestamp()
    match turn.state:
        case TurnState.DONE:
            reason = FinishReason(turn.finish_reason or "stop")
            return Done(content=content, cited=cited, usage=turn.usage, ended_s=ended_s, finish_reason=reason)
        case TurnState.STOPPED:
            return Stopped(content=content, cited=cited, usage=turn.usage, ended_s=ended_s)
        case _:
            kind, message = turn.error_kind or "internal", turn.error or ""
            return Failed(content=content, cited=cited, usage=turn.usage, ended_s=ended_s, kind=kind, message=message)
