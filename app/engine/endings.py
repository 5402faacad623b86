"""The ends of turns that this process drives: stored, told, and kept for later while they cannot be stored."""

from dataclasses import replace

import structlog

from app.domain.events import Done, Failed, Stopped
from app.domain.ids import TurnId
from app.domain.turns import TurnLost
from app.engine.closing import CloseFailed, Closing, close, close_once, settle
from app.engine.log import LogWriter
from app.engine.opening import session_of
from app.engine.outcome import Outcome, ending_of
from app.engine.running import RunningTurn
from app.llm.base import TokenCounter
from app.security.quotas import Quotas
from repositories.unit_of_work import Database

log = structlog.get_logger()


class Endings:
    """Stores ends, and remembers those that Postgres was away for."""

    def __init__(self, database: Database, quotas: Quotas, writer: LogWriter, counter: TokenCounter) -> None:
        self._database = database
        self._quotas = quotas
        self._writer = writer
        self._counter = counter
        self._left: dict[TurnId, Closing] = {}

    async def store(self, running: RunningTurn, outcome: Outcome) -> None:
        """Store how a turn came out, then tell its followers; what goes wrong is told in the log only."""
        try:
            ending = await self._stored(running, outcome)
            await self._release(running)  # whoever hears of the end may ask again at once
            if ending is not None:
                running.log.append([ending])
        except Exception as error:
            log.error("turn_close_broke", turn=running.log.turn_id, exc_info=error)
            await self._release(running)

    def holds(self, turn_id: TurnId) -> bool:
        """Say whether the end of a turn is still to be stored."""
        return turn_id in self._left

    def left(self) -> list[Closing]:
        """Return the ends that are still to be stored."""
        return list(self._left.values())

    async def store_left(self, closing: Closing) -> None:
        """Store an end that could not be stored when it came. Raises what the database does; it is then kept."""
        try:
            await close_once(self._database, closing)
        except TurnLost:
            log.warning("turn_lost", turn=closing.turn_id)
        del self._left[closing.turn_id]

    async def _stored(self, running: RunningTurn, outcome: Outcome) -> Done | Stopped | Failed | None:
        """Return the last event once it is stored; None when it is not."""
        closing = await self._closing(running, outcome)
        try:
            await close(self._database, closing)
        except TurnLost:
            log.warning("turn_lost", turn=closing.turn_id)
        except CloseFailed:
            log.error("turn_not_closed_yet", turn=closing.turn_id)
            self._left[closing.turn_id] = closing
        else:
            return closing.ending
        return None

    async def _closing(self, running: RunningTurn, outcome: Outcome) -> Closing:
        ask, draft = running.ask, running.draft
        await settle(draft, self._counter)
        ending = ending_of(outcome, draft)
        pending = await self._writer.take(running.log)
        return Closing(
            tenant_id=ask.tenant_id,
            turn_id=running.log.turn_id,
            fence=running.log.fence,
            session_id=session_of(ask),
            chat_id=ask.chat.id or None,
            key_id=ask.key_id,
            ending=ending,
            pending=pending,
            number=len(running.log.events) + 1,
            reasoning=draft.reasoning,
            references=draft.references,
            reference_total=draft.reference_total,
            calls=[replace(call, user_id=ask.user_id) for call in draft.calls] if ask.user_id else draft.calls,
            timings_ms=draft.timings_ms,
            duration_s=ending.ended_s - running.created_s,
            tool_calls=draft.tool_calls,
        )

    async def _release(self, running: RunningTurn) -> None:
        """Give back what the turn had reserved of a quota; its cost is on the ledger now."""
        if running.ask.quota is not None:
            await self._quotas.release(running.ask.tenant_id, running.log.turn_id)
