"""Storing a question and the turn that will answer it: one transaction, and where it can be one round trip."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import anyio

from app.domain.errors import Invalid
from app.domain.ids import ProcessId, SessionId, TenantId, TurnId, new_turn_id
from app.domain.models import ChatMessage
from app.domain.sessions import SessionMissing
from app.domain.turns import SessionBusy
from app.engine.ask import Ask
from app.engine.costing import estimated_tokens
from app.engine.wakeups import Wakeups, session_name
from app.security.quotas import Quotas
from repositories.turns import Beginning, KnownChat, NewTurn, Opening, Room, TurnRepository
from repositories.unit_of_work import Database, UnitOfWork

HISTORY_MESSAGES = 200
"""How many messages of a session a model may be told; the prompt's token budget cuts further."""

_RETRY_WINDOW_S = 600.0  # design.md 1.5
_DELIVERY_GRACE_S = 20.0  # what left our socket this recently may still have been lost on the way
_LOOK_AGAIN_S = 0.25  # at a session whose turn another process drives

Prepare = Callable[[UnitOfWork], Awaitable[Ask]]
"""Makes an ask inside the unit that will store its question; only Postgres is awaited."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A question that was stored, and what was said before it."""

    turn_id: TurnId
    history: Sequence[ChatMessage]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Repeated:
    """A question that is asked again: the turn of the call that came first."""

    turn_id: TurnId


class _Occupied(Exception):
    """The session has a running turn; the unit is rolled back and the opening may be tried again."""

    def __init__(self, session_id: SessionId) -> None:
        super().__init__(session_id)
        self.session_id = session_id


