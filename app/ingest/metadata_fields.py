"""Metadata that a chat model reads out of a document, as the parser config asks (knowledge.md 2.9, 5.13)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.domain.datasets import Document
from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.answers import json_value
from app.retrieval.delimiting import DATA_NOTICE, as_data

TYPES = ("string", "list", "time", "number")
BUILT_IN = ("file_name", "update_time")
FIELDS_MOST = 50
_VALUE_CHARS = 500
_ITEMS_MOST = 50
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}(?:[ T]\d{2}:\d{2}(?::\d{2})?)?")
_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,15})?")

_PROMPT = """\
Read these fields out of the text below, and write one JSON object with their names as keys and nothing else. Leave \
out every field that the text says nothing about; make nothing up. A `time` is written YYYY-MM-DD or \
YYYY-MM-DD HH:MM:SS, a `list` is a JSON list of texts, a `number` has no unit.

Fields:
{fields}

{notice}

{text}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataField:
    """A field that is asked for; a value that is not among `choices`, where there are any, is none."""

    key: str
    kind: str = "string"
    description: str = ""
    choices: tuple[str, ...] = ()


def wanted_fields(parser_config: Mapping[str, Any]) -> list[MetadataField]:
    """Return the fields of `metadata`, none unless `enable_metadata` is true. Configs of documents are not validated:
    what is no field is left out.
    """
    sent = parser_config.get("metadata")
    if parser_config.get("enable_metadata") is not True or not isinstance(sent, list):
        return []
    fields: list[MetadataField] = []
    for each in sent[:FIELDS_MOST]:
        match each:
            case {"key": str(key)} if key.strip():
                kind, choices, description = each.get("type"), each.get("enum"), each.get("description")
                fields.append(
                    MetadataField(
                        key=key.strip(),
                        kind=kind if kind in TYPES else "string",
                        description=description if isinstance(description, str) else "",
                        choices=tuple(one for one in choices if isinstance(one, str))
                        if isinstance(choices, list)
                        else (),
                    )
                )
            case _:
                pass
    return fields


def built_in(document: Document) -> dict[str, Any]:
    """Return the values of `built_in_metadata`: the file's name, and when it was read."""
    sent = document.parser_config.get("built_in_metadata")
    keys = [each.get("key") for each in sent if isinstance(each, dict)] if isinstance(sent, list) else []
    values = {"file_name": document.name, "update_time": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"}
    return {key: values[key] for key in keys if key in values}


def metadata_prompt(text: str, fields: Sequence[MetadataField]) -> tuple[list[ChatMessage], GenerationOptions]:
    """Return what to ask for the fields of `text`."""
    prompt = _PROMPT.format(fields="\n".join(map(_described, fields)), notice=DATA_NOTICE, text=as_data(text))
    options = GenerationOptions(temperature=0.0, max_tokens=64 + 64 * len(fields))
    return [ChatMessage(role="user", content=prompt)], options


def _described(field: MetadataField) -> str:
    choices = f"; one of: {', '.join(field.choices)}" if field.choices else ""
    told = " ".join(field.description.split())
    return f"- {field.key} ({field.kind}{choices}){': ' + told if told else ''}"


def read_values(answer: str, fields: Sequence[MetadataField]) -> dict[str, Any]:
    """Return the values in an answer that are of their field's type and among its choices; all else is left out."""
    value = json_value(answer)
    if not isinstance(value, dict):
        return {}
    read = {field.key: _value(value.get(field.key), field) for field in fields}
    return {key: held for key, held in read.items() if held is not None}


def _value(sent: Any, field: MetadataField) -> Any:
    match field.kind:
        case "list":
            items = [_text(each, field) for each in (sent if isinstance(sent, list) else [sent])]
            return list(dict.fromkeys(item for item in items if item is not None))[:_ITEMS_MOST] or None
        case "number":
            return _number(sent)
        case "time":
            text = _text(sent, field)
            return text if text is not None and _TIME.fullmatch(text) else None
        case _:
            return _text(", ".join(map(str, sent)) if isinstance(sent, list) else sent, field)


def _text(sent: Any, field: MetadataField) -> str | None:
    if isinstance(sent, bool) or not isinstance(sent, str | int | float):
        return None
    text = " ".join(str(sent).replace("\x00", "").split())[:_VALUE_CHARS]
    if not field.choices:
        return text or None
    return next((choice for choice in field.choices if choice.casefold() == text.casefold()), None)


def _number(sent: Any) -> int | float | None:
    if isinstance(sent, bool):
        return None
    found = _NUMBER.fullmatch(str(sent).strip().replace(",", ""))
    if found is None:
        return None
    return float(found[0]) if "." in found[0] else int(found[0])
