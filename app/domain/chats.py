"""A chat assistant: a prompt, a model and datasets."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.errors import Broken, Invalid, Missing, WrongType
from app.domain.ids import ChatId, DatasetId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """An assistant as stored (conversations.md 2.2, stored names).

    `prompt_config` holds `system, prologue, parameters, quote, empty_response, tts, refine_multiturn, …` and
    keys we do not know, kept as sent; a key of `secrets` stands there as `***`. `vector_similarity_weight` is the
    weight of the vector part, 0..1. `secrets` is sealed: only `app/security/sealing.py` opens it.
    """

    id: ChatId
    tenant_id: TenantId
    name: str
    description: str = ""
    avatar: str = ""
    language: str = "English"
    do_refer: str = "1"
    llm_id: str | None = None
    llm_setting: dict[str, Any] = field(default_factory=dict[str, Any])
    prompt_config: dict[str, Any] = field(default_factory=dict[str, Any])
    meta_data_filter: dict[str, Any] = field(default_factory=dict[str, Any])
    similarity_threshold: float = 0.2
    vector_similarity_weight: float = 0.3
    top_n: int = 6
    top_k: int = 1024
    rerank_id: str = ""
    secrets: bytes | None = field(default=None, repr=False)
    datasets: tuple[tuple[DatasetId, str], ...] = ()  # (id, name), deleted ones left out
    created_at: datetime
    updated_at: datetime


class ChatMissing(Missing):
    """The chat does not exist, was deleted, or belongs to another tenant."""


class ChatNameTaken(Invalid):
    """Another live chat of the tenant has this name, in whatever case."""


class DatasetsDiffer(Invalid):
    """The datasets do not share one embedding model."""


class UnknownField(WrongType):
    """A key nobody has a column for, where that is an error."""


class ChatNotWritten(Broken):
    """The database did not take a new chat."""


class ParameterMissing(WrongType):
    """A required variable of an assistant was not given."""


class TenantMissing(Missing):
    """The tenant went away while its key was still remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDataset:
    """What a chat needs to know of a dataset before it may use it. `embedding_model` is `name@provider`."""

    id: DatasetId
    name: str
    chunk_count: int
    embedding_model: str
