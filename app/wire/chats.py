"""A chat assistant as the default dialect shows it: in the words of 0.22 and of 0.27 (conversations.md 2.4)."""

from typing import Any

from app.domain.chats import Chat
from app.wire.envelope import times

_SECRETS = ("tavily_api_key", "querit_api_key")
_SECRET = "***"  # noqa: S105 (what is shown instead of one)

_OLD_NAMES = {"prologue": "opener", "parameters": "variables", "quote": "show_quote"}

_WEIGHT_DIGITS = 15  # so that 1 - (1 - x) is x


def chat_object(chat: Chat) -> dict[str, Any]:
    """Return the assistant; its secrets as `***`."""
    config = {key: _SECRET if key in _SECRETS and value else value for key, value in chat.prompt_config.items()}
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


def _prompt(chat: Chat, config: dict[str, Any]) -> dict[str, Any]:
    system = config.get("system", "")
    rest = {_OLD_NAMES.get(key, key): value for key, value in config.items() if key != "system"}
    return {
        "prompt": system,
        "system": system,
        **rest,
        "similarity_threshold": chat.similarity_threshold,
        "keywords_similarity_weight": round(1 - chat.vector_similarity_weight, _WEIGHT_DIGITS),
        "top_n": chat.top_n,
        "top_k": chat.top_k,
        "rerank_model": chat.rerank_id,
    }
