"""The turn engine: opens turns, drives them to their end, lets anybody follow or stop them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from app.domain.errors import Broken, ParleyError, Unavailable, UpstreamTimeout
from app.domain.events import Ending, Failed, ReasoningPiece, TextPiece, ToolCallPiece, TurnStarted
from app.domain.ids import ProcessId, SessionId, TenantId, TurnId
from app.domain.models import ChatMessage
from app.domain.turns import Turn, TurnMissing, TurnState
from app.engine.ask import Ask, Recognition
from app.engine.draft import Draft
from app.engine.endings import Endings
from app.engine.log import LogWriter, TurnLog
from app.engine.observer import TurnObserver
from app.engine.opening import Prepare, Stored, TurnOpener, session_of
from app.engine.outcome import Outcome
from app.engine.running import RunningTurn
from app.engine.wakeups import Wakeups, session_name
from app.llm.base import TokenCounter
from app.security.quotas import Quotas
from repositories.unit_of_work import Database, UnitOfWork

log = structlog.get_logger()

STOPS = "parley_stops"
"""Channel on which a process asks the owner of a turn to stop it; the payload is the turn's id."""

_TIMED_OUT = "The answer took longer than the time allowed for a turn."
_STOPPING_S = 15.0  # for turns that were stopped to be stored


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
    """Durations in seconds. `lock_timeout_s`: how long a turn waits for the one before it in its session.

    A session holds `max_session_messages` at most (0: any number); `on_full` says what becomes of it when it is full.
    """

    turn_timeout_s: float = 600.0
    lock_timeout_s: float = 30.0
    log_interval_s: float = 0.05
    log_batch_bytes: int = 4096
    max_session_messages: int = 0
    on_full: Literal["trim", "reject"] = "trim"


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
        self.quotas = Quotas(database, process_id)
        self.wakeups = Wakeups()
        self.writer = LogWriter(database, interval_s=config.log_interval_s, batch_bytes=config.log_batch_bytes)
        self._opener = TurnOpener(
            database, self.quotas, self.wakeups, process_id, most=config.max_session_messages, on_full=config.on_full
        )
        self._endings = Endings(database, self.quotas, self.writer, counter)
        self._answerer = answerer
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
        await self._all_ended(patience_s)
        for running in self._running.values():
            running.stop()
        await self._all_ended(_STOPPING_S)
        await self.writer.write()

    async def _all_ended(self, patience_s: float) -> None:
        with anyio.move_on_after(patience_s):
            for running in list(self._running.values()):
                await running.ended.wait()

    @property
    def is_draining(self) -> bool:
        """Whether new turns are refused."""
        return self._is_draining

    @property
    def running_count(self) -> int:
        """How many turns this process drives."""
        return len(self._running)

    @property
    def follower_count(self) -> int:
        """How many follow turns that this process drives."""
        return sum(running.followers for running in self._running.values())

    # --- opening -------------------------------------------------------------------------------------------------

    async def open(self, ask: Ask) -> TurnId:
        """Open the turn of an ask that is ready; see `open_prepared`."""

        async def ready(_: UnitOfWork) -> Ask:
            return ask

        turn_id, _ = await self.open_prepared(ask.tenant_id, ready)
        return turn_id

    async def open_prepared(
        self, tenant_id: TenantId, prepare: Prepare, *, patience_s: float | None = None
    ) -> tuple[TurnId, Ask]:
        """Store the question and begin the answer; return the turn to follow, and what was asked.

        `prepare` makes the ask inside the transaction that stores it, so that a turn costs one. It may run again
        while the turn waits for the one before it in its session, for `patience_s` if that is given. A repeated call
        (design.md 1.5) gets the turn of the first one.

        Raises:
            SessionBusy: the turn before it did not end in time.
            SessionMissing: there is no such session.
            KeyReused: the Idempotency-Key came with another request.
            Unavailable: the process is draining.
        """
        self._check_open()
        begun = time.perf_counter()
        wait_s, retry_after_s = (self._config.lock_timeout_s, 1.0) if patience_s is None else (patience_s, 0.5)
        stored, ask = await self._opener.store_prepared(tenant_id, prepare, wait_s=wait_s, retry_after_s=retry_after_s)
        if isinstance(stored, Stored):
            self._begin(stored, ask, begun)
        elif (running := self.local(ask.tenant_id, stored.turn_id)) is not None:
            running.retry_count = ask.recognition.retry_count
        return stored.turn_id, ask

    async def open_known(self, ask: Ask) -> TurnId | None:
        """Store the question and begin the answer in one round trip, if the chat is still as the ask knows it.

        None, and nothing stored, when the chat has changed, or the session has gone or is busy: `open_prepared` then
        tells which. Whoever may be repeating a call, or brings datasets or documents, goes there at once. A chat
        without an id cannot have changed.

        Raises:
            Unavailable: the process is draining.
        """
        self._check_open()
        begun = time.perf_counter()
        stored = await self._opener.store_known(ask)
        if stored is None:
            return None
        self._begin(stored, ask, begun)
        return stored.turn_id

    def _check_open(self) -> None:
        if self._tasks is None or self._is_draining:
            raise Unavailable("The service is shutting down; please try again.", retry_after_s=1)

    def _begin(self, stored: Stored, ask: Ask, begun: float) -> None:
        """Let a stored question be answered; it was asked at `begun` of the performance counter."""
        assert self._tasks is not None  # noqa: S101 (`_check_open`)
        turn_id = stored.turn_id
        turn_log = TurnLog(ask.tenant_id, turn_id, fence=1)
        draft = Draft(turn_log, self.writer)
        draft.timings_ms["open"] = (time.perf_counter() - begun) * 1000
        running = RunningTurn(
            ask=ask,
            log=turn_log,
            draft=draft,
            created_s=stored.created_at.timestamp(),
            retry_count=ask.recognition.retry_count,
        )
        self._running[turn_id] = running
        started = TurnStarted(
            turn_id=turn_id,
            session_id=session_of(ask),
            chat_id=ask.chat.id or None,
            model=ask.model.name,
            created_s=running.created_s,
        )
        self.writer.note(turn_log, [started], 0)
        self._tasks.start_soon(self._drive, turn_id, running, stored.history)

    # --- driving -------------------------------------------------------------------------------------------------

    async def _drive(self, turn_id: TurnId, running: RunningTurn, history: Sequence[ChatMessage]) -> None:
        self._observer.turn_began()
        outcome = await self._answer(running, history)
        with anyio.CancelScope(shield=True):
            await self._end(turn_id, running, outcome)

    async def _answer(self, running: RunningTurn, history: Sequence[ChatMessage]) -> Outcome:
        """Have the answer written; every way that can end is an outcome."""
        running.scope.deadline = deadline_s = anyio.current_time() + self._config.turn_timeout_s
        try:
            with running.scope:
                await self._answerer.answer(running.ask, history, running.draft, deadline_s=deadline_s)
        except ParleyError as error:
            return Outcome(TurnState.FAILED, error)
        except Exception as error:
            log.error("turn_broke", turn=running.log.turn_id, exc_info=error)
            return Outcome(TurnState.FAILED, Broken("Internal server error"))
        if not running.scope.cancelled_caught:
            return Outcome(TurnState.DONE)
        if running.is_stopping:
            return Outcome(TurnState.STOPPED)
        return Outcome(TurnState.FAILED, UpstreamTimeout(_TIMED_OUT))

    async def _end(self, turn_id: TurnId, running: RunningTurn, outcome: Outcome) -> None:
        running.failure = outcome.error
        try:
            await self._endings.store(running, outcome)
        finally:
            running.log.seal()
            del self._running[turn_id]
            running.ended.set()
            self._tell_end(turn_id, session_of(running.ask))
        self._observer.turn_ended(turn_id, running.ask, outcome.state, running.draft)

    async def close_unclosed(self) -> None:
        """Store the ends of turns that could not be stored when they came, Postgres having been away for long."""
        await self.quotas.release_left()
        for closing in self._endings.left():
            await self._endings.store_left(closing)
            self._tell_end(closing.turn_id, closing.session_id)

    def _tell_end(self, turn_id: TurnId, session_id: SessionId | None) -> None:
        """Wake who waits for a turn or its session, here and on other processes."""
        self.wakeups.wake(turn_id)
        self.wakeups.wake(session_name(session_id))
        self.writer.note_written(turn_id)

    # --- following and stopping ----------------------------------------------------------------------------------

    def local(self, tenant_id: TenantId, turn_id: TurnId) -> RunningTurn | None:
        """Return a turn of this tenant that this process drives."""
        running = self._running.get(turn_id)
        return running if running is not None and running.ask.tenant_id == tenant_id else None

    def drives(self, turn_id: TurnId) -> bool:
        """Say whether this process will yet end the turn."""
        return turn_id in self._running or self._endings.holds(turn_id)

    async def begun(self, tenant_id: TenantId, turn_id: TurnId, budget_s: float) -> ParleyError | Failed | None:
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
                        return running.failure or event
                    if isinstance(event, TextPiece | ReasoningPiece | ToolCallPiece | Ending):
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
            running.stop()
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
            running.stop()

    def delivered(self, ask: Recognition, tenant_id: TenantId, turn_id: TurnId) -> None:
        """Note that an answer left whole for a caller who may ask for it again; others need no note."""
        if ask.retry_count is not None:
            self.writer.note_delivered(tenant_id, turn_id)

    def follower_came(self, running: RunningTurn) -> None:
        """Count a follower in."""
        running.followers += 1

    def follower_left(self, running: RunningTurn) -> None:
        """Count a follower out; a turn that nobody may ask for again is stopped when the last one leaves."""
        running.followers -= 1
        if running.is_abandoned and self._tasks is not None:
            self._tasks.start_soon(_stop_abandoned, running)


async def _stop_abandoned(running: RunningTurn) -> None:
    await anyio.sleep(running.patience_s)
    if running.followers == 0:
        running.stop()
