"""The end of a turn: answer, references, ledger, counters and state, in one transaction."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import structlog
from anyio import to_thread

from app.domain.errors import Kind
from app.domain.events import Done, Ending, Failed, ModelAsked, Numbered, RetrievalDone, Stopped
from app.domain.events import ReasoningPiece as Reasoning
from app.domain.events import TextPiece as Text
from app.domain.events import ToolCallPiece as Called
from app.domain.ids import ChatId, KeyId, SessionId, TenantId, TurnId
from app.domain.models import ToolCall, Usage
from app.domain.references import Reference
from app.domain.retrieval import ModelCall
from app.domain.turns import TurnLost, TurnState
from app.engine.codec import decode, encode
from app.engine.draft import Draft, joined_calls
from app.engine.log import WINDOW
from app.llm.base import TokenCounter
from repositories.dispatch import OrphanedTurn
from repositories.failures import DATABASE_FAILURES
from repositories.turns import TurnClosing
from repositories.unit_of_work import Database

log = structlog.get_logger()

GONE = "The process that was answering ended before the answer was complete."
_CHARS_PER_TOKEN = 4  # where nothing but the length of a prompt is known any more
_TRIES_S = (0.1, 0.3, 1.0, 3.0, 6.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """Everything the closing transaction writes."""

    tenant_id: TenantId
    turn_id: TurnId
    fence: int
    session_id: SessionId | None
    chat_id: ChatId | None
    key_id: KeyId
    ending: Done | Stopped | Failed
    pending: Sequence[Numbered]
    number: int
    reasoning: str | None
    references: Sequence[Reference]
    reference_total: int | None
    calls: Sequence[ModelCall]
    timings_ms: dict[str, float]
    duration_s: float
    tool_calls: Sequence[ToolCall] = ()


class CloseFailed(Exception):
    """The end of a turn could not be stored for as long as was tried."""


async def close(database: Database, closing: Closing) -> None:
    """Store the end of a turn; tries again for about ten seconds while Postgres is away.

    Raises:
        TurnLost: another process has taken the turn over; nothing was written.
        CloseFailed: Postgres did not come back in time; the same closing may be tried later.
    """
    for wait_s in _TRIES_S:
        try:
            await close_once(database, closing)
        except DATABASE_FAILURES as error:
            log.warning("turn_close_failed", turn=closing.turn_id, error=str(error)[:500])
            await anyio.sleep(wait_s)
        else:
            return
    raise CloseFailed(closing.turn_id)


async def close_once(database: Database, closing: Closing) -> None:
    """Store the end of a turn, in one try. Raises `TurnLost` as `close` does, and whatever the database does.

    Of a turn that was deleted while it ran, with its session, only what it cost is stored.
    """
    async with database.turns_alone(closing.tenant_id) as turns:
        if await turns.close(_row(closing)):
            return
    async with database.unit(closing.tenant_id) as unit:
        if await unit.turns.get(closing.turn_id) is not None:
            raise TurnLost(closing.turn_id)
        if not await unit.usage.has_turn(closing.turn_id):
            await unit.usage.add(
                closing.calls,
                turn_id=closing.turn_id,
                session_id=closing.session_id,
                chat_id=closing.chat_id,
                api_key_id=closing.key_id,
            )
    log.info("turn_deleted_while_it_ran", turn=closing.turn_id)


def _row(closing: Closing) -> TurnClosing:
    ending = closing.ending
    events = [*closing.pending, (closing.number, ending)]
    return TurnClosing(
        id=closing.turn_id,
        fence=closing.fence,
        state=_state(ending),
        finish_reason=ending.finish_reason.value if isinstance(ending, Done) else None,
        error_kind=ending.kind if isinstance(ending, Failed) else None,
        error=ending.message if isinstance(ending, Failed) else None,
        usage=ending.usage,
        timings_ms={name: round(value, 3) for name, value in closing.timings_ms.items()},
        duration_s=closing.duration_s,
        first_number=events[0][0],
        last_number=closing.number,
        events=encode(events),
        content=ending.content,
        reasoning=closing.reasoning,
        references=closing.references,
        reference_total=closing.reference_total,
        cited=ending.cited,
        calls=closing.calls,
        tool_calls=closing.tool_calls,
    )


def _state(ending: Ending) -> TurnState:
    match ending:
        case Done():
            return TurnState.DONE
        case Stopped():
            return TurnState.STOPPED
        case _:
            return TurnState.FAILED


async def settle(draft: Draft, counter: TokenCounter) -> None:
    """Put a model call that never told its cost on the ledger, counted by us and marked as an estimate."""
    call = draft.unfinished_call
    if call is None:
        return
    prompt = "\n".join(message.content for message in call.prompt)
    called = "".join(each.name + each.arguments for each in draft.tool_calls)
    written, thought = draft.text + called, draft.reasoning or ""
    prompt_tokens, text_tokens, reasoning_tokens = await to_thread.run_sync(
        lambda: (counter.count(prompt), counter.count(written), counter.count(thought))
    )
    duration_ms = (time.perf_counter() - call.begun_s) * 1000
    usage = _estimated(prompt_tokens, text_tokens, reasoning_tokens)
    draft.spent(_answer_call(call.model, call.provider, usage, duration_ms))


async def take_over(database: Database, orphan: OrphanedTurn, owner: str, counter: TokenCounter) -> bool:
    """Close a dead process's turn as failed, with what it had stored; false when somebody else did."""
    async with database.unit(orphan.tenant_id) as unit:
        fence = await unit.turns.take_over(orphan.turn_id, fence=orphan.fence, owner=owner)
        if fence is None:
            return False
        turn = await unit.turns.get(orphan.turn_id)
        payloads = await unit.turn_events.after(orphan.turn_id, 0)
    if turn is None:
        return False
    events = [event for payload in payloads for event in decode(payload)]
    text = "".join(event.text for _, event in events if isinstance(event, Text))
    reasoning = "".join(event.text for _, event in events if isinstance(event, Reasoning))
    calls = await to_thread.run_sync(_unfinished, events, text, reasoning, counter)
    found = next((event for _, event in events if isinstance(event, RetrievalDone)), None)
    closing = Closing(
        tenant_id=orphan.tenant_id,
        turn_id=orphan.turn_id,
        fence=fence,
        session_id=turn.session_id,
        chat_id=turn.chat_id,
        key_id=turn.api_key_id,
        ending=Failed(
            content=text,
            cited=(),
            usage=sum((call.usage for call in calls), Usage()),
            ended_s=time.time(),
            kind=Kind.INTERNAL.value,
            message=GONE,
        ),
        pending=(),
        number=(events[-1][0] if events else 0) + WINDOW + 1,
        reasoning=reasoning or None,
        references=found.references if found is not None else (),
        reference_total=found.total if found is not None else None,
        calls=calls,
        timings_ms={},
        duration_s=0.0,
        tool_calls=joined_calls(event for _, event in events if isinstance(event, Called)),
    )
    try:
        await close(database, closing)
    except (TurnLost, CloseFailed):
        return False
    log.warning("turn_taken_over", turn=orphan.turn_id, pieces=len(events), characters=len(text))
    return True


def _unfinished(events: list[Numbered], text: str, reasoning: str, counter: TokenCounter) -> list[ModelCall]:
    asked = next((event for _, event in reversed(events) if isinstance(event, ModelAsked)), None)
    if asked is None:
        return []
    usage = _estimated(asked.prompt_chars // _CHARS_PER_TOKEN, counter.count(text), counter.count(reasoning))
    return [_answer_call(asked.model, asked.provider, usage, 0.0)]


def _estimated(prompt_tokens: int, text_tokens: int, reasoning_tokens: int) -> Usage:
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=text_tokens + reasoning_tokens,
        reasoning_tokens=reasoning_tokens,
        is_estimated=True,
    )


def _answer_call(model: str, provider: str, usage: Usage, duration_ms: float) -> ModelCall:
    return ModelCall(
        kind="chat", purpose="answer", model=model, provider=provider, usage=usage, duration_ms=duration_ms
    )
