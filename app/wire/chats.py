"""A chat assistant as the default dialect shows it, in the words of 0.22 and of 0.27, and as 0.22 does (2.4)."""

from collections.abc import Mapping
from typing import Any

from app.domain.chats import Chat
from app.domain.datasets import Dataset
from app.domain.ids import DatasetId
from app.security.sealing import SHOWN
from app.services.chat_readers import SECRETS, WEIGHT_DIGITS
from app.wire.envelope import times
from app.wire.knowledge import dataset

_OLD_NAMES = {"prologue": "opener", "parameters": "variables", "quote": "show_quote"}


def chat_object(chat: Chat) -> dict[str, Any]:
    """Return the assistant; its secrets as `***`."""
    config = _config(chat)
    return {
        "id": chat.id,
        "tenant_id": chat.tenant_id,
        "name": chat.name,
        "description": chat.description,
        "language": chat.language,
        "status": "1",
        "do_refer": chat.do_refer,
        "prompt_type": "simple",
        "meta_data_filter": chat.meta_data_filter,
        "avatar": chat.avatar,
        "icon": chat.avatar,
        "dataset_ids": [dataset_id for dataset_id, _ in chat.datasets],
        "datasets": [{"id": dataset_id, "name": name} for dataset_id, name in chat.datasets],
        "kb_names": [name for _, name in chat.datasets],
        "llm": {"model_name": chat.llm_id, **chat.llm_setting},
        "llm_id": chat.llm_id,
        "llm_setting": chat.llm_setting,
        "prompt": _prompt(chat, config),
        "prompt_config": config,
        "similarity_threshold": chat.similarity_threshold,
        "vector_similarity_weight": chat.vector_similarity_weight,
        "top_n": chat.top_n,
        "top_k": chat.top_k,
        "rerank_id": chat.rerank_id,
        **times(chat.created_at, chat.updated_at),
    }


_NEW_WORDS = frozenset(
    (
        *("datasets", "icon", "kb_names", "llm_id", "llm_setting", "prompt_config"),
        *("similarity_threshold", "vector_similarity_weight", "top_n", "top_k", "rerank_id"),
    )
)


def chat_object_22(chat: Chat) -> dict[str, Any]:
    """Return the assistant as 0.22 answers its making: nothing tells `top_k`."""
    shown = {key: value for key, value in chat_object(chat).items() if key not in _NEW_WORDS}
    shown["prompt"] = {key: value for key, value in shown["prompt"].items() if key not in ("system", "top_k")}
    return shown


def listed_chat_22(chat: Chat, rows: Mapping[DatasetId, Dataset]) -> dict[str, Any]:
    """Return the assistant as lists of 0.22 show it: with whole datasets, of which `rows` has those that exist."""
    shown = chat_object_22(chat)
    del shown["dataset_ids"]
    shown["datasets"] = [dataset(rows[dataset_id]) for dataset_id, _ in chat.datasets if dataset_id in rows]
    return shown | {"top_k": chat.top_k}


def _config(chat: Chat) -> dict[str, Any]:
    """Return the stored prompt; a key that was stored before keys were sealed is not shown either."""
    return {key: SHOWN if key in SECRETS and value else value for key, value in chat.prompt_config.items()}


def _prompt(chat: Chat, config: dict[str, Any]) -> dict[str, Any]:
    system = config.get("system", "")
    rest = {_OLD_NAMES.get(key, key): value for key, value in config.items() if key != "system"}
    return {
        "prompt": system,
        "system": system,
        **rest,
        "similarity_threshold": chat.similarity_threshold,
        "keywords_similarity_weight": round(1 - chat.vector_similarity_weight, WEIGHT_DIGITS),
        "top_n": chat.top_n,
        "top_k": chat.top_k,
        "rerank_model": chat.rerank_id,
    }
