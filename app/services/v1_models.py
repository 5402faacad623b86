"""What `model` means under `/v1`: assistants and configured models side by side (openai.md 2)."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from app.domain.errors import BadArgument, Invalid, Missing, WrongType
from app.domain.ids import ChatId
from app.domain.principals import Caller
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.llm.entries import ModelEntry, ModelKind
from repositories.unit_of_work import Database

_ASSISTANT_ID = re.compile(r"[0-9a-f]{32}")
_SPEAKING: tuple[ModelKind, ...] = ("chat", "vision")
_SHOWN_CHARS = 200


class ModelNotFound(Missing):
    """No such model, or one of another tenant, or one that is switched off: they look alike (openai.md 1.6)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The model `{name[:_SHOWN_CHARS]}` does not exist or you do not have access to it.",
            param="model",
            code="model_not_found",
        )


class WrongModelKind(BadArgument):
    """The model is there, but not for this endpoint (openai.md 2)."""

    def __init__(self, name: str, use: str) -> None:
        super().__init__(f"The model `{name[:_SHOWN_CHARS]}` cannot be used {use}.", param="model")
        self.code = "unsupported_value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """A name shaped like an assistant's id. Whether the caller has such an assistant is not known yet."""

    chat_id: ChatId


@dataclass(frozen=True, slots=True, kw_only=True)
class RawModel:
    """A configured model, and the name it was asked for by, which answers echo."""

    name: str
    entry: ModelEntry


Target = Assistant | RawModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One element of the list of models. `created` is Unix seconds; a configured model has none, so 0."""

    id: str
    kind: Literal["assistant", "chat", "embedding"]
    name: str
    owned_by: str
    created: int = 0
    description: str = ""
    capabilities: tuple[str, ...] = ()
    context_window: int | None = None


class V1Models:
    """Lists and finds models."""

    def __init__(self, database: Database, catalogue: ModelCatalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    def resolve(self, name: Any) -> Target:
        """Return what `model` of a request that generates text means; asks no database.

        A configured model is found by its exact name. An `Assistant` is a promise to look: whoever opens its turn
        raises `ModelNotFound` when the caller has none such.

        Raises:
            Invalid: there is no name, or it is no text.
            ModelNotFound: nothing is called so.
            WrongModelKind: it is an embedding model.
        """
        name = _named(name)
        entry = next((found for kind in _SPEAKING if (found := self._entry(kind, name))), None)
        if entry is not None:
            return RawModel(name=name, entry=entry)
        if _ASSISTANT_ID.fullmatch(name):
            return Assistant(chat_id=ChatId(name))
        if self._entry("embedding", name) is not None:
            raise WrongModelKind(name, "to generate text: it is an embedding model")
        raise ModelNotFound(name)

    async def raw(self, caller: Caller, name: Any, kind: Literal["chat", "embedding"]) -> RawModel:
        """Return the configured model of that kind for an endpoint that takes no assistants.

        Raises:
            Invalid: there is no name, or it is no text.
            ModelNotFound: nothing is called so.
            WrongModelKind: it is an assistant, or of the other kind.
        """
        name = _named(name)
        kinds: tuple[ModelKind, ...] = _SPEAKING if kind == "chat" else ("embedding",)
        entry = next((found for one in kinds if (found := self._entry(one, name))), None)
        if entry is not None:
            return RawModel(name=name, entry=entry)
        await self.get(caller, name)
        raise WrongModelKind(name, "on this endpoint")

    async def listed(self, caller: Caller) -> list[Listed]:
        """Return all models the key may use: assistants, chat, embedding; each by name, then id."""
        return [*await self._assistants(caller), *self._configured()]

    async def get(self, caller: Caller, model_id: str) -> Listed:
        """Return one model by its id; a configured one by any of its exact names.

        Raises:
            ModelNotFound: nothing is called so.
        """
        for kind in (*_SPEAKING, "embedding"):
            entry = self._entry(kind, model_id)
            if entry is not None:
                return self._told(entry, model_id)
        if _ASSISTANT_ID.fullmatch(model_id):
            for one in await self._assistants(caller, ChatId(model_id)):
                return one
        raise ModelNotFound(model_id)

    async def _assistants(self, caller: Caller, only: ChatId | None = None) -> list[Listed]:
        async with self._database.unit(caller.tenant_id) as unit:
            tenant = await unit.tenants.get()
            found = await unit.model_listing.assistants(only)
        return [
            Listed(
                id=one.id,
                kind="assistant",
                name=one.name,
                owned_by=tenant.name if tenant is not None else caller.tenant_id,
                created=_seconds(one.created_at),
                description=one.description,
                capabilities=("chat", "retrieval"),
            )
            for one in found
        ]

    def _configured(self) -> list[Listed]:
        found: dict[str, Listed] = {}
        sorts: tuple[tuple[ModelKind, ...], ...] = (_SPEAKING, ("embedding",))
        for kinds in sorts:
            entries = [each for kind in kinds for each in self._catalogue.entries(kind, is_usable=True)]
            told = [self._told(each, self._id(each)) for each in entries]
            for one in sorted(told, key=lambda one: (one.name, one.id)):
                found.setdefault(one.id, one)
        return list(found.values())

    def _id(self, entry: ModelEntry) -> str:
        """Return the bare name where that finds the entry, else the name with its provider."""
        for kind in (*_SPEAKING, "embedding"):
            found = self._entry(kind, entry.name)
            if found is not None:
                return entry.name if found is entry else entry.wire_name
        return entry.wire_name

    def _told(self, entry: ModelEntry, model_id: str) -> Listed:
        is_embedding = entry.kind == "embedding"
        able = (*entry.able, "vision") if self.sees(entry) and "vision" not in entry.able else entry.able
        return Listed(
            id=model_id,
            kind="embedding" if is_embedding else "chat",
            name=entry.name,
            owned_by=entry.provider,
            capabilities=("embedding" if is_embedding else "chat", *sorted(able)),
            context_window=entry.context,
        )

    def sees(self, entry: ModelEntry) -> bool:
        """Say whether a chat model takes pictures: it says so, or is configured as a vision model too."""
        if entry.kind == "vision" or "vision" in entry.able:
            return True
        return entry.kind == "chat" and self._entry("vision", entry.wire_name) is not None

    def _entry(self, kind: ModelKind, name: str) -> ModelEntry | None:
        try:
            return self._catalogue.entry(kind, name)
        except (ModelUnknown, ModelUnusable):
            return None


def _named(name: Any) -> str:
    if name is None or name == "":
        raise Invalid("You must provide a model: `model`.", param="model", code="missing_required_parameter")
    if not isinstance(name, str):
        raise WrongType("`model` must be a text.", param="model")
    return name


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
