"""What callers send of a chat, in either vocabulary, read into stored names (conversations.md 2.1, 2.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import Invalid, WrongType
from app.security.sealing import SHOWN
from app.services.chat_readers import (
    KNOWN,
    LLM_READERS,
    LLM_SETTING,
    PROMPT_READERS,
    SECRETS,
    TOP_READERS,
    read_object,
    read_share,
    read_text,
)
from app.services.prompts import default_prompt_config

COLUMNS = ("similarity_threshold", "vector_similarity_weight", "top_n", "top_k", "rerank_id")
"""The retrieval keys: sent at the top or in the prompt, stored as columns."""

STORED_NAMES = {
    "variables": "parameters",
    "opener": "prologue",
    "show_quote": "quote",
    "prompt": "system",
    "rerank_model": "rerank_id",
    "keywords_similarity_weight": "vector_similarity_weight",
}
"""The words of 0.22 in a prompt, and what they are stored as."""

DROPPED = frozenset(
    ("id", "tenant_id", "status", "created_by", "create_time", "create_date", "update_time", "update_date")
)
"""Keys of an assistant that no caller writes; those who send a whole assistant back send them too."""

_NAME_MOST_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFields:
    """What was sent, checked as far as it goes without the database; what is absent was not sent.

    `columns` are named as in `Chat`. A null in `llm_setting` takes the key away, one in `secrets` the secret.
    `model_word` and `rerank_word` are the names under which the caller knows `llm_id` and `rerank_id`.
    """

    dataset_ids: list[str] | None
    columns: dict[str, Any]
    llm_setting: dict[str, Any] | None
    prompt_config: dict[str, Any] = field(default_factory=dict[str, Any])
    secrets: dict[str, str | None] = field(default_factory=dict[str, str | None])
    model_word: str = "llm_id"
    rerank_word: str = "rerank_id"


def read_fields(sent: Mapping[str, Any], *, default_system: str, is_compat22: bool = False) -> ChatFields:
    """Read a body; as RAGFlow 0.22 does where `is_compat22`, with its weight that means the other part (2.2).

    Raises:
        Invalid: something has the wrong type.
    """
    dataset_ids = _iterated(sent) if is_compat22 else _dataset_ids(sent)
    columns = {
        stored: reader(word, sent[word])
        for word, stored, reader in TOP_READERS
        if sent.get(word) is not None or (word == "meta_data_filter" and word in sent)
    }
    rerank_word = "rerank_id"
    prompt: dict[str, Any] = {}
    secrets: dict[str, str | None] = {}
    for name in ("prompt_config", "prompt"):  # where both are sent, the words of 0.22 win, as in 2.1
        for word, value in _prompt_items(read_object(sent, name)):
            stored = STORED_NAMES.get(word, word)
            if stored == "rerank_id" and value is not None:
                rerank_word = word
            if stored in SECRETS:
                secrets |= _secret(stored, value)
            elif is_compat22 and word == "keywords_similarity_weight" and value is not None:
                columns[stored] = read_share(word, value)  # 0.22 stores it unchanged and shows the rest to 1
            else:
                _put(columns if stored in COLUMNS else prompt, word, stored, value)
    if prompt.get("system") == "":
        prompt["system"] = default_system
    llm_id, model_word = _model_name(sent)
    if llm_id:
        columns["llm_id"] = llm_id
    return ChatFields(
        dataset_ids=dataset_ids,
        columns=columns,
        llm_setting=_llm_setting(sent, is_checked=not is_compat22),
        prompt_config=prompt,
        secrets=secrets,
        model_word=model_word,
        rerank_word=rerank_word,
    )


def read_name(sent: Mapping[str, Any], *, missing: str) -> str:
    """Return the trimmed name; `missing` is what to say when there is none.

    Raises:
        Invalid: no name, no text, or more than 255 bytes of UTF-8.
    """
    name = sent.get("name")
    if not name or (isinstance(name, str) and not name.strip()):
        raise Invalid(missing, param="name")
    if not isinstance(name, str):
        raise Invalid("chat name must be a string", param="name")
    size = len(name.strip().encode())
    if size > _NAME_MOST_BYTES:
        raise Invalid(f"chat name length is {size} which is larger than {_NAME_MOST_BYTES}", param="name")
    return name.strip()


def merged_setting(stored: Mapping[str, Any], sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how to generate, after `sent` was laid over `stored`."""
    merged = {**stored, **(sent or {})}
    return {key: value for key, value in merged.items() if value is not None or key not in LLM_SETTING}


