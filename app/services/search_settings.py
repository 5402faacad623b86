"""How a search app searches and answers: its `search_config`, read when it is used (conversations.md 7.7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import Invalid, WrongType
from app.domain.models import GenerationOptions
from app.llm.base import ChatModel
from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.services.generation import is_number
from app.services.reading import flag, number, texts, whole

ANSWER_THRESHOLD = 0.1
"""Least score of what an answer rests on, where nobody says otherwise (7.2)."""

_NEIGHBOURS_MOST = 10_000
_SWITCHED_OFF = {"temperature": 0.1, "top_p": 0.3, "frequency_penalty": 0.7, "presence_penalty": 0.4}
_OLD_SWITCHES = {
    "temperature": "temperatureEnabled",
    "top_p": "topPEnabled",
    "frequency_penalty": "frequencyPenaltyEnabled",
    "presence_penalty": "presencePenaltyEnabled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What a search app is set to; without one, what is said in 7.2. Of `chat_model` None is the default one."""

    kb_ids: tuple[str, ...] = ()
    doc_ids: tuple[str, ...] = ()
    similarity_threshold: float = ANSWER_THRESHOLD
    vector_similarity_weight: float = 0.3
    top_k: int = 1024
    rerank_id: str = ""
    use_kg: bool = False
    chat_model: str | None = None
    llm_setting: Mapping[str, Any] = field(default_factory=dict[str, Any])
    meta_data_filter: dict[str, Any] = field(default_factory=dict[str, Any])


def read_settings(config: Mapping[str, Any] | None, *, threshold: float = ANSWER_THRESHOLD) -> SearchSettings:
    """Return what a stored configuration says; `threshold` is that of one that names none. Null is not there.

    Raises:
        Invalid: a value is of another type than its key.
    """
    held = {key: value for key, value in (config or {}).items() if value is not None}
    setting = objects(held, "llm_setting")
    model = held.get("chat_id") or setting.get("llm_id") or None
    rerank_id = held.get("rerank_id", "")
    if not isinstance(model, str | None) or not isinstance(rerank_id, str):
        raise WrongType("`chat_id` and `rerank_id` should be strings", param="search_config")
    return SearchSettings(
        kb_ids=ids(held, "kb_ids"),
        doc_ids=ids(held, "doc_ids"),
        similarity_threshold=number(held, "similarity_threshold", threshold),
        vector_similarity_weight=min(1.0, max(0.0, number(held, "vector_similarity_weight", 0.3))),
        top_k=min(whole(held, "top_k", 1024, least=1), _NEIGHBOURS_MOST),
        rerank_id=rerank_id,
        use_kg=flag(held, "use_kg"),
        chat_model=model,
        llm_setting=setting,
        meta_data_filter=objects(held, "meta_data_filter"),
    )


def ids(held: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the ids under `name`, each once; absent and null are none.

    Raises:
        WrongType: not a list of texts.
    """
    value = held.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise WrongType(f"`{name}` should be a list", param=name)
    return tuple(dict.fromkeys(each for each in texts(value, name) if each))


def objects(held: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object under `name`; absent and null are an empty one.

    Raises:
        WrongType: it is something else.
    """
    value = held.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WrongType(f"`{name}` should be an object", param=name)
    return value


def generation(setting: Mapping[str, Any], *, temperature: float, max_tokens: int | None = None) -> GenerationOptions:
    """Return the generation options of `llm_setting`; `temperature` and `max_tokens` are those it leaves open.

    A value whose switch `<key>_enabled` is off is that of 7.7; one whose older switch `<key>Enabled` is off is open.
    """
    found: dict[str, Any] = {"temperature": temperature}
    for name, switched_off in _SWITCHED_OFF.items():
        value = setting.get(name)
        if setting.get(f"{name}_enabled") is False:
            found[name] = switched_off
        elif setting.get(_OLD_SWITCHES[name]) is not False and is_number(value):
            found[name] = value
    most = setting.get("max_tokens")
    if isinstance(most, int) and not isinstance(most, bool) and most > 0:
        max_tokens = most
    return GenerationOptions(**found, max_tokens=max_tokens)


def chat_model(catalogue: ModelCatalogue, name: str | None) -> ChatModel:
    """Return the chat model of that wire name, or the default one.

    Raises:
        Invalid: it cannot be used.
    """
    try:
        return catalogue.chat(name)
    except (ModelUnknown, ModelUnusable) as error:
        raise Invalid(error.message, param="chat_id") from error
