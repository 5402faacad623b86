"""What a `parser_config` holds when it was not, or only partly, sent (knowledge.md 1.3)."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

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


_MOST_TOKENS = 2048  # of `chunk_token_num` in the schema; a method's own default may be larger


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSettings:
    """What chunk methods read from a parser config. `pages` are ranges from 1, both ends included; none = all."""

    chunk_token_num: int = 512
    delimiter: str = "\n"
    html4excel: bool = False
    layout_recognize: str = "DeepDOC"
    pages: tuple[tuple[int, int], ...] = ()
    task_page_size: int | None = None
    analyze_hyperlink: bool = False
    toc_extraction: bool = False

    def has_page(self, page: int) -> bool:
        """Tell whether this page is wanted."""
        return not self.pages or any(first <= page <= last for first, last in self.pages)


def read_settings(method: str, parser_config: Mapping[str, Any]) -> CutSettings:
    """Read what is there. Document-level configs are not validated (knowledge.md 2.2): what is missing or is no value
    of the key acts as the method's default.
    """
    default = CutSettings()
    own = _BY_METHOD.get(method, {})
    tokens, delimiter = (own.get(key, getattr(default, key)) for key in ("chunk_token_num", "delimiter"))
    sent, size, marks = (parser_config.get(key) for key in ("chunk_token_num", "task_page_size", "delimiter"))
    layout = parser_config.get("layout_recognize")
    return CutSettings(
        chunk_token_num=sent if _is_int(sent) and 1 <= sent <= max(_MOST_TOKENS, tokens) else tokens,
        delimiter=marks if isinstance(marks, str) and marks else delimiter,
        html4excel=parser_config.get("html4excel") is True,
        layout_recognize=layout if isinstance(layout, str) and layout.strip() else default.layout_recognize,
        pages=_page_ranges(parser_config.get("pages")),
        task_page_size=size if _is_int(size) and size >= 1 else None,
        analyze_hyperlink=parser_config.get("analyze_hyperlink") is True,
        toc_extraction=method == "naive" and parser_config.get("toc_extraction") is True,
    )


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _page_ranges(sent: Any) -> tuple[tuple[int, int], ...]:
    """Only whole, rising pairs count; a list in which nothing counts asks for all pages."""
    found: list[tuple[int, int]] = []
    pairs: list[Any] = sent if isinstance(sent, list) else []
    for pair in pairs:
        match pair:
            case [first, last] if _is_int(first) and _is_int(last) and 1 <= first <= last:
                found.append((first, last))
            case _:
                pass
    return tuple(found)


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
