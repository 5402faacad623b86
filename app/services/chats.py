"""Rules of chat assistants: the checks, in the order of conversations.md 2.3 and 2.5."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from app.domain.chats import Chat, ChatMissing, ChatNameTaken, DatasetsDiffer, UnknownField
from app.domain.datasets import Dataset
from app.domain.errors import Invalid, Missing
from app.domain.ids import ChatId, DatasetId, new_id
from app.domain.listing import Deletion, Listing
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.llm.entries import ModelKind
from app.security.sealing import SHOWN, Sealer
from app.services.chat_fields import (
    ChatFields,
    merged_setting,
    new_prompt,
    new_setting,
    read_fields,
    read_name,
    unknown_key,
)
from app.services.deletion import delete_several
from app.services.prompts import KNOWLEDGE, SYSTEM, unused_parameter
from repositories.unit_of_work import UnitOfWork

ALWAYS_RERANK = ("BAAI/bge-reranker-v2-m3", "maidalun1020/bce-reranker-base_v1")
"""Rerank models that may be named whether or not they are configured (conversations.md 2.3)."""


class ChatModels(Protocol):
    """What chats ask of the model catalogue."""

    def knows_chat(self, name: str) -> bool:
        """Say whether `name` is a chat model that can be used."""
        ...

    def knows_rerank(self, name: str) -> bool:
        """Say whether `name` is a rerank model that can be used."""
        ...

    def default_chat(self) -> str | None:
        """Return `name@provider` of the chat model of those who name none."""
        ...


class CatalogueModels:
    """The model catalogue, as chats see it."""

    def __init__(self, catalogue: ModelCatalogue) -> None:
        self._catalogue = catalogue

    def knows_chat(self, name: str) -> bool:
        """Say whether `name` is a chat model that can be used."""
        return self._wire_name("chat", name) is not None

    def knows_rerank(self, name: str) -> bool:
        """Say whether `name` is a rerank model that can be used."""
        return self._wire_name("rerank", name) is not None

    def default_chat(self) -> str | None:
        """Return `name@provider` of the chat model of those who name none."""
        return self._wire_name("chat", None)

    def _wire_name(self, kind: ModelKind, name: str | None) -> str | None:
        try:
            return self._catalogue.entry(kind, name).wire_name
        except (ModelUnknown, ModelUnusable):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRules:
    """What the rules of chats depend on; `is_compat22` when the caller speaks RAGFlow 0.22."""

    default_system: str = SYSTEM
    is_compat22: bool = False


class ChatService:
    """Chats of the unit's tenant. Chats come back as they are shown: with the default model where none is named."""

    def __init__(self, unit: UnitOfWork, models: ChatModels, sealer: Sealer, rules: ChatRules | None = None) -> None:
        self._unit = unit
        self._models = models
        self._sealer = sealer
        self._rules = rules or ChatRules()

    async def create(self, sent: Mapping[str, Any]) -> Chat:
        """Make a chat of what was sent (conversations.md 2.3).

        Raises:
            Invalid: a check failed.
            Missing: a dataset is not the tenant's, or the tenant is gone.
        """
        fields = self._read(sent)
        datasets = await self._datasets(fields.dataset_ids or [])
        self._check_models(fields)
        name = read_name(sent, missing="`name` is required.")
        if await self._unit.chats.has_name(name):
            raise ChatNameTaken("Duplicated chat name in creating chat.", param="name")
        if sent.get("tenant_id") is not None:
            raise Invalid("`tenant_id` must not be provided.", param="tenant_id")
        now = datetime.now(UTC)
        values: dict[str, Any] = {"description": "A helpful Assistant", **fields.columns}
        chat = Chat(
            id=ChatId(new_id()),
            tenant_id=self._unit.tenant_id,
            name=name,
            llm_setting=new_setting(fields.llm_setting),
            prompt_config=new_prompt(fields.prompt_config, default_system=self._rules.default_system),
            datasets=datasets,
            created_at=now,
            updated_at=now,
            **values,
        )
        self._check_parameters(chat)
        chat = self._sealed(chat, fields.secrets)
        await self._unit.chats.add(chat)
        return self._shown(chat)

    async def update(self, chat_id: ChatId, sent: Mapping[str, Any], *, is_part: bool) -> Chat:
        """Lay what was sent over the chat; what is absent stays (conversations.md 2.5).

        `is_part` is said of a PATCH, which words one refusal in another way and knows no 0.22.

        Raises:
            ChatMissing: no such chat.
            Invalid: a check failed.
            Missing: a dataset is not the tenant's.
        """
        chat = await self._unit.chats.get(chat_id, lock=True)
        if chat is None:
            raise ChatMissing("You do not own the chat")
        fields = self._read(sent)
        datasets = chat.datasets if fields.dataset_ids is None else await self._datasets(fields.dataset_ids)
        self._check_models(fields)
        name = chat.name
        if "name" in sent:
            name = read_name(sent, missing="`name` cannot be empty" if is_part else "`name` cannot be empty.")
            if await self._unit.chats.has_name(name, but=chat_id):
                raise ChatNameTaken("Duplicated chat name in updating chat.", param="name")
        changed = replace(
            chat,
            name=name,
            llm_setting=merged_setting(chat.llm_setting, fields.llm_setting),
            prompt_config=chat.prompt_config | fields.prompt_config,
            datasets=datasets,
            **fields.columns,
        )
        self._check_parameters(changed)
        if self._rules.is_compat22 and not is_part and (key := unknown_key(sent)) is not None:
            raise UnknownField(f'ValueError("Unrecognized field: {key}")', param=key)
        written = await self._unit.chats.update(self._sealed(changed, fields.secrets))
        if written is None:
            raise ChatMissing("Chat not found!")
        return self._shown(written)

    async def get(self, chat_id: ChatId) -> Chat:
        """Return a chat.

        Raises:
            ChatMissing: no such chat.
        """
        chat = await self._unit.chats.get(chat_id)
        if chat is None:
            raise ChatMissing("You do not own the chat")
        return self._shown(chat)

    async def page(
        self, listing: Listing, *, chat_id: str, name: str, keywords: str, owner_ids: Sequence[str]
    ) -> tuple[int, list[Chat]]:
        """Return how many chats match, and a stretch of them; an empty filter is none.

        Raises:
            ChatMissing: an id or a name was asked for, and there is no such chat.
        """
        if owner_ids and self._unit.tenant_id not in owner_ids:
            return 0, []
        is_exact = bool(chat_id or name)
        total, chats = await self._unit.chats.page(
            listing, chat_id=chat_id or None, name=name or None, keywords=None if is_exact else keywords or None
        )
        if is_exact and total == 0:
            raise ChatMissing("The chat doesn't exist")
        return total, [self._shown(chat) for chat in chats]

    async def datasets_of(self, chats: Sequence[Chat]) -> dict[DatasetId, Dataset]:
        """Return the datasets of `chats` as whole rows, for those who are shown them (2.4, 0.22)."""
        ids = {dataset_id for chat in chats for dataset_id, _ in chat.datasets}
        return await self._unit.datasets.many(sorted(ids)) if ids else {}

    async def delete(self, chat_id: ChatId) -> None:
        """Hide a chat and free its name.

        Raises:
            ChatMissing: no such chat.
        """
        if not await self._unit.chats.delete([chat_id]):
            raise ChatMissing("You do not own the chat")

    async def delete_several(self, sent: Mapping[str, Any]) -> Deletion:
        """Hide the chats that a body names, or all. Raises as `delete_several` of the deletion module."""
        return await delete_several(
            sent,
            delete=self._unit.chats.delete,
            delete_all=self._unit.chats.delete_all,
            unknown=lambda chat_id: f"Assistant({chat_id}) not found.",
            duplicate=lambda chat_id: f"Duplicate assistant ids: {chat_id}",
            is_compat22=self._rules.is_compat22,
        )

    def _read(self, sent: Mapping[str, Any]) -> ChatFields:
        rules = self._rules
        return read_fields(sent, default_system=rules.default_system, is_compat22=rules.is_compat22)

    def _sealed(self, chat: Chat, changes: Mapping[str, str | None]) -> Chat:
        """Return the chat with its secrets changed; in the prompt there stands `***` for each."""
        if not changes:
            return chat
        secrets = self._sealer.changed(chat.secrets, changes, tenant_id=chat.tenant_id, chat_id=chat.id)
        config = {key: value for key, value in chat.prompt_config.items() if key not in changes}
        config |= {name: SHOWN for name, secret in changes.items() if secret is not None}
        return replace(chat, secrets=secrets, prompt_config=config)

    async def _datasets(self, dataset_ids: Sequence[str]) -> tuple[tuple[DatasetId, str], ...]:
        if not dataset_ids:
            return ()
        found = await self._unit.chats.datasets_of(dataset_ids)
        unknown = next((each for each in dataset_ids if each not in found), None)
        if unknown is not None:
            raise Missing(f"You don't own the dataset {unknown}", param="dataset_ids")
        unparsed = next((each for each in dataset_ids if found[each].chunk_count == 0), None)
        if unparsed is not None:
            raise Invalid(f"The dataset {unparsed} doesn't own parsed file", param="dataset_ids")
        if len({_bare(each.embedding_model) for each in found.values()}) > 1:
            raise DatasetsDiffer('Datasets use different embedding models."', param="dataset_ids")
        return tuple((found[each].id, found[each].name) for each in dataset_ids)

    def _check_models(self, fields: ChatFields) -> None:
        llm_id = fields.columns.get("llm_id")
        if llm_id is not None and not self._models.knows_chat(llm_id):
            raise Invalid(f"`{fields.model_word}` {llm_id} doesn't exist", param=fields.model_word)
        rerank_id = fields.columns.get("rerank_id")
        if rerank_id and rerank_id not in ALWAYS_RERANK and not self._models.knows_rerank(rerank_id):
            raise Invalid(f"`{fields.rerank_word}` {rerank_id} doesn't exist", param=fields.rerank_word)

    def _check_parameters(self, chat: Chat) -> None:
        """Refuse a required variable that the prompt never uses; to 0.22 `knowledge` is one like any other."""
        key = unused_parameter(chat.prompt_config, may_lack=None if self._rules.is_compat22 else KNOWLEDGE)
        if key is not None:
            raise Invalid(f"Parameter '{key}' is not used", param="prompt")

    def _shown(self, chat: Chat) -> Chat:
        return chat if chat.llm_id else replace(chat, llm_id=self._models.default_chat())


def _bare(model: str) -> str:
    return model.rpartition("@")[0] or model
