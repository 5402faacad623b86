"""Assistants on pages of others: what such a page may see and ask (conversations.md 7.4)."""

from dataclasses import replace

from app.domain.chats import Chat, ChatMissing
from app.domain.ids import ChatId, SessionId, TurnId
from app.domain.principals import Caller
from app.domain.sessions import SessionMissing
from app.domain.turns import TurnMissing
from app.engine.ask import Recognition
from app.services.completions import Completions, Opened, Question
from repositories.unit_of_work import Database, UnitOfWork


class ChatBots:
    """Assistants as pages use them. A visitor speaks in sessions of its own and learns of no others."""

    def __init__(self, database: Database, completions: Completions) -> None:
        self._database = database
        self._completions = completions

    async def ask(
        self, caller: Caller, dialog_id: ChatId, question: Question, recognition: Recognition
    ) -> TurnId | Opened:
        """Open the turn of a question in a session of the bot; without a session, a new one and no turn.

        Raises:
            ChatMissing: no such assistant.
            SessionMissing: the session is not of the assistant, or another visitor's.
            Invalid, SessionBusy, KeyReused, Unavailable: as `Completions.in_session`.
        """
        if caller.visitor is not None:
            question = replace(question, user_id=caller.visitor)
        if not question.session_id:
            question = replace(question, text=None, session_id=None)
        async with self._database.unit(caller.tenant_id) as unit:
            if not await unit.chats.is_live(dialog_id):
                raise ChatMissing("Authentication error: no access to this chatbot!")
            if question.session_id:
                await _check_session(unit, caller, dialog_id, SessionId(question.session_id))
        return await self._completions.in_session(caller, dialog_id, question, recognition)

    async def check_turn(self, caller: Caller, dialog_id: ChatId, turn_id: TurnId) -> None:
        """Return when the turn is of a session that the caller may speak in.

        Raises:
            TurnMissing: it is not.
        """
        async with self._database.unit(caller.tenant_id) as unit:
            turn = await unit.turns.get(turn_id)
            if turn is None or turn.session_id is None:
                raise TurnMissing("Turn not found!")
            try:
                await _check_session(unit, caller, dialog_id, turn.session_id)
            except SessionMissing:
                raise TurnMissing("Turn not found!") from None


async def bot_of(unit: UnitOfWork, dialog_id: ChatId) -> Chat:
    """Return the assistant that a page shows.

    Raises:
        ChatMissing: no such assistant.
    """
    chat = await unit.chats.get(dialog_id)
    if chat is None:
        raise ChatMissing(f"Can't find dialog by ID: {dialog_id}")
    return chat


async def _check_session(unit: UnitOfWork, caller: Caller, dialog_id: ChatId, session_id: SessionId) -> None:
    session = await unit.sessions.get(session_id, chat_id=dialog_id)
    if session is None or caller.visitor not in (None, session.user_id):
        raise SessionMissing("Session not found!")
