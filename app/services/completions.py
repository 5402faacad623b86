"""From a caller's words to an ask the engine can run: everything checkable is checked here, before the first byte."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import orjson
import structlog

from app.domain.chats import Chat, ChatMissing
from app.domain.datasets import DocumentMissing
from app.domain.errors import Invalid, Missing, ParleyError, WrongType
from app.domain.ids import ChatId, DatasetId, DocumentId, SessionId, TenantId, TurnId, new_id, new_turn_id
from app.domain.models import ChatMessage
from app.domain.principals import Caller
from app.domain.sessions import Session, SessionMissing
from app.engine.ask import Ask, NewSession, OnDisconnect, Recognition, Told, WebKey
from app.engine.research import rounds_of
from app.engine.turns import TurnEngine
from app.llm.base import ChatModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.retrieval.document_filter import read_document_filter
from app.retrieval.metadata import read_filter
from app.security.sealing import Sealer, Unsealable
from app.services.generation import options_of, prompt_version
from app.services.prompts import KNOWLEDGE, declared, fill, opener, with_date
from app.services.questions import Conversation, Opened, Overrides, Question
from app.services.remembered_chats import RememberedChats
from repositories.unit_of_work import Database, UnitOfWork

__all__ = [
    "Completions",
    "CompletionsConfig",
    "Conversation",
    "Opened",
    "Overrides",
    "Question",
    "QuestionMissing",
    "prompt_version",
]

log = structlog.get_logger()


class QuestionMissing(WrongType):
    """A session is named, and nothing is asked in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionsConfig:
    """`on_disconnect`: what becomes of a session's turn whose caller goes away, unless the call says."""

    on_disconnect: OnDisconnect = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What every way of asking says."""

    text: str
    variables: Mapping[str, Any]
    overrides: Overrides
    is_quoting: bool
    metadata_condition: dict[str, Any] | None
    document_ids: tuple[str, ...] = ()
    dataset_ids: tuple[str, ...] = ()
    reasoning: bool | int | None = None
    has_web: bool = True
    extras: dict[str, Any] | None = None
    keeps_prompt: bool = False

    @classmethod
    def of(cls, question: Question, *, known: Mapping[str, Any]) -> Self:
        """Return what a question says; `known` are the variables of its session."""
        return cls(
            text=question.text or "",
            variables={**known, **question.variables},
            overrides=question.overrides,
            is_quoting=question.is_quoting,
            metadata_condition=question.metadata_condition,
            document_ids=question.document_ids,
            dataset_ids=question.dataset_ids,
            reasoning=question.reasoning,
            has_web=question.has_web,
            extras=question.extras,
            keeps_prompt=question.keeps_prompt,
        )


Shape = Callable[[Ask], Ask]
"""Makes an ask into what another API wants; asks nobody."""

Look = Callable[[UnitOfWork, Ask], Awaitable[Ask]]
"""Adds to an ask what only Postgres knows."""


class Completions:
    """Makes asks of calls."""

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
        self._catalogue = catalogue
        self._config = config
        self._sealer = sealer
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
            return await self._open(caller, chat_id, question, recognition)
        if not question.is_stored:
            return await self._unstored(caller, chat_id, question, recognition)

        def ask_of(chat: Chat, session: Session | None = None) -> Ask:
            if not question.text:
                raise QuestionMissing("Please input your question.", param="question")
            is_new = session is None
            return self._ask(
                caller,
                chat,
                recognition,
                _Asked.of(question, known=session.variables if session is not None else {}),
                session_id=session.id if session is not None else None,
                new_session=_begin(chat, question) if is_new else None,
                told=Told(messages=question.history) if question.history is not None else None,
                on_disconnect=question.on_disconnect or self._config.on_disconnect,
            )

        async def prepare(unit: UnitOfWork) -> Ask:
            chat = await _owned(unit, chat_id)
            self._remembered.keep(chat)
            session = await _session(unit, chat, question.session_id)
            await _check_ground(unit, chat, question)
            return ask_of(chat, session)

        if not (question.session_id or question.dataset_ids or question.document_ids or question.history is not None):
            opened = await self._open_remembered(caller, chat_id, recognition, ask_of)
            if opened is not None:
                return opened[0]
        turn_id, _ = await self._engine.open_prepared(caller.tenant_id, prepare)
        return turn_id

    async def alone(self, caller: Caller, question: Question, recognition: Recognition) -> TurnId:
        """Open the turn of a question to the tenant's default model; there is no session (4.6).

        Raises:
            Invalid: the question is missing, or the model cannot be used.
            Unavailable: as `TurnEngine.open_known`.
        """
        if not question.text:
            raise QuestionMissing("Please input your question.", param="question")
        ask = self._ask(
            caller,
            _nobody(caller.tenant_id),
            recognition,
            _Asked.of(question, known={}),
            history=question.history or (),
            on_disconnect="stop",
        )

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

        def ask_of(chat: Chat, session: Session | None = None) -> Ask:
            known = session.variables if session is not None else {}
            asked = _Asked.of(question, known=known)
            ask = self._ask(
                caller,
                chat,
                recognition,
                asked,
                session_id=session.id if session is not None else None,
                history=question.history or (),
                on_disconnect="stop",
            )
            return shape(ask)

        async def prepare(unit: UnitOfWork) -> Ask:
            chat = await _owned(unit, chat_id)
            self._remembered.keep(chat)
            ask = ask_of(chat, await _session(unit, chat, question.session_id))
            return await look(unit, ask) if look is not None else ask

        if not question.session_id and look is None:
            opened = await self._open_remembered(caller, chat_id, recognition, ask_of)
            if opened is not None:
                return opened
        return await self._engine.open_prepared(caller.tenant_id, prepare, patience_s=0)

    async def _unstored(self, caller: Caller, chat_id: ChatId, question: Question, recognition: Recognition) -> TurnId:
        """Open a turn that its session learns nothing of (4.6, `store_history_messages`)."""

        async def prepare(unit: UnitOfWork) -> Ask:
            chat = await _owned(unit, chat_id)
            session = await _session(unit, chat, question.session_id)
            await _check_ground(unit, chat, question)
            if not question.text:
                raise QuestionMissing("Please input your question.", param="question")
            return self._ask(
                caller,
                chat,
                recognition,
                _Asked.of(question, known=session.variables if session is not None else {}),
                history=question.history or (),
                on_disconnect="stop",
            )

        turn_id, _ = await self._engine.open_prepared(caller.tenant_id, prepare)
        return turn_id

    async def stateless(
        self, caller: Caller, chat_id: ChatId, conversation: Conversation, recognition: Recognition
    ) -> tuple[TurnId, Ask]:
        """Open the turn of a question whose caller keeps the history.

        Raises:
            Missing: the chat is not the caller's.
            Invalid: a required variable is missing.
            KeyReused, Unavailable: as `TurnEngine.open_prepared`.
        """
        *history, last = conversation.messages

        def ask_of(chat: Chat) -> Ask:
            asked = _Asked(
                text=last.content,
                variables=conversation.variables,
                overrides=conversation.overrides,
                is_quoting=conversation.is_quoting,
                metadata_condition=conversation.metadata_condition,
            )
            return self._ask(caller, chat, recognition, asked, history=history, on_disconnect="stop")

        async def prepare(unit: UnitOfWork) -> Ask:
            chat = await _owned(unit, chat_id)
            self._remembered.keep(chat)
            return ask_of(chat)

        opened = await self._open_remembered(caller, chat_id, recognition, ask_of)
        return opened or await self._engine.open_prepared(caller.tenant_id, prepare)

    async def _open_remembered(
        self, caller: Caller, chat_id: ChatId, recognition: Recognition, ask_of: Callable[[Chat], Ask]
    ) -> tuple[TurnId, Ask] | None:
        """Open the turn with the chat as it was last seen; None when that will not do, and nothing was stored.

        The opening statement checks that the chat is still so, and a refusal is only believed of a chat just read.
        """
        chat = self._remembered.chat(caller.tenant_id, chat_id)
        if chat is None or recognition.idempotency_key is not None or recognition.retry_count:
            return None
        try:
            ask = ask_of(chat)
        except ParleyError:
            return None
        turn_id = await self._engine.open_known(ask)
        return (turn_id, ask) if turn_id is not None else None

    def _ask(
        self,
        caller: Caller,
        chat: Chat,
        recognition: Recognition,
        asked: "_Asked",
        *,
        on_disconnect: OnDisconnect,
        session_id: SessionId | None = None,
        new_session: NewSession | None = None,
        told: Told | None = None,
        history: Sequence[ChatMessage] = (),
    ) -> Ask:
        prompt = chat.prompt_config
        parameters = declared(prompt)
        variables = with_date(asked.variables)
        template = str(prompt.get("system") or "")
        names_knowledge = any(one.key == KNOWLEDGE for one in parameters) or "{knowledge}" in template
        searched = tuple(dict.fromkeys([*(one for one, _ in chat.datasets), *map(DatasetId, asked.dataset_ids)]))
        web_key = self._web_key(chat) if asked.has_web and names_knowledge else None
        is_searching = names_knowledge and (bool(searched) or web_key is not None)
        if is_searching:
            read_filter(asked.metadata_condition)
            read_document_filter(chat.meta_data_filter)
        model = self._model(chat, asked.overrides.model)
        wanted = prompt.get("reasoning") if asked.reasoning is None else asked.reasoning
        return Ask(
            tenant_id=caller.tenant_id,
            key_id=caller.key_id,
            quota=caller.quota,
            recognition=recognition,
            chat=chat,
            question=asked.text,
            model=model,
            options=options_of({**chat.llm_setting, **asked.overrides.options}),
            prompt_version=prompt_version(chat, model),
            system=fill(template, parameters, variables),
            empty_response=fill(str(prompt.get("empty_response") or ""), parameters, variables),
            session_id=session_id,
            new_session=new_session,
            told=told,
            history=history,
            is_quoting=asked.is_quoting and prompt.get("quote", True) is not False,
            is_searching=is_searching,
            is_refining=prompt.get("refine_multiturn", True) is not False,
            dataset_ids=searched,
            document_ids=tuple(map(DocumentId, asked.document_ids)),
            embedding=self._catalogue.embedding() if is_searching else None,
            metadata_condition=asked.metadata_condition,
            research_rounds=rounds_of(wanted) if is_searching else 0,
            web_key=web_key,
            extras=asked.extras,
            keeps_prompt=asked.keeps_prompt,
            on_disconnect=on_disconnect,
        )

    def _model(self, chat: Chat, wanted: str | None) -> ChatModel:
        if not wanted:
            return self._catalogue.chat(chat.llm_id)
        try:
            return self._catalogue.chat(wanted)
        except (ModelUnknown, ModelUnusable) as error:
            raise Invalid(f"Cannot use specified model {wanted}.", param="llm_id") from error

    def _web_key(self, chat: Chat) -> WebKey | None:
        """Return the key of the assistant's web search; none, and a line in the log, when it cannot be read."""
        if chat.secrets is None:
            return None
        try:
            secrets = self._sealer.opened(chat.secrets, tenant_id=chat.tenant_id, chat_id=chat.id)
        except Unsealable as error:
            log.warning("web_key_unreadable", chat=chat.id, error=error.message)
            return None
        secret = secrets.get("tavily_api_key")
        return WebKey(secret=secret) if secret else None

    def known_model(self, name: str) -> str | None:
        """Return `name` if it is a usable chat model, else None: the assistant's own is meant (5.1)."""
        try:
            self._catalogue.entry("chat", name)
        except (ModelUnknown, ModelUnusable):
            return None
        return name

    async def _open(self, caller: Caller, chat_id: ChatId, question: Question, recognition: Recognition) -> Opened:
        """Make a session without a question; a repeated call with the same Idempotency-Key gets the first one's."""
        key = recognition.idempotency_key
        async with self._database.unit(caller.tenant_id) as unit:
            chat = await _owned(unit, chat_id)
            if key is not None:
                kept = await unit.idempotency.claim(
                    api_key_id=caller.key_id, key=key, route=recognition.route, body_hash=recognition.body_hash
                )
                if kept is not None and kept.body is not None:
                    return Opened(**orjson.loads(kept.body))
            new = _begin(chat, question)
            await unit.sessions.add(new.session, next_position=1)
            await unit.messages.add_opener(new.session.id, new_turn_id(), new.opener)
            opened = Opened(session_id=new.session.id, opener=new.opener)
            if key is not None:
                body = orjson.dumps({"session_id": opened.session_id, "opener": opened.opener})
                await unit.idempotency.keep(api_key_id=caller.key_id, key=key, status=200, body=body)
        return opened


