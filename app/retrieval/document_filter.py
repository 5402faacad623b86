"""The filter an assistant or a search app keeps: written by hand, or by a model for each question (conversations 10.6).

What a model writes is only a help: a model that fails, or says what makes no sense, leaves the search unfiltered, and
the log tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
import structlog

from app.domain.errors import Invalid, UpstreamFailed
from app.domain.ids import DocumentId
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.retrieval import ModelCall
from app.llm.asking import ask_text
from app.llm.base import ChatModel
from app.retrieval.delimiting import DATA_NOTICE, as_data
from app.retrieval.metadata import OPERATORS, MetadataFilter, read_filter
from app.retrieval.rephrasing import BUILTIN

log = structlog.get_logger()

_QUESTION_CHARS = 8000
_KEYS_MOST = 50
_VALUES_MOST = 40
_VALUE_CHARS = 80
_CHARS_MOST = 12_000

_PROMPT = """\
Documents carry the metadata below: a key, and values it has. Say which conditions on it the question asks for. Name \
only keys of the list, and only conditions that the question itself states or clearly means; most questions state \
none. Write values as they stand in the list where one of them is meant, dates as YYYY-MM-DD. Today is {today}.

Answer with one JSON object and nothing else:
{{"logic": "and", "conditions": [{{"name": "a key", "comparison_operator": "=", "value": "a value"}}]}}
`logic` is `and` or `or`; operators are: {operators}. Without a condition write {{"conditions": []}}.

{notice}

The metadata:
{metadata}

The question:
{question}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFilter:
    """Which documents may be searched. `written` are the conditions of `manual`.

    `keys` are those a model may use under `semi_auto`, each with the one operator it is bound to, if any.
    """

    method: Literal["manual", "semi_auto", "auto"]
    written: MetadataFilter | None = None
    keys: Mapping[str, str | None] | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether a model writes the conditions."""
        return self.method != "manual"


def read_document_filter(stored: Mapping[str, Any] | None) -> DocumentFilter | None:
    """Return the filter of `meta_data_filter`; None when it is off.

    Raises:
        Invalid: it is not of the contract's shape.
    """
    method = (stored or {}).get("method")
    if stored is None or not method or method == "disabled":
        return None
    if method == "manual":
        written = read_filter({"logic": stored.get("logic"), "conditions": _renamed(stored.get("manual"))})
        return DocumentFilter(method="manual", written=written) if written is not None else None
    if method == "semi_auto":
        keys = _keys(stored.get("semi_auto"))
        return DocumentFilter(method="semi_auto", keys=keys) if keys else None
    if method == "auto":
        return DocumentFilter(method="auto")
    raise Invalid(f"Unknown method of `meta_data_filter`: {str(method)[:40]}", param="meta_data_filter.method")


async def asked_filter(
    wanted: DocumentFilter,
    question: str,
    held: Mapping[DocumentId, Mapping[str, Any]],
    model: ChatModel,
    *,
    today: str,
    calls: list[ModelCall],
    deadline_s: float,
) -> MetadataFilter | None:
    """Return the conditions a model finds in the question, on keys that the documents have; None without any.

    `today` is written YYYY-MM-DD; `deadline_s` is a loop time.
    """
    known = known_values(held, wanted.keys)
    if not known or model.provider == BUILTIN or len(question) > _QUESTION_CHARS:
        log.info("metadata_filter_skipped", keys=len(known), model=model.name)
        return None
    prompt = _PROMPT.format(
        today=today,
        operators=", ".join(sorted(OPERATORS)),
        notice=DATA_NOTICE,
        metadata=as_data(_listed(known, wanted.keys or {})),
        question=as_data(question),
    )
    options = GenerationOptions(temperature=0.0, max_tokens=500)
    messages = [ChatMessage(role="user", content=prompt)]
    try:
        said = await ask_text(model, messages, options, purpose="metadata", calls=calls, deadline_s=deadline_s)
        return _allowed(read_filter(_object(said)), known, wanted.keys or {})
    except (UpstreamFailed, Invalid, orjson.JSONDecodeError) as error:
        log.warning("metadata_filter_unusable", model=model.name, error=str(error)[:200])
        return None


def known_values(
    held: Mapping[DocumentId, Mapping[str, Any]], keys: Mapping[str, str | None] | None
) -> dict[str, list[str]]:
    """Return what a model is shown: of at most 50 keys at most 40 values each, in order of first sight."""
    known: dict[str, dict[str, None]] = {}
    for fields in held.values():
        for name, value in fields.items():
            if keys is not None and name not in keys:
                continue
            if name not in known and len(known) >= _KEYS_MOST:
                continue
            values = known.setdefault(name, {})
            for item in value if isinstance(value, list) else [value]:
                if len(values) < _VALUES_MOST and item is not None and not isinstance(item, dict):
                    values[" ".join(str(item).split())[:_VALUE_CHARS]] = None
    return {name: list(values) for name, values in known.items()}


def _renamed(written: Any) -> Any:
    """Return conditions of the stored vocabulary in that of `metadata_condition`."""
    if not isinstance(written, list):
        return written
    return [
        {"name": each.get("key"), "comparison_operator": each.get("op"), "value": each.get("value")}
        if isinstance(each, dict) and "key" in each
        else each
        for each in written
    ]


def _keys(named: Any) -> dict[str, str | None]:
    keys: dict[str, str | None] = {}
    for each in named if isinstance(named, list) else []:
        if isinstance(each, str):
            keys[each] = None
        elif isinstance(each, dict) and isinstance(key := each.get("key"), str):
            operator = each.get("op")
            keys[key] = operator if isinstance(operator, str) and operator in OPERATORS else None
    return keys


def _listed(known: Mapping[str, list[str]], bound: Mapping[str, str | None]) -> str:
    lines: list[str] = []
    for name, values in known.items():
        only = f" (operator {bound[name]} only)" if bound.get(name) else ""
        lines.append(f"{' '.join(name.split())[:_VALUE_CHARS]}{only}: {' | '.join(values)}")
    return "\n".join(lines)[:_CHARS_MOST]


def _object(said: str) -> dict[str, Any]:
    begin, end = said.find("{"), said.rfind("}")
    found = orjson.loads(said[begin : end + 1] if begin >= 0 else said)
    if not isinstance(found, dict):
        raise Invalid("the answer is no object")
    return found


def _allowed(
    found: MetadataFilter | None, known: Mapping[str, list[str]], bound: Mapping[str, str | None]
) -> MetadataFilter | None:
    """Return the conditions on known keys, each with the operator its key is bound to."""
    kept = [each for each in found.conditions if each.name in known] if found is not None else []
    if found is None or not kept:
        return None
    return MetadataFilter(
        tuple(replace(each, operator=bound.get(each.name) or each.operator) for each in kept), is_any=found.is_any
    )
