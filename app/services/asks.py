"""From an assistant and what is said to it to an ask the engine can run (conversations.md 10)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import structlog

from app.domain.chats import Chat
from app.domain.errors import Invalid
from app.domain.ids import ChatId, DatasetId, DocumentId, SessionId, TenantId
from app.domain.models import ChatMessage
from app.domain.principals import Caller
from app.engine.ask import Ask, NewSession, OnDisconnect, Recognition, Told, WebKey
from app.engine.research import rounds_of
from app.llm.base import ChatModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.retrieval.document_filter import read_document_filter
from app.retrieval.metadata import read_filter
from app.security.sealing import Sealer, Unsealable
from app.services.generation import options_of, prompt_version
from app.services.prompts import KNOWLEDGE, declared, fill, with_date
from app.services.questions import Conversation, Overrides, Question

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
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

    @classmethod
    def last_of(cls, conversation: Conversation) -> Self:
        """Return what the last message of a conversation asks."""
        return cls(
            text=conversation.messages[-1].content,
            variables=conversation.variables,
            overrides=conversation.overrides,
            is_quoting=conversation.is_quoting,
            metadata_condition=conversation.metadata_condition,
        )


class AskMaker:
    """Makes asks of one assistant and one question; asks nobody."""

    def __init__(self, catalogue: ModelCatalogue, sealer: Sealer) -> None:
        self._catalogue = catalogue
        self._sealer = sealer

    def make(
        self,
        caller: Caller,
        chat: Chat,
        recognition: Recognition,
        asked: Asked,
        *,
        on_disconnect: OnDisconnect,
        session_id: SessionId | None = None,
        new_session: NewSession | None = None,
        told: Told | None = None,
        history: Sequence[ChatMessage] = (),
    ) -> Ask:
        """Return the ask, checked as far as it can be without Postgres.

        Raises:
            ParameterMissing: a required variable is missing.
            Invalid: a filter is of a wrong shape, or the model cannot be used.
        """
        prompt = chat.prompt_config
        parameters = declared(prompt)
        variables = with_date(asked.variables)
        template = str(prompt.get("system") or "")
        has_place = any(one.key == KNOWLEDGE for one in parameters) or "{knowledge}" in template
        searched = tuple(dict.fromkeys([*(one for one, _ in chat.datasets), *map(DatasetId, asked.dataset_ids)]))
        web_key = self._web_key(chat) if asked.has_web and has_place else None
        is_searching = has_place and (bool(searched) or web_key is not None)
        if is_searching:
            _check_filters(chat, asked)
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

    def known_model(self, name: str) -> str | None:
        """Return `name` if it is a usable chat model, else None: the assistant's own is meant (5.1)."""
        try:
            self._catalogue.entry("chat", name)
        except (ModelUnknown, ModelUnusable):
            return None
        return name

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


def _check_filters(chat: Chat, asked: Asked) -> None:
    """Refuse, before there is a turn, a filter that the search could not read."""
    read_filter(asked.metadata_condition)
    read_document_filter(chat.meta_data_filter)


def nobody(tenant_id: TenantId) -> Chat:
    """Return a chat that is none: the default model, without a prompt."""
    config: dict[str, Any] = {"system": "", "parameters": [], "quote": False, "refine_multiturn": False}
    return Chat(id=ChatId(""), tenant_id=tenant_id, name="", prompt_config=config, created_at=_NEVER, updated_at=_NEVER)


_NEVER = datetime.fromtimestamp(0, UTC)