def new_setting(sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how a new chat generates: what was sent replaces the defaults altogether."""
    return merged_setting({}, sent) if sent is not None else dict(LLM_SETTING)


def new_prompt(sent: Mapping[str, Any], *, default_system: str) -> dict[str, Any]:
    """Return the prompt of a new chat: what was sent, and the defaults for the rest."""
    return {**default_prompt_config(default_system), **sent}


def _dataset_ids(sent: Mapping[str, Any]) -> list[str] | None:
    """Return the ids, None for null as well: only a list that is empty detaches (2.5)."""
    ids = sent.get("dataset_ids")
    if ids is None:
        return None
    if not isinstance(ids, list):
        raise Invalid("`dataset_ids` should be a list.", param="dataset_ids")
    return list(dict.fromkeys(str(each) for each in ids if each))


def _iterated(sent: Mapping[str, Any]) -> list[str] | None:
    """Return the ids as 0.22 takes them: it asks any value for what is in it, a text for its characters."""
    value = sent.get("dataset_ids")
    if value is not None and not isinstance(value, list | str | dict):
        raise WrongType(f"TypeError(\"'{type(value).__name__}' object is not iterable\")", param="dataset_ids")
    return _dataset_ids({**sent, "dataset_ids": list(value)}) if value is not None else None


def unknown_key(sent: Mapping[str, Any]) -> str | None:
    """Return a key of an update that 0.22 fails on: one it has no column for, or an empty `llm` or `prompt`."""
    empty = next((name for name in ("llm", "prompt") if name in sent and not sent[name]), None)
    return empty or next((key for key in sent if key not in KNOWN and key not in DROPPED), None)


def _prompt_items(prompt: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys of 0.22 last: where both are sent, they win."""
    yield from ((word, value) for word, value in prompt.items() if word not in STORED_NAMES)
    yield from ((word, value) for word, value in prompt.items() if word in STORED_NAMES)


def _put(into: dict[str, Any], word: str, stored: str, value: Any) -> None:
    reader = PROMPT_READERS.get(word) or PROMPT_READERS.get(stored)
    if reader is None:
        into[stored] = value
    elif value is not None:
        into[stored] = reader(word, value)
    elif stored == "empty_response":
        into[stored] = ""


def _secret(name: str, value: Any) -> dict[str, str | None]:
    """Return what becomes of a secret: what we show instead of it leaves it, an empty one takes it away."""
    if value is None or value == "":
        return {name: None}
    return {} if value == SHOWN else {name: read_text(name, value)}


def _llm_setting(sent: Mapping[str, Any], *, is_checked: bool) -> dict[str, Any] | None:
    new, old = read_object(sent, "llm_setting"), read_object(sent, "llm")
    if sent.get("llm_setting") is None and not old:
        return None
    setting = {key: value for key, value in {**new, **old}.items() if key != "model_name"}
    for key in LLM_SETTING if is_checked else ():
        if setting.get(key) is not None:
            LLM_READERS[key](key, setting[key])
    return setting


def _model_name(sent: Mapping[str, Any]) -> tuple[str | None, str]:
    for word, value in (
        ("model_name", read_object(sent, "llm").get("model_name")),
        ("llm_id", sent.get("llm_id")),
        ("model_name", read_object(sent, "llm_setting").get("model_name")),
    ):
        if value is not None and value != "":
            return read_text(word, value), word
    return None, "llm_id"
