"""Builds the models of catalogue entries: one adapter per kind, failover over their addresses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from app.domain.errors import Invalid
from app.llm.base import AttemptObserver, ChatModel, EmbeddingModel, Patience, RerankModel, TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.llm.embedded_calls import PATIENCE
from app.llm.embedded_chat import EmbeddedChatModel, EmbeddedServer
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.llm.embedded_rerank import EmbeddedRerankModel
from app.llm.embedded_server import MODEL_NAME, SLOT_TOKENS
from app.llm.entries import ModelEntry, UpstreamEntry
from app.llm.failover import FailoverChatModel
from app.llm.http_calls import Endpoint
from app.llm.openai_chat import OpenAIChatConfig, OpenAIChatModel
from app.llm.openai_embedding import OpenAIEmbeddingModel
from app.llm.passthrough import EmbeddedRawUpstream, HttpRawUpstream, RawModel, RawUpstream
from app.llm.rerank import HttpRerankModel, RerankShape
from app.llm.retry import RetryPolicy
from app.net.http import HttpClient

BUILTIN_CHAT = ModelEntry(
    name=MODEL_NAME, provider="builtin", kind="chat", context=SLOT_TOKENS, capabilities=("completions", "json_schema")
)
BUILTIN_EMBEDDING = ModelEntry(
    name=EmbeddedEmbeddingModel.name,
    provider="builtin",
    kind="embedding",
    dimensions=EmbeddedEmbeddingModel.dimensions,
    context=EmbeddedEmbeddingModel.context_tokens,
    encoding="cl100k_base",
)
BUILTIN_RERANK = ModelEntry(name=EmbeddedRerankModel.name, provider="builtin", kind="rerank")
B = TypeVar("B", EmbeddedChatModel, EmbeddedEmbeddingModel, EmbeddedRerankModel)
_TEI_PROVIDERS = frozenset({"tei", "huggingface"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoomConfig:
    """What every model shares. `run_dir` is where the embedded chat model's process leaves its address."""

    run_dir: Path
    patience: Patience = field(default_factory=Patience)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    cool_down_s: float = 30.0


class ModelFactory:
    """Builds models over one HTTP client. Use `catalogue`; call `aclose` at the end."""

    def __init__(
        self,
        config: ModelRoomConfig,
        http: HttpClient,
        counter: TokenCounter,
        *,
        on_attempt: AttemptObserver | None = None,
    ) -> None:
        self._config = config
        self._http = http
        self._counter = counter
        self._on_attempt = on_attempt
        self._embedded_server = EmbeddedServer(config.run_dir, http)
        self.embedded_chat = EmbeddedChatModel(self._embedded_server, http, counter)
        self.embedded_embedding = EmbeddedEmbeddingModel()
        self.embedded_rerank = EmbeddedRerankModel(self.embedded_embedding)

    def catalogue(self, entries: Sequence[ModelEntry]) -> ModelCatalogue:
        """Return the catalogue of `entries`; the three embedded models are always in it, last."""
        builtin = (BUILTIN_CHAT, BUILTIN_EMBEDDING, BUILTIN_RERANK)
        own = [each for each in builtin if each.wire_name not in _wire_names(entries)]
        return ModelCatalogue(
            [*entries, *own], chat=self.chat, embedding=self.embedding, rerank=self.rerank, raw=self.raw
        )

    async def aclose(self) -> None:
        """End the embedded chat model if this process started it."""
        await self.embedded_chat.aclose()

    def chat(self, entry: ModelEntry) -> ChatModel:
        """Return the chat model of `entry`."""
        if entry.is_builtin:
            return FailoverChatModel(
                entry.name,
                entry.provider,
                [_own(self.embedded_chat, entry)],
                policy=self._config.policy,
                first_token_s=PATIENCE.first_token_s,
                on_attempt=self._on_attempt,
            )
        configs = [self._chat_config(entry, address) for address in entry.addresses]
        return FailoverChatModel(
            entry.name,
            entry.provider,
            [OpenAIChatModel(config, self._http, self._counter) for config in configs],
            policy=self._config.policy,
            first_token_s=max(each.patience.first_token_s for each in configs),
            cool_down_s=self._config.cool_down_s,
            on_attempt=self._on_attempt,
        )

    def raw(self, entry: ModelEntry) -> RawModel:
        """Return the chat or vision model of `entry` as its providers serve it."""
        upstreams: list[RawUpstream]
        if entry.is_builtin:
            _own(self.embedded_chat, entry)
            upstreams = [EmbeddedRawUpstream(self._embedded_server, self._http, self._counter)]
            first_token_s = PATIENCE.first_token_s
        else:
            endpoints = [self._chat_config(entry, address) for address in entry.addresses]
            upstreams = [HttpRawUpstream(one, self._http, self._counter) for one in endpoints]
            first_token_s = max(one.patience.first_token_s for one in endpoints)
        return RawModel(
            entry.name,
            entry.provider,
            upstreams,
            policy=self._config.policy,
            first_token_s=first_token_s,
            cool_down_s=self._config.cool_down_s,
            on_attempt=self._on_attempt,
        )

    def embedding(self, entry: ModelEntry) -> EmbeddingModel:
        """Return the embedding model of `entry`; only its first address is asked."""
        if entry.is_builtin:
            return _own(self.embedded_embedding, entry)
        if entry.dimensions is None:
            raise Invalid(f"The embedding model {entry.wire_name} is configured without its dimensions.")
        endpoint = self._endpoint(entry)
        return OpenAIEmbeddingModel(
            endpoint,
            entry.dimensions,
            self._http,
            self._counter,
            batch_size=entry.batch or 64,
            on_attempt=self._on_attempt,
        )

    def rerank(self, entry: ModelEntry) -> RerankModel:
        """Return the rerank model of `entry`; the providers `tei` and `huggingface` speak TEI's shape."""
        if entry.is_builtin:
            return _own(self.embedded_rerank, entry)
        shape: RerankShape = "tei" if entry.provider.lower() in _TEI_PROVIDERS else "cohere"
        endpoint = self._endpoint(entry)
        return HttpRerankModel(endpoint, self._http, self._counter, shape=shape, on_attempt=self._on_attempt)

    def _chat_config(self, entry: ModelEntry, address: UpstreamEntry) -> OpenAIChatConfig:
        patience = self._config.patience
        return OpenAIChatConfig(
            name=entry.name,
            provider=address.provider or entry.provider,
            base_url=address.base_url,
            api_key=address.api_key or None,
            upstream_name=address.upstream_name or entry.upstream_name,
            context_tokens=entry.context,
            limit_name="max_completion_tokens" if "max_completion_tokens" in entry.able else "max_tokens",
            patience=Patience(
                first_token_s=address.first_token_s or patience.first_token_s,
                piece_s=address.piece_s or patience.piece_s,
            ),
        )

    def _endpoint(self, entry: ModelEntry) -> Endpoint:
        address = entry.addresses[0]
        return Endpoint(
            name=entry.name,
            provider=address.provider or entry.provider,
            base_url=address.base_url,
            api_key=address.api_key or None,
            upstream_name=address.upstream_name or entry.upstream_name,
            policy=self._config.policy,
        )


def _own(model: B, entry: ModelEntry) -> B:
    """Return the embedded model, if it is the one `entry` means."""
    if entry.name != model.name:
        raise Invalid(f"There is no embedded model {entry.name}.", param="model")
    return model


def _wire_names(entries: Sequence[ModelEntry]) -> set[str]:
    return {each.wire_name.lower() for each in entries}
