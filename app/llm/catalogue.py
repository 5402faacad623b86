"""The models by their wire names."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from app.domain.errors import Invalid, Missing
from app.llm.base import ChatModel, EmbeddingModel, RerankModel
from app.llm.entries import ModelEntry, ModelKind
from app.llm.passthrough import RawModel

M = TypeVar("M")


class ModelUnknown(Missing):
    """Nobody configured a model of this name and kind."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Unsupported model: <{name}>", param="model")
        self.name = name


class ModelUnusable(Invalid):
    """The model is in the catalogue, but no key for it is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Unauthorized model: <{name}>", param="model")
        self.name = name


class ModelCatalogue:
    """Finds the model for a wire name: `name`, an alias, or either with `@provider`. Models are built when first asked.

    Names are compared exactly, providers without regard to case; what follows the last `@` is the provider. A bare
    name that several providers have is the default, else the first that can be used. No name is the default of the
    kind, else its first usable model.
    """

    def __init__(
        self,
        entries: Sequence[ModelEntry],
        *,
        chat: Callable[[ModelEntry], ChatModel],
        embedding: Callable[[ModelEntry], EmbeddingModel],
        rerank: Callable[[ModelEntry], RerankModel],
        raw: Callable[[ModelEntry], RawModel] | None = None,
    ) -> None:
        self._entries = tuple(entries)
        self._chat = _Built(chat)
        self._embedding = _Built(embedding)
        self._rerank = _Built(rerank)
        self._raw = None if raw is None else _Built(raw)

    def chat(self, name: str | None = None) -> ChatModel:
        """Return a chat model.

        Raises:
            ModelUnknown: nobody configured it.
            ModelUnusable: it has no key.
        """
        return self._chat.of(self.entry("chat", name))

    def vision(self, name: str | None = None) -> ChatModel:
        """Return a chat model that was configured for pictures. Raises as `chat`."""
        return self._chat.of(self.entry("vision", name))

    def embedding(self, name: str | None = None) -> EmbeddingModel:
        """Return an embedding model. Raises as `chat`."""
        return self._embedding.of(self.entry("embedding", name))

    def rerank(self, name: str | None = None) -> RerankModel:
        """Return a rerank model. Raises as `chat`."""
        return self._rerank.of(self.entry("rerank", name))

    def raw(self, entry: ModelEntry) -> RawModel:
        """Return the chat or vision model of `entry` as its providers serve it.

        Raises:
            ModelUnusable: this catalogue has no such models.
        """
        if self._raw is None:
            raise ModelUnusable(entry.wire_name)
        return self._raw.of(entry)

    def entry(self, kind: ModelKind, name: str | None = None) -> ModelEntry:
        """Return the entry that `name` means. Raises as `chat`."""
        found = self._named(kind, name) if name else [each for each in self._entries if each.kind == kind]
        if not found:
            raise ModelUnknown(name or f"no {kind} model is configured")
        usable = [each for each in found if each.is_usable]
        if not usable:
            raise ModelUnusable(name or found[0].wire_name)
        return next((each for each in usable if each.default), usable[0])

    def entries(self, kind: ModelKind | None = None, *, is_usable: bool | None = None) -> list[ModelEntry]:
        """Return the entries in their order, of one kind and usability if asked."""
        return [
            each
            for each in self._entries
            if kind in (None, each.kind) and (is_usable is None or each.is_usable == is_usable)
        ]

    def _named(self, kind: ModelKind, name: str) -> list[ModelEntry]:
        known = [each for each in self._entries if each.kind == kind]
        if exact := [each for each in known if name in (each.name, *each.aliases)]:
            return exact  # before the provider is split off: some names hold an @
        bare, _, provider = name.rpartition("@")
        return [
            each for each in known if bare in (each.name, *each.aliases) and each.provider.lower() == provider.lower()
        ]


class _Built(Generic[M]):
    """Builds the model of each entry once."""

    def __init__(self, build: Callable[[ModelEntry], M]) -> None:
        self._build = build
        self._models: dict[ModelEntry, M] = {}

    def of(self, entry: ModelEntry) -> M:
        if entry not in self._models:
            self._models[entry] = self._build(entry)
        return self._models[entry]
