"""From a caller's words to an ask the engine can run: everything checkable is checked here, before the first byte."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from app.domain.chats import Chat, ChatMissing
from app.domain.errors import Invalid, Missing, ParleyError
from app.domain.ids import ChatId, DatasetId, DocumentId, SessionId, TenantId, TurnId, new_id, new_turn_id
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.principals import Caller
from app.domain.sessions import Session, SessionMissing
from app.engine.ask import Ask, NewSession, OnDisconnect, Recognition
from app.engine.turns import TurnEngine
from app.llm.base import ChatModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.services.prompts import KNOWLEDGE, declared, fill, opener
from repositories.unit_of_work import Database, UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionsConfig:
    """`on_disconnect`: what becomes of a session's turn whose caller goes away, unless the call says."""

    on_disconnect: OnDisconnect = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What a call changes for itself; None keeps the assistant's own."""

    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to an assistant, in a session (conversations.md 4.1)."""

    text: str | None
    session_id: str | None = None
    session_name: str = "New session"
    user_id: str = ""
    is_quoting: bool = True
    document_ids: tuple[str, ...] = ()
    dataset_ids: tuple[str, ...] = ()
    metadata_condition: dict[str, Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    on_disconnect: OnDisconnect | None = None
    overrides: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A question with the history its caller keeps (conversations.md 5.1); the last message is the question."""

    messages: Sequence[ChatMessage]
    is_quoting: bool = False
    metadata_condition: dict[str, Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    overrides: Overrides = field(default_factory=Overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that was opened without a question, and what its assistant said."""

    session_id: SessionId
    opener: str


class Completions:
    """Makes asks of calls."""

    def __init__(
        self, database: Database, engine: TurnEngine, catalogue: ModelCatalogue, config: CompletionsConfig
    ) -> None:
        self._database = database
        self._engine = engine
        self._catalogue = catalogue
        self._config = config
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

        async def prepare(unit: UnitOfWork) -> Ask:
            chat = await _owned(unit, chat_id)
            session = await _session(unit, chat, question.session_id)
            await _check_datasets(unit, question.dataset_ids)
            if not question.text:
                raise Invalid("Please input your question.", param="question")
            known = session.variables if session is not None else {}
            return self._ask(
                caller,
                chat,
                text=question.text,
                recognition=recognition,
                variables={**known, **question.variables},
                overrides=question.overrides,
                is_quoting=question.is_quoting,
                metadata_condition=question.metadata_condition,
                session_id=session.id if session is not None else None,
                new_session=None if session is not None else _begin(chat, question),
                dataset_ids=question.dataset_ids,
                document_ids=question.document_ids,
                on_disconnect=question.on_disconnect or self._config.on_disconnect,
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
            return self._ask(
                caller,
                chat,
                text=last.content,
                recognition=recognition,
                variables=conversation.variables,
                overrides=conversation.overrides,
                is_quoting=conversation.is_quoting,
                metadata_condition=conversation.metadata_condition,
                history=history,
                on_disconnect="stop",
            )

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
        *,
        text: str,
        recognition: Recognition,
        variables: Mapping[str, Any],
        overrides: Overrides,
        is_quoting: bool,
        metadata_condition: dict[str, Any] | None,
        on_disconnect: OnDisconnect,
        session_id: SessionId | None = None,
        new_session: NewSession | None = None,
        history: Sequence[ChatMessage] = (),
        dataset_ids: tuple[str, ...] = (),
        document_ids: tuple[str, ...] = (),
    ) -> Ask:
        prompt = chat.prompt_config
        parameters = declared(prompt)
        template = str(prompt.get("system") or "")
        names_knowledge = any(one.key == KNOWLEDGE for one in parameters) or "{knowledge}" in template
        searched = tuple(dict.fromkeys([*(one for one, _ in chat.datasets), *map(DatasetId, dataset_ids)]))
        model = self._model(chat, overrides.model)
        return Ask(
            tenant_id=caller.tenant_id,
            key_id=caller.key_id,
            recognition=recognition,
            chat=chat,
            question=text,
            model=model,
            options=_options({**chat.llm_setting, **overrides.options}),
            prompt_version=prompt_version(chat, model),
            system=fill(template, parameters, variables),
            empty_response=fill(str(prompt.get("empty_response") or ""), parameters, variables),
            session_id=session_id,
            new_session=new_session,
            history=history,
            is_quoting=is_quoting and prompt.get("quote", True) is not False,
            is_searching=names_knowledge and bool(searched),
            is_refining=prompt.get("refine_multiturn", True) is not False,
            dataset_ids=searched,
            document_ids=tuple(map(DocumentId, document_ids)),
            embedding=self._catalogue.embedding() if searched else None,
            metadata_condition=metadata_condition,
            on_disconnect=on_disconnect,
        )

    def _model(self, chat: Chat, wanted: str | None) -> ChatModel:
        return self._catalogue.chat(wanted or chat.llm_id)

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


class RememberedChats:
    """The chats asked lately, as they were when last read; whoever uses one checks that it is still so."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._chats: OrderedDict[tuple[TenantId, ChatId], Chat] = OrderedDict()

    def keep(self, chat: Chat) -> None:
        """Remember a chat that was just read."""
        self._chats[chat.tenant_id, chat.id] = chat
        self._chats.move_to_end((chat.tenant_id, chat.id))
        if len(self._chats) > self._most:
            self._chats.popitem(last=False)

    def chat(self, tenant_id: TenantId, chat_id: ChatId) -> Chat | None:
        """Return a tenant's chat as it was last seen."""
        return self._chats.get((tenant_id, chat_id))


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
        raise SessionMissing(f"You don't own the session {session_id}")
    return session


async def _check_datasets(unit: UnitOfWork, dataset_ids: Sequence[str]) -> None:
    if not dataset_ids:
        return
    owned = await unit.chats.datasets_of(dataset_ids)
    for dataset_id in dataset_ids:
        if dataset_id not in owned:
            raise Missing(f"You don't own the dataset {dataset_id}")


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


_NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")


def _options(setting: Mapping[str, Any]) -> GenerationOptions:
    """Return the generation options among an assistant's settings; others are the caller's own notes."""
    numbers = {name: setting[name] for name in _NUMBERS if isinstance(setting.get(name), int | float)}
    most = setting.get("max_tokens")
    stop = setting.get("stop")
    return GenerationOptions(
        **numbers,
        max_tokens=most if isinstance(most, int) and most > 0 else None,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
    )


def prompt_version(chat: Chat, model: ChatModel) -> str:
    """Return twelve hex digits that change when the assistant's prompt, settings or model do."""
    told = [chat.prompt_config, chat.llm_setting, model.name, model.provider, chat.top_n, chat.similarity_threshold]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
