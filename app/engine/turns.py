"""The turn engine: opens turns, drives them to their end, lets anybody follow or stop them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypedDict

import anyio
import structlog
from anyio.abc import TaskGroup

from app.domain.errors import Broken, ParleyError, Unavailable, UpstreamTimeout
from app.domain.events import Done, Ending, Failed, ReasoningPiece, Stopped, TextPiece, TurnStarted
from app.domain.ids import ProcessId, SessionId, TenantId, TurnId, new_turn_id
from app.domain.models import ChatMessage, Usage
from app.domain.sessions import SessionMissing
from app.domain.turns import SessionBusy, Turn, TurnLost, TurnMissing, TurnState
from app.engine.ask import Ask
from app.engine.closing import Closing, close, settle
from app.engine.draft import Draft
from app.engine.log import LogWriter, TurnLog
from app.engine.observer import TurnObserver
from app.engine.wakeups import Wakeups
from app.llm.base import TokenCounter
from repositories.turns import NewTurn
from repositories.unit_of_work import Database

log = structlog.get_logger()

STOPS = "parley_stops"
"""Channel on which a process asks the owner of a turn to stop it; the payload is the turn's id."""

_HISTORY_MESSAGES = 200  # the prompt's token budget cuts further
_RETRY_WINDOW_S = 600.0  # design.md 1.5
_DELIVERY_GRACE_S = 20.0  # what left our socket this recently may still have been lost on the way
_TIMED_OUT = "The answer took longer than the time allowed for a turn."