class TurnOpener:
    """Stores questions of one process. A session holds `most` messages (0: any number); `on_full` says what then."""

    def __init__(
        self,
        database: Database,
        quotas: Quotas,
        wakeups: Wakeups,
        process_id: ProcessId,
        *,
        most: int,
        on_full: Literal["trim", "reject"],
    ) -> None:
        self._database = database
        self._quotas = quotas
        self._wakeups = wakeups
        self._process_id = process_id
        self._room = Room(most=most, is_trimming=on_full == "trim", told=HISTORY_MESSAGES)

    async def store_prepared(
        self, tenant_id: TenantId, prepare: Prepare, *, wait_s: float, retry_after_s: float
    ) -> tuple[Stored | Repeated, Ask]:
        """Write the question that `prepare` makes, and its turn; a session that is busy is waited for, for `wait_s`.

        `prepare` runs again after each wait. A refusal says `retry_after_s`.

        Raises:
            SessionBusy: the turn before it did not end in time.
            SessionMissing, Invalid, QuotaUsedUp, Limited: as `_store`.
        """
        give_up_at = anyio.current_time() + wait_s
        while True:
            try:
                async with self._database.unit(tenant_id) as unit:
                    ask = await prepare(unit)
                    return await self._store(unit, ask), ask
            except _Occupied as busy:
                if anyio.current_time() >= give_up_at:
                    message = "Another answer is being generated for this session."
                    raise SessionBusy(message, retry_after_s=retry_after_s) from None
                await self._wakeups.wait(session_name(busy.session_id), _LOOK_AGAIN_S)

    async def _store(self, unit: UnitOfWork, ask: Ask) -> Stored | Repeated:
        """Write the question and its turn inside `unit`.

        Raises:
            _Occupied: the turn before it has not ended.
            SessionMissing: there is no such session.
            Invalid: the session is full.
            QuotaUsedUp, Limited: as `Quotas.reserve`.
        """
        turn_id, session_id, created_at = new_turn_id(), session_of(ask), datetime.now(UTC)
        found = await _found_again(unit, ask, turn_id)
        if found is not None:
            return Repeated(found)
        if ask.told is not None and session_id is not None:
            if ask.new_session is not None:
                await unit.sessions.add(ask.new_session.session, next_position=1)
                await unit.messages.add_opener(session_id, new_turn_id(), ask.new_session.opener)
            if not await unit.told.replace(session_id, ask.told.messages):
                raise _Occupied(session_id)
        opening, history = await self._open(unit.turns, ask, self._new_turn(ask, turn_id, created_at), None)
        if opening is Opening.BUSY and session_id is not None:
            raise _Occupied(session_id)
        if opening is Opening.FULL:
            raise Invalid("Session message limit reached.")
        if opening is not Opening.OPENED:
            raise SessionMissing("Session does not exist")
        await self._reserve(unit, ask, turn_id, history)
        return Stored(turn_id, history, created_at)

    async def store_known(self, ask: Ask) -> Stored | None:
        """Write the question and its turn if the chat is still as the ask knows it; one round trip without a quota.

        None, and nothing stored, when chat or session have changed: what that means is for `store_prepared` to tell.
        """
        turn_id, created_at = new_turn_id(), datetime.now(UTC)
        turn, known = self._new_turn(ask, turn_id, created_at), None
        if ask.chat.id:
            known = KnownChat(updated_at=ask.chat.updated_at, dataset_count=len(ask.chat.datasets))
        if ask.quota is None:
            async with self._database.turns_alone(ask.tenant_id) as turns:
                opening, history = await self._open(turns, ask, turn, known)
        else:
            async with self._database.unit(ask.tenant_id) as unit:
                opening, history = await self._open(unit.turns, ask, turn, known)
                if opening is Opening.OPENED:
                    await self._reserve(unit, ask, turn_id, history)
        return Stored(turn_id, history, created_at) if opening is Opening.OPENED else None

    async def _open(
        self, turns: TurnRepository, ask: Ask, turn: NewTurn, known: KnownChat | None
    ) -> tuple[Opening, Sequence[ChatMessage]]:
        """Open the turn; what was said before it is the session's, or the caller's own."""
        if turn.session_id is not None and turn.beginning is None:
            return await turns.open_in_session(turn, known, self._room)
        return await turns.open(turn, known), ask.history

    async def _reserve(self, unit: UnitOfWork, ask: Ask, turn_id: TurnId, history: Sequence[ChatMessage]) -> None:
        if ask.quota is not None:
            await self._quotas.reserve(unit.quotas, turn_id, ask.quota, estimated_tokens(ask, history))

    def _new_turn(self, ask: Ask, turn_id: TurnId, created_at: datetime) -> NewTurn:
        known = ask.recognition
        return NewTurn(
            id=turn_id,
            session_id=session_of(ask),
            chat_id=ask.chat.id or None,
            api_key_id=ask.key_id,
            owner=self._process_id,
            route=known.route,
            body_hash=known.body_hash,
            request_id=known.request_id,
            question=ask.question if ask.skin.stored is None else ask.skin.stored,
            model=ask.model.name,
            prompt_version=ask.prompt_version,
            created_at=created_at,
            beginning=_beginning(ask),
            extras=ask.extras,
        )


def session_of(ask: Ask) -> SessionId | None:
    """Return the session a question is asked in, be it one that begins with it."""
    return ask.new_session.session.id if ask.new_session is not None else ask.session_id


def _beginning(ask: Ask) -> Beginning | None:
    """Return the session that the opening statement makes; one that is told what was said in it is made before."""
    new = ask.new_session if ask.told is None else None
    return Beginning(session=new.session, opener=new.opener, opener_id=new_turn_id()) if new is not None else None


async def _found_again(unit: UnitOfWork, ask: Ask, turn_id: TurnId) -> TurnId | None:
    """Return the turn of an earlier call that this one repeats; else this one may have `turn_id`."""
    known = ask.recognition
    if known.retry_count:
        retried = await unit.turns.find_retried(
            api_key_id=ask.key_id,
            route=known.route,
            body_hash=known.body_hash,
            window_s=_RETRY_WINDOW_S,
            grace_s=_DELIVERY_GRACE_S,
        )
        if retried is not None:
            return retried
    if known.idempotency_key is None:
        return None
    kept = await unit.idempotency.claim(
        api_key_id=ask.key_id,
        key=known.idempotency_key,
        route=known.route,
        body_hash=known.body_hash,
        turn_id=turn_id,
    )
    return kept.turn_id if kept is not None else None
