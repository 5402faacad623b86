"""Turns of assistants, whichever way they are asked: everything checkable is checked before the first byte."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.domain.chats import Chat
from app.domain.errors import ParleyError, WrongType
from app.domain.ids import ChatId, SessionId, TurnId
from app.domain.principals import Caller
from app.domain.sessions import Session
from app.engine.ask import Ask, OnDisconnect, Recognition, Told
from app.engine.turns import TurnEngine
from app.llm.catalogue import ModelCatalogue
from app.security.sealing import Sealer
from app.services.asks import Asked, AskMaker, nobody
from app.services.generation import prompt_version
from app.services.questions import Conversation, Opened, Overrides, Question
from app.services.remembered_chats import RememberedChats
from app.services.turn_grounds import beginning, check_ground, open_session, owned_chat, session_of_chat
from repositories.unit_of_work import Database, UnitOfWork

__all__ = [
    "Completions",
    "CompletionsConfig",
    "Conversation",
    "Look",
    "Opened",
    "Overrides",
    "Question",
    "QuestionMissing",
    "Shape",
    "prompt_version",
]


class QuestionMissing(WrongType):
    """A session is named, and nothing is asked in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionsConfig:
    """`on_disconnect`: what becomes of a session's turn whose caller goes away, unless the call says."""

    on_disconnect: OnDisconnect = "finish"


Shape = Callable[[Ask], Ask]
"""Makes an ask into what another API wants; asks nobody."""

Look = Callable[[UnitOfWork, Ask], Awaitable[Ask]]
"""Adds to an ask what only Postgres knows."""

_AskOf = Callable[[Chat, Session | None], Ask]
"""Makes the ask of a call, once its chat and its session, if it names one, are known."""