class Answerer(Protocol):
    """Writes answers: the engine owns the turn, the answerer owns what is said."""

    async def answer(self, ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> None:
        """Write the answer into `draft`; all of it by loop time `deadline_s`.

        Raises:
            ParleyError: it cannot be finished; what is in the draft is kept.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Durations in seconds. `lock_timeout_s`: how long a turn waits for the one before it in its session."""

    turn_timeout_s: float = 600.0
    lock_timeout_s: float = 30.0
    log_interval_s: float = 0.05
    log_batch_bytes: int = 4096


@dataclass(slots=True, kw_only=True, eq=False)
class RunningTurn:
    """A turn this process drives."""

    ask: Ask
    log: TurnLog
    draft: Draft
    created_s: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_stopping: bool = False
    followers: int = 0
    ended: anyio.Event = field(default_factory=anyio.Event)


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: TurnState
    error: ParleyError | None = None


class _Told(TypedDict):
    content: str
    cited: tuple[int, ...]
    usage: Usage
    ended_s: float


class TurnEngine:
    """Drives turns in a task group of the process; requests only follow (design.md 1.1)."""

    def __init__(
        self,
        database: Database,
        answerer: Answerer,
        counter: TokenCounter,
        *,
        process_id: ProcessId,
        config: EngineConfig,
        observer: TurnObserver,
    ) -> None:
        self.database = database
        self.process_id = process_id
        self.wakeups = Wakeups()
        self.writer = LogWriter(database, interval_s=config.log_interval_s, batch_bytes=config.log_batch_bytes)
        self._answerer = answerer
        self._counter = counter
        self._config = config
        self._observer = observer
        self._running: dict[TurnId, RunningTurn] = {}
        self._tasks: TaskGroup | None = None
        self._is_draining = False

    # --- life of the process -------------------------------------------------------------------------------------

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Hold the tasks of all turns until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self.writer.run)
            task_status.started()

    async def drain(self, patience_s: float) -> None:
        """Take no new turns; give running ones `patience_s` seconds, then stop them with what they have."""
        self._is_draining = True
        with anyio.move_on_after(patience_s):
            for running in list(self._running.values()):
                await running.ended.wait()
        for running in list(self._running.values()):
            self._stop(running)
        with anyio.move_on_after(15):
            for running in list(self._running.values()):
                await running.ended.wait()
        await self.writer.write()

    @property
    def is_draining(self) -> bool:
        """Whether new turns are refused."""
        return self._is_draining

    @property
    def running_count(self) -> int:
        """How many turns this process drives."""
        return len(self._running)

    # --- opening -------------------------------------------------------------------------------------------------

    async def open(self, ask: Ask) -> TurnId:
        """Store the question and begin the answer; return the turn to follow.

        A repeated call (design.md 1.5) gets the turn of the first one. A turn waits for the one before it in
        its session.

        Raises:
            SessionBusy: that one did not end in time.
            SessionMissing: there is no such session.
            KeyReused: the Idempotency-Key came with another request.
            Unavailable: the process is draining.
        """
        tasks = self._tasks
        if tasks is None or self._is_draining:
            raise Unavailable("The service is shutting down; please try again.", retry_after_s=1)
        retried = await self._find_retried(ask)
        if retried is not None:
            return retried
        begun = time.perf_counter()
        give_up_at = anyio.current_time() + self._config.lock_timeout_s
        while True:
            try:
                turn_id, history, created_at = await self._store_question(ask)
                break
            except _Busy:
                if anyio.current_time() >= give_up_at:
                    message = "Another answer is being generated for this session."
                    raise SessionBusy(message, retry_after_s=1) from None
                await self.wakeups.wait(f"session:{_session_of(ask)}", 0.25)
        if created_at is None:
            return turn_id
        turn_log = TurnLog(ask.tenant_id, turn_id, fence=1)
        draft = Draft(turn_log, self.writer)
        draft.timings_ms["open"] = (time.perf_counter() - begun) * 1000
        running = RunningTurn(ask=ask, log=turn_log, draft=draft, created_s=created_at.timestamp())
        self._running[turn_id] = running
        started = TurnStarted(
            turn_id=turn_id,
            session_id=_session_of(ask),
            chat_id=ask.chat.id,
            model=ask.model.name,
            created_s=running.created_s,
        )
        self.writer.note(turn_log, [started], 0)
        tasks.start_soon(self._drive, turn_id, running, history)
        return turn_id

    async def _find_retried(self, ask: Ask) -> TurnId | None:
        if not ask.recognition.retry_count:
            return None
        async with self.database.unit(ask.tenant_id) as unit:
            return await unit.turns.find_retried(
                api_key_id=ask.key_id,
                route=ask.recognition.route,
                body_hash=ask.recognition.body_hash,
                window_s=_RETRY_WINDOW_S,
                grace_s=_DELIVERY_GRACE_S,
            )

    async def _store_question(self, ask: Ask) -> tuple[TurnId, Sequence[ChatMessage], datetime | None]:
        """Commit the question and its turn; no time means that the turn was there already."""
        turn_id, session_id, created_at = new_turn_id(), _session_of(ask), datetime.now(UTC)
        known = ask.recognition
        async with self.database.unit(ask.tenant_id) as unit:
            if known.idempotency_key is not None:
                kept = await unit.idempotency.claim(
                    api_key_id=ask.key_id,
                    key=known.idempotency_key,
                    route=known.route,
                    body_hash=known.body_hash,
                    turn_id=turn_id,
                )
                if kept is not None and kept.turn_id is not None:
                    return kept.turn_id, (), None
            if ask.new_session is not None:
                await unit.sessions.add(ask.new_session.session, next_position=1)
                await unit.messages.add_opener(ask.new_session.session.id, new_turn_id(), ask.new_session.opener)
            turn = NewTurn(
                id=turn_id,
                session_id=session_id,
                chat_id=ask.chat.id,
                api_key_id=ask.key_id,
                owner=self.process_id,
                route=known.route,
                body_hash=known.body_hash,
                request_id=known.request_id,
                question=ask.question,
                model=ask.model.name,
                prompt_version=ask.prompt_version,
                created_at=created_at,
            )
            if not await unit.turns.open(turn):
                if session_id is None or await unit.sessions.get(session_id) is None:
                    raise SessionMissing("Session does not exist")
                raise _Busy
            history = ask.history
            if ask.session_id is not None:
                history = await unit.messages.history(ask.session_id, but=turn_id, most=_HISTORY_MESSAGES)
        return turn_id, history, created_at

    # --- driving -------------------------------------------------------------------------------------------------

    async def _drive(self, turn_id: TurnId, running: RunningTurn, history: Sequence[ChatMessage]) -> None:
        self._observer.turn_began()
        outcome = await self._answer(running, history)
        with anyio.CancelScope(shield=True):
            await self._end(turn_id, running, outcome)

    async def _answer(self, running: RunningTurn, history: Sequence[ChatMessage]) -> _Outcome:
        """Have the answer written; every way that can end is an outcome."""
        running.scope.deadline = deadline_s = anyio.current_time() + self._config.turn_timeout_s
        try:
            with running.scope:
                await self._answerer.answer(running.ask, history, running.draft, deadline_s=deadline_s)
        except ParleyError as error:
            return _Outcome(TurnState.FAILED, error)
        except Exception as error:
            log.error("turn_broke", turn=running.log.turn_id, exc_info=error)
            return _Outcome(TurnState.FAILED, Broken("Internal server error"))
        if not running.scope.cancelled_caught:
            return _Outcome(TurnState.DONE)
        if running.is_stopping:
            return _Outcome(TurnState.STOPPED)
        return _Outcome(TurnState.FAILED, UpstreamTimeout(_TIMED_OUT))

    async def _end(self, turn_id: TurnId, running: RunningTurn, outcome: _Outcome) -> None:
        draft, ask = running.draft, running.ask
        try:
            await settle(draft, self._counter)
            ending = _ending(outcome, draft)
            pending = await self.writer.take(running.log)
            duration_s = ending.ended_s - running.created_s
            closing = Closing(
                tenant_id=ask.tenant_id,
                turn_id=turn_id,
                fence=running.log.fence,
                session_id=_session_of(ask),
                chat_id=ask.chat.id,
                key_id=ask.key_id,
                ending=ending,
                pending=pending,
                number=len(running.log.events) + 1,
                reasoning=draft.reasoning,
                references=draft.references,
                reference_total=draft.reference_total,
                calls=draft.calls,
                timings_ms=draft.timings_ms,
                duration_s=duration_s,
            )
            await close(self.database, closing)
            running.log.append([ending])
        except TurnLost:
            log.warning("turn_lost", turn=turn_id)
        except Exception as error:
            log.error("turn_close_broke", turn=turn_id, exc_info=error)
        finally:
            running.log.seal()
            del self._running[turn_id]
            running.ended.set()
            self.wakeups.wake(f"session:{_session_of(ask)}")
            self.writer.note_written(turn_id)
        self._observer.turn_ended(turn_id, ask, outcome.state, draft)

    # --- following and stopping ----------------------------------------------------------------------------------

    def local(self, tenant_id: TenantId, turn_id: TurnId) -> RunningTurn | None:
        """Return a turn of this tenant that this process drives."""
        running = self._running.get(turn_id)
        return running if running is not None and running.ask.tenant_id == tenant_id else None

    async def begun(self, tenant_id: TenantId, turn_id: TurnId, budget_s: float) -> Failed | None:
        """Wait up to `budget_s` for the first piece or the end (openai.md 1.9).

        Returns the failure of a turn that failed before its first piece: it can still be told as a status.
        """
        running = self.local(tenant_id, turn_id)
        if running is None:
            return None
        seen = 0
        with anyio.move_on_after(budget_s):
            while True:
                await running.log.beyond(seen)
                for _, event in running.log.since(seen):
                    if isinstance(event, Failed):
                        return event
                    if isinstance(event, TextPiece | ReasoningPiece | Ending):
                        return None
                if running.log.is_sealed:
                    return None
                seen = len(running.log.events)
        return None

    async def get(self, tenant_id: TenantId, turn_id: TurnId) -> Turn:
        """Return the turn as stored.

        Raises:
            TurnMissing: there is none.
        """
        async with self.database.unit(tenant_id) as unit:
            turn = await unit.turns.get(turn_id)
        if turn is None:
            raise TurnMissing(f"Turn {turn_id} does not exist.")
        return turn

    async def ended(self, tenant_id: TenantId, turn_id: TurnId, *, timeout_s: float) -> Turn:
        """Return the turn when it has ended, or as it is after `timeout_s`."""
        with anyio.move_on_after(timeout_s):
            while True:
                running = self.local(tenant_id, turn_id)
                if running is not None:
                    await running.ended.wait()
                turn = await self.get(tenant_id, turn_id)
                if turn.state is not TurnState.RUNNING:
                    return turn
                await self.wakeups.wait(turn_id, 0.2)
        return await self.get(tenant_id, turn_id)

    async def stop(self, tenant_id: TenantId, turn_id: TurnId) -> None:
        """Stop a running turn wherever it runs; one that has ended stays as it is.

        Raises:
            TurnMissing: there is none.
        """
        running = self.local(tenant_id, turn_id)
        if running is not None:
            self._stop(running)
            return
        async with self.database.unit(tenant_id) as unit:
            if await unit.turns.request_stop(turn_id):
                await unit.notify(STOPS, turn_id)
            elif await unit.turns.get(turn_id) is None:
                raise TurnMissing(f"Turn {turn_id} does not exist.")

    def stop_local(self, turn_id: TurnId) -> None:
        """Stop a turn if this process drives it; who asked was checked where it was asked."""
        running = self._running.get(turn_id)
        if running is not None:
            self._stop(running)

    def _stop(self, running: RunningTurn) -> None:
        running.is_stopping = True
        running.scope.cancel()

    def follower_came(self, running: RunningTurn) -> None:
        """Count a follower in."""
        running.followers += 1

    def follower_left(self, running: RunningTurn) -> None:
        """Count a follower out; a turn that nobody may ask for again is stopped when the last one leaves."""
        running.followers -= 1
        if running.followers == 0 and not running.log.is_sealed and running.ask.on_disconnect == "stop":
            tasks = self._tasks
            if tasks is not None:
                tasks.start_soon(self._stop_abandoned, running)

    async def _stop_abandoned(self, running: RunningTurn) -> None:
        await anyio.sleep(_patience_s(running.ask.recognition.retry_count))
        if running.followers == 0:
            self._stop(running)


class _Busy(Exception):
    """The session has a running turn; the unit is rolled back and the opening tried again."""


def _ending(outcome: _Outcome, draft: Draft) -> Done | Stopped | Failed:
    told: _Told = {"content": draft.content, "cited": draft.cited, "usage": draft.usage, "ended_s": time.time()}
    if outcome.error is not None:
        return Failed(**told, kind=outcome.error.kind.value, message=outcome.error.message)
    if outcome.state is TurnState.STOPPED:
        return Stopped(**told)
    return Done(**told, finish_reason=draft.finish_reason)


def _session_of(ask: Ask) -> SessionId | None:
    return ask.new_session.session.id if ask.new_session is not None else ask.session_id


def _patience_s(retry_count: int | None) -> float:
    """How long an abandoned turn is kept for the same client's automatic retry, in seconds (openai.md 1.7).

    A stock client backs off 0.5 s, then 1 s, and gives up after its second retry.
    """
    if retry_count is None or retry_count >= 2:
        return 0.0
    return (0.8, 1.3)[retry_count]
