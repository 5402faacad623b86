"""What a `parser_config` holds when it was not, or only partly, sent (knowledge.md 1.3)."""

import copy
from typing import Any

RAPTOR_PROMPT = (
    "Summarise the passages below in one short text. Take over names, dates and numbers exactly as they stand and "
    "add none of your own; leave out what you are not sure of.\n\nPassages:\n{cluster_content}\n\nSummary:"
)
ENTITY_TYPES = ("organization", "person", "geo", "event", "category")

_OFF: dict[str, Any] = {"raptor": {"use_raptor": False}, "graphrag": {"use_graphrag": False}}
_RAPTOR: dict[str, Any] = {
    "use_raptor": True,
    "prompt": RAPTOR_PROMPT,
    "max_token": 256,
    "threshold": 0.1,
    "max_cluster": 64,
    "random_seed": 0,
}
_NAIVE: dict[str, Any] = {
    "layout_recognize": "DeepDOC",
    "chunk_token_num": 512,
    "delimiter": "\n",
    "auto_keywords": 0,
    "auto_questions": 0,
    "html4excel": False,
    "topn_tags": 3,
    "raptor": _RAPTOR,
    "graphrag": {"use_graphrag": True, "entity_types": list(ENTITY_TYPES), "method": "light"},
}
_KNOWLEDGE_GRAPH: dict[str, Any] = {
    "chunk_token_num": 8192,
    "delimiter": "\\n",
    "entity_types": ["organization", "person", "location", "event", "time"],
    **_OFF,
}
_BY_METHOD: dict[str, dict[str, Any]] = {
    "naive": _NAIVE,
    "knowledge_graph": _KNOWLEDGE_GRAPH,
    **dict.fromkeys(("qa", "manual", "paper", "book", "laws", "presentation"), _OFF),
}
_SCHEMA: dict[str, Any] = {
    "auto_keywords": 0,
    "auto_questions": 0,
    "chunk_token_num": 512,
    "delimiter": "\\n!",
    "html4excel": False,
    "layout_recognize": "DeepDOC",
    "tag_kb_ids": [],
    "topn_tags": 1,
    "filename_embd_weight": 0.1,
    "task_page_size": None,
    "pages": None,
    "raptor": {**_RAPTOR, "use_raptor": False},
    "graphrag": {
        "use_graphrag": False,
        "entity_types": list(ENTITY_TYPES),
        "method": "light",
        "community": False,
        "resolution": False,
    },
}


def default_config(method: str) -> dict[str, Any]:
    """Return a fresh copy of what is stored for `method` when nothing was sent; `{}` for methods without any."""
    return copy.deepcopy(_BY_METHOD.get(method, {}))


def merge_on_create(method: str, sent: dict[str, Any] | None) -> dict[str, Any]:
    """Return what is stored: method defaults, over them the schema's, over them what was sent.

    An empty object counts as nothing sent (knowledge.md 1.1).
    """
    if not sent:
        return default_config(method)
    return merge(merge(default_config(method), _SCHEMA), sent)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` with `above` laid over it, object by object; neither is changed. Lists are replaced."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        held = merged.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            merged[key] = merge(held, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