class Completions:
    """Opens turns of calls."""

    def __init__(
        self,
        database: Database,
        engine: TurnEngine,
        catalogue: ModelCatalogue,
        config: CompletionsConfig,
        sealer: Sealer,
    ) -> None:
        self._database = database
        self._engine = engine
        self._config = config
        self._asks = AskMaker(catalogue, sealer)
        self._remembered = RememberedChats()

    async def in_session(
        self, caller: Caller, chat_id: ChatId, question: Question, recognition: Recognition
    ) -> TurnId | Opened:
        """Open the turn of a question in a session; without session and question, a new session (4.3).

        Raises:
            Missing: chat, session or a dataset is not the caller's.
            Invalid: the question or a required variable is missing.
            SessionBusy, KeyReused, Unavailable: as `TurnEngine.open_prepared`.
        """
        if not question.session_id and not question.text:
            async with self._database.unit(caller.tenant_id) as unit:
                return await open_session(unit, caller, chat_id, question, recognition)
        if not question.is_stored:
            return await self._unstored(caller, chat_id, question, recognition)

        def ask_of(chat: Chat, session: Session | None) -> Ask:
            _check_question(question)
            return self._asks.make(
                caller,
                chat,
                recognition,
                Asked.of(question, known=session.variables if session is not None else {}),
                session_id=session.id if session is not None else None,
                new_session=beginning(chat, question) if session is None else None,
                told=Told(messages=question.history) if question.history is not None else None,
                on_disconnect=question.on_disconnect or self._config.on_disconnect,
            )

        async def prepare(unit: UnitOfWork) -> Ask:
            chat, session = await self._found(unit, chat_id, question.session_id)
            await check_ground(unit, chat, question)
            return ask_of(chat, session)

        if not (question.dataset_ids or question.document_ids or question.history is not None):
            opened = await self._open_remembered(caller, chat_id, question.session_id, recognition, ask_of)
            if opened is not None:
                return opened[0]
        turn_id, ask = await self._engine.open_prepared(caller.tenant_id, prepare)
        if ask.new_session is not None:
            self._remembered.keep(ask.chat, ask.new_session.session)
        return turn_id

    async def alone(self, caller: Caller, question: Question, recognition: Recognition) -> TurnId:
        """Open the turn of a question to the tenant's default model; there is no session (4.6).

        Raises:
            Invalid: the question is missing, or the model cannot be used.
            Unavailable: as `TurnEngine.open_known`.
        """
        _check_question(question)
        asked, chat = Asked.of(question, known={}), nobody(caller.tenant_id)
        ask = self._asks.make(caller, chat, recognition, asked, history=question.history or (), on_disconnect="stop")

        async def ready(_: UnitOfWork) -> Ask:
            return ask

        if recognition.idempotency_key is None and not recognition.retry_count:
            turn_id = await self._engine.open_known(ask)
            if turn_id is not None:
                return turn_id
        turn_id, _ = await self._engine.open_prepared(caller.tenant_id, ready)
        return turn_id

    async def shaped(
        self,
        caller: Caller,
        chat_id: ChatId,
        question: Question,
        recognition: Recognition,
        shape: Shape,
        look: Look | None = None,
    ) -> tuple[TurnId, Ask]:
        """Open the turn of a question asked in another API's way (openai.md 3); a busy session is not waited for.

        `shape` makes of the ask what that API wants, and `look` adds what only Postgres knows. Without a session the
        history is the question's own.

        Raises:
            Missing: chat or session is not the caller's.
            Invalid: a required variable is missing, or `shape` refuses.
            SessionBusy, KeyReused, Unavailable: as `TurnEngine.open_prepared`.
        """

        def ask_of(chat: Chat, session: Session | None) -> Ask:
            ask = self._asks.make(
                caller,
                chat,
                recognition,
                Asked.of(question, known=session.variables if session is not None else {}),
                session_id=session.id if session is not None else None,
                history=question.history or (),
                on_disconnect="stop",
            )
            return shape(ask)

        async def prepare(unit: UnitOfWork) -> Ask:
            ask = ask_of(*await self._found(unit, chat_id, question.session_id))
            return await look(unit, ask) if look is not None else ask

        if look is None:
            opened = await self._open_remembered(caller, chat_id, question.session_id, recognition, ask_of)
            if opened is not None:
                return opened
        return await self._engine.open_prepared(caller.tenant_id, prepare, patience_s=0)

    async def stateless(
        self, caller: Caller, chat_id: ChatId, conversation: Conversation, recognition: Recognition
    ) -> tuple[TurnId, Ask]:
        """Open the turn of a question whose caller keeps the history.

        Raises:
            Missing: the chat is not the caller's.
            Invalid: a required variable is missing.
            KeyReused, Unavailable: as `TurnEngine.open_prepared`.
        """
        asked, history = Asked.last_of(conversation), conversation.messages[:-1]

        def ask_of(chat: Chat, _: Session | None) -> Ask:
            return self._asks.make(caller, chat, recognition, asked, history=history, on_disconnect="stop")

        async def prepare(unit: UnitOfWork) -> Ask:
            return ask_of(*await self._found(unit, chat_id, None))

        opened = await self._open_remembered(caller, chat_id, None, recognition, ask_of)
        return opened or await self._engine.open_prepared(caller.tenant_id, prepare)

    def known_model(self, name: str) -> str | None:
        """Return `name` if it is a usable chat model, else None: the assistant's own is meant (5.1)."""
        return self._asks.known_model(name)

    async def _unstored(self, caller: Caller, chat_id: ChatId, question: Question, recognition: Recognition) -> TurnId:
        """Open a turn that its session learns nothing of (4.6, `store_history_messages`)."""

        async def prepare(unit: UnitOfWork) -> Ask:
            chat, session = await self._found(unit, chat_id, question.session_id)
            await check_ground(unit, chat, question)
            _check_question(question)
            asked = Asked.of(question, known=session.variables if session is not None else {})
            return self._asks.make(
                caller, chat, recognition, asked, history=question.history or (), on_disconnect="stop"
            )

        turn_id, _ = await self._engine.open_prepared(caller.tenant_id, prepare)
        return turn_id

    async def _found(self, unit: UnitOfWork, chat_id: ChatId, session_id: str | None) -> tuple[Chat, Session | None]:
        """Return the chat and the session that a call names, and remember them."""
        chat = await owned_chat(unit, chat_id)
        session = await session_of_chat(unit, chat, session_id)
        self._remembered.keep(chat, session)
        return chat, session

    async def _open_remembered(
        self, caller: Caller, chat_id: ChatId, session_id: str | None, recognition: Recognition, ask_of: _AskOf
    ) -> tuple[TurnId, Ask] | None:
        """Open the turn with chat and session as they were last seen; None when that will not do: nothing was stored.

        The opening statement checks that they are still so, and a refusal is only believed of what was just read.
        """
        if recognition.idempotency_key is not None or recognition.retry_count:
            return None
        chat = self._remembered.chat(caller.tenant_id, chat_id)
        session = self._remembered.session(chat, SessionId(session_id)) if chat and session_id else None
        if chat is None or (session_id and session is None):
            return None
        try:
            ask = ask_of(chat, session)
        except ParleyError:
            return None
        turn_id = await self._engine.open_known(ask)
        if turn_id is not None and ask.new_session is not None:
            self._remembered.keep(chat, ask.new_session.session)
        return (turn_id, ask) if turn_id is not None else None


def _check_question(question: Question) -> None:
    if not question.text:
        raise QuestionMissing("Please input your question.", param="question")
