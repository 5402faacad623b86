"""A chat assistant: a prompt, a model and datasets."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.errors import Invalid, Missing
from app.domain.ids import ChatId, DatasetId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """An assistant as stored (conversations.md 2.2, stored names).

    `prompt_config` holds `system, prologue, parameters, quote, empty_response, tts, refine_multiturn, …` and
    keys we do not know, kept as sent. `vector_similarity_weight` is the weight of the vector part, 0..1.
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
    datasets: tuple[tuple[DatasetId, str], ...] = ()  # (id, name), deleted ones left out
    created_at: datetime
    updated_at: datetime


class ChatMissing(Missing):
    """The chat does not exist, was deleted, or belongs to another tenant."""


class ChatNameTaken(Invalid):
    """Another live chat of the tenant has this name, in whatever case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDataset:
    """What a chat needs to know of a dataset before it may use it. `embedding_model` is `name@provider`."""

    id: DatasetId
    name: str
    chunk_count: int
    embedding_model: str