async def _owned(unit: UnitOfWork, chat_id: ChatId) -> Chat:
    chat = await unit.chats.for_turn(chat_id)
    if chat is None:
        raise ChatMissing(f"You don't own the chat {chat_id}")
    return chat


async def _session(unit: UnitOfWork, chat: Chat, session_id: str | None) -> Session | None:
    if not session_id:
        return None
    session = await unit.sessions.get(SessionId(session_id), chat_id=chat.id)
    if session is None:
        if await unit.session_retention.has_ended(SessionId(session_id), chat.id):
            raise SessionMissing("Session does not exist")
        raise SessionMissing(f"You don't own the session {session_id}")
    return session


async def _check_ground(unit: UnitOfWork, chat: Chat, question: Question) -> None:
    """Refuse datasets that are not the caller's, and documents that are in none of those searched."""
    if question.dataset_ids:
        owned = await unit.chats.datasets_of(question.dataset_ids)
        for dataset_id in question.dataset_ids:
            if dataset_id not in owned:
                raise Missing(f"You don't own the dataset {dataset_id}", param="kb_ids")
    searched = [*(one for one, _ in chat.datasets), *map(DatasetId, question.dataset_ids)]
    if question.document_ids and searched:
        found = await unit.chunk_search.owned(searched, [DocumentId(each) for each in question.document_ids])
        for document_id in question.document_ids:
            if document_id not in found:
                raise DocumentMissing(f"The datasets don't own the document {document_id}", param="doc_ids")


def _nobody(tenant_id: TenantId) -> Chat:
    """Return a chat that is none: the default model, without a prompt."""
    config: dict[str, Any] = {"system": "", "parameters": [], "quote": False, "refine_multiturn": False}
    return Chat(id=ChatId(""), tenant_id=tenant_id, name="", prompt_config=config, created_at=_NEVER, updated_at=_NEVER)


def _begin(chat: Chat, question: Question) -> NewSession:
    now = datetime.now(UTC)
    session = Session(
        id=SessionId(new_id()),
        chat_id=chat.id,
        name=question.session_name,
        user_id=question.user_id,
        variables=dict(question.variables),
        created_at=now,
        updated_at=now,
    )
    return NewSession(session=session, opener=opener(chat.prompt_config, question.variables))


_NEVER = datetime.fromtimestamp(0, UTC)
