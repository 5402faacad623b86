"""The settings (operations.md 3): read once at the roof, frozen, refused with a line that names what is wrong."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.domain.errors import ParleyError
from app.domain.origins import page_origin

PREFIX = "PARLEY_"

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Origins = Annotated[tuple[str, ...], NoDecode]

_BLOB_URL = re.compile(r"file:///|(?:s3|gs|az)://[^/]")
_OTHER_ORIGIN = re.compile(r"\*|null|(?!https?:)[a-z][a-z0-9+.-]*://[^/\s]+", re.ASCII)  # apps that are no web pages


class SettingsRefused(ParleyError):
    """A setting is unknown or has a bad value; the message names each."""


class Upstream(BaseModel):
    """One place that serves the default chat model; `LLM_UPSTREAMS` is a list of these in order of preference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(min_length=1)
    api_key: SecretStr | None = None
    model: str | None = Field(default=None, description="Its name there; else LLM_MODEL.")


class Settings(BaseSettings):
    """Everything an operator may choose. Durations in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    host: str = Field(default="127.0.0.1", description="Address to serve on.")
    port: int = Field(default=9380, ge=0, le=65_535, description="Port to serve on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=64, description="Processes that answer.")
    data_dir: Path = Field(default=Path(".parley"), description="Embedded database, blobs, the first key.")
    database_url: str | None = Field(default=None, description="The app role's URL of an outside PostgreSQL 15+.")
    database_owner_url: str | None = Field(default=None, description="The owner's URL, for migrations.")
    database_pool_size: int = Field(default=10, ge=1, le=200, description="Connections per process.")
    blob_url: str | None = Field(default=None, description="Where files are kept: file://, s3://, gs://, az://.")
    redis_url: str | None = Field(
        default=None, description="A Redis that counts calls faster; without it PostgreSQL does."
    )
    api_key: SecretStr | None = Field(default=None, description="A key that exists for the first tenant.")
    llm_base_url: str | None = Field(default=None, description="OpenAI-compatible chat endpoint, with /v1.")
    llm_api_key: SecretStr | None = Field(default=None, description="Its key.")
    llm_model: str | None = Field(default=None, description="The model's name there.")
    llm_upstreams: Annotated[tuple[Upstream, ...], NoDecode] = Field(
        default=(), description="Several endpoints in order, as a JSON list."
    )
    models_file: Path | None = Field(default=None, description="A TOML catalogue of models.")
    embedding_base_url: str | None = Field(default=None, description="OpenAI-compatible embedding endpoint.")
    embedding_api_key: SecretStr | None = Field(default=None, description="Its key.")
    embedding_model: str | None = Field(default=None, description="The model's name there.")
    embedding_dimensions: int | None = Field(default=None, ge=1, le=16_000, description="Length of its vectors.")
    rerank_base_url: str | None = Field(default=None, description="A /rerank endpoint.")
    rerank_api_key: SecretStr | None = Field(default=None, description="Its key.")
    rerank_model: str | None = Field(default=None, description="The model's name there.")
    connect_timeout: Seconds = Field(default=5.0, description="For a connection to an upstream.")
    first_token_timeout: Seconds = Field(default=60.0, description="For the first piece of an answer.")
    piece_timeout: Seconds = Field(default=60.0, description="Between pieces.")
    turn_timeout: Seconds = Field(default=600.0, description="For a whole turn, all attempts together.")
    turn_lock_timeout: Seconds = Field(default=30.0, description="How long a turn waits for the one before it.")
    compat: Literal["off", "0.22"] = Field(default="off", description="Dialect of the native API: off, or 0.22.")
    rate_limit: Count = Field(default=100, description="Calls of a key per window; 0 = any number.")
    rate_burst: Count = Field(default=50, description="Calls over the limit that are still let through.")
    rate_window: Seconds = Field(default=60.0, description="The window in which calls are counted.")
    max_streams: Count = Field(default=10, description="SSE streams a key may have open at once; 0 = any number.")
    session_retention_days: int = Field(
        default=30, ge=0, le=36_500, description="Sessions nobody wrote to for so long are deleted; 0 = never."
    )
    max_session_messages: Count = Field(
        default=100, description="Messages a session holds, opener included; 0 = any number."
    )
    on_full: Literal["trim", "reject"] = Field(
        default="trim", description="When a session is full: trim its oldest turns, or reject new ones."
    )
    on_disconnect: Literal["finish", "stop"] = Field(
        default="finish", description="What becomes of a session's turn whose caller goes away."
    )
    sse_ping: float = Field(default=15.0, ge=0, le=3600, description="Comment line after so much silence; 0 = never.")
    expose_prompt: bool = Field(default=False, description="Debug text on final events: prompt, query, timings.")
    tavily_url: str = Field(default="https://api.tavily.com", description="Where assistants with a key search the web.")
    upload_max_bytes: int = Field(default=64 * 1024 * 1024, ge=1, description="Largest file; 413 over it.")
    upload_max_files: int = Field(default=64, ge=1, le=10_000, description="Files per upload; 413 over it.")
    body_max_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, description="Largest JSON body; 413 over it.")
    cors_origins: Origins = Field(default=(), description="Origins browsers may call from, as a JSON list; * is any.")
    embed_origins: Origins = Field(
        default=(), description="Origins whose pages may use embed tokens, as a JSON list; * is any."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="console or json; auto: console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is told: debug, info, warning or error, and what is graver."
    )
    metrics: Literal["on", "off", "public"] = Field(
        default="on", description="/metrics: on answers loopback only, public everybody, off nobody."
    )
    secret_key: SecretStr | None = Field(default=None, description="For keyed hashes; made once in DATA_DIR.")
    preload: bool = Field(default=False, description="Load embedded models at start.")
    drain: Seconds = Field(default=30.0, description="What running turns get after SIGTERM.")
    parse_workers: int = Field(default=1, ge=1, le=64, description="Documents a worker process parses at once.")
    duplicate_dataset_name: Literal["rename", "reject"] = Field(
        default="rename", description="A new dataset whose name is taken is renamed to name(1), or refused: reject."
    )
    default_system_prompt: str | None = Field(default=None, description="System text of new assistants.")

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = make_url(value)
        except ArgumentError as error:
            raise ValueError("is no database URL") from error
        if url.get_backend_name() not in ("postgresql", "postgres"):
            raise ValueError("must begin with postgresql://")
        return url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)

    @field_validator("blob_url")
    @classmethod
    def _blobs(cls, value: str | None) -> str | None:
        if value is not None and _BLOB_URL.match(value) is None:
            raise ValueError("must be like file:///folder, s3://bucket, gs://bucket or az://container")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("llm_base_url", "embedding_base_url", "rerank_base_url", "tavily_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/") if value is not None else None

    @field_validator("llm_upstreams", "cors_origins", "embed_origins", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Read a list; pydantic-settings' own reading stops at the first that is none, and does not name it."""
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                value = None
            if not isinstance(value, list):
                raise ValueError("must be a JSON list")
        return value

    @field_validator("cors_origins", "embed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Write origins as browsers do: one that is written otherwise would never be that of a page."""
        written = [page_origin(one) or (one if _OTHER_ORIGIN.fullmatch(one) else None) for one in value]
        if None in written:
            raise ValueError(f"{value[written.index(None)]} is no origin: write one like https://app.example")
        return tuple(one for one in written if one is not None)

    @model_validator(mode="after")
    def _whole(self) -> "Settings":
        if (self.llm_base_url or self.llm_upstreams) and not self.llm_model:
            raise ValueError("PARLEY_LLM_MODEL is needed beside PARLEY_LLM_BASE_URL: the model's name there")
        if self.embedding_base_url and not (self.embedding_model and self.embedding_dimensions):
            raise ValueError(
                "PARLEY_EMBEDDING_MODEL and PARLEY_EMBEDDING_DIMENSIONS are needed beside PARLEY_EMBEDDING_BASE_URL"
            )
        if self.rerank_base_url and not self.rerank_model:
            raise ValueError("PARLEY_RERANK_MODEL is needed beside PARLEY_RERANK_BASE_URL")
        for kind, model, place in (
            ("LLM", self.llm_model, self.llm_base_url or self.llm_upstreams),
            ("EMBEDDING", self.embedding_model, self.embedding_base_url),
            ("RERANK", self.rerank_model, self.rerank_base_url),
        ):
            if model and not place:
                raise ValueError(f"PARLEY_{kind}_BASE_URL is needed beside PARLEY_{kind}_MODEL: where it is served")
        return self

    @property
    def is_embedded(self) -> bool:
        """Whether the service runs its own PostgreSQL."""
        return self.database_url is None


def read_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Return the settings of the environment and of `env_file`.

    Raises:
        SettingsRefused: a `PARLEY_` variable nobody knows, or a bad value; one line each.
    """
    try:
        problems = [f"{name}: no such setting" for name in _unknown(env_file)]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsRefused(f"{env_file}: cannot be read: {error}") from error
    try:
        settings = Settings(_env_file=env_file)  # pyright: ignore[reportCallIssue]  # pydantic-settings' own argument
    except ValidationError as error:
        for one in error.errors():
            name = PREFIX + ".".join(str(part) for part in one["loc"]).upper() + ": " if one["loc"] else ""
            problems.append(name + one["msg"].removeprefix("Value error, "))
        raise SettingsRefused("\n".join(problems)) from None
    if problems:
        raise SettingsRefused("\n".join(problems))
    return settings


def _unknown(env_file: Path | None) -> list[str]:
    names = set(os.environ)
    if env_file is not None and env_file.is_file():
        lines = env_file.read_text("utf-8").splitlines()
        names |= {line.split("=", 1)[0].removeprefix("export ").strip() for line in lines if "=" in line}
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
