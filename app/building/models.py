"""The models that the settings name, from variables and from a file."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from app.llm.base import AttemptObserver, Patience, TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry, UpstreamEntry, load_models_file
from app.llm.factory import ModelFactory, ModelRoomConfig
from app.net.http import HttpClient, HttpConfig
from app.settings import Settings

_PROVIDER = "default"  # of the models that variables name


@asynccontextmanager
async def models(
    settings: Settings, counter: TokenCounter, *, on_attempt: AttemptObserver | None = None
) -> AsyncGenerator[ModelCatalogue, None]:
    """The catalogue of configured and embedded models, over one HTTP client."""
    async with HttpClient(HttpConfig(connect_timeout_s=settings.connect_timeout)) as http:
        config = ModelRoomConfig(
            run_dir=settings.data_dir.absolute() / "run",
            patience=Patience(first_token_s=settings.first_token_timeout, piece_s=settings.piece_timeout),
        )
        factory = ModelFactory(config, http, counter, on_attempt=on_attempt)
        try:
            yield factory.catalogue(entries(settings))
        finally:
            await factory.aclose()


def entries(settings: Settings) -> list[ModelEntry]:
    """Return the configured models: those of the variables first, then those of the file."""
    found: list[ModelEntry] = []
    if settings.llm_model is not None and (settings.llm_base_url or settings.llm_upstreams):
        found.append(_chat_entry(settings, settings.llm_model))
    if settings.embedding_model is not None and settings.embedding_base_url is not None:
        found.append(
            ModelEntry(
                name=settings.embedding_model,
                provider=_PROVIDER,
                kind="embedding",
                base_url=settings.embedding_base_url,
                api_key=_secret(settings.embedding_api_key),
                dimensions=settings.embedding_dimensions,
                default=True,
            )
        )
    if settings.rerank_model is not None and settings.rerank_base_url is not None:
        found.append(
            ModelEntry(
                name=settings.rerank_model,
                provider=_PROVIDER,
                kind="rerank",
                base_url=settings.rerank_base_url,
                api_key=_secret(settings.rerank_api_key),
                default=True,
            )
        )
    if settings.models_file is not None:
        found += load_models_file(Path(settings.models_file))
    return found


def _chat_entry(settings: Settings, name: str) -> ModelEntry:
    key = _secret(settings.llm_api_key)
    upstreams = tuple(
        UpstreamEntry(
            base_url=upstream.base_url.rstrip("/"),
            api_key=_secret(upstream.api_key) or key,
            upstream_name=upstream.model,
        )
        for upstream in settings.llm_upstreams
    )
    return ModelEntry(
        name=name,
        provider=_PROVIDER,
        kind="chat",
        base_url=settings.llm_base_url,
        api_key=key,
        default=True,
        upstreams=upstreams,
    )


def _secret(stored: SecretStr | None) -> str:
    return stored.get_secret_value() if stored is not None else ""
