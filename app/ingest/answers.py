"""Reading lists out of what a model says: as asked for, as JSON, numbered, quoted, with a preface, or not at all."""

import re
from collections.abc import Iterator
from typing import Any, cast

import orjson

_NUMBERING = re.compile(r"^\s*(?:(?:\(?\d{1,3}[.):、]|[-*•·–]|#+)\s*)+")
_AROUND = " \t\r\n\"'`“”„‟«»‘’*_[]{}()<>"
_FENCED = re.compile(r"```[a-zA-Z]*\n(.*?)```", re.DOTALL)
_JSON = re.compile(r"[\[{].*[\]}]", re.DOTALL)


def json_value(answer: str) -> Any:
    """Return the JSON list or object that the answer is, or holds; None for none."""
    fenced = _FENCED.search(answer)
    found = _JSON.search(fenced[1] if fenced else answer)
    if found is None:
        return None
    try:
        return orjson.loads(found[0])
    except orjson.JSONDecodeError:
        return None


def json_texts(answer: str) -> list[str] | None:
    """Return the texts of a JSON list in the answer, also of one inside an object; None for none."""
    value = json_value(answer)
    if isinstance(value, dict):
        value = next((each for each in cast(dict[str, Any], value).values() if isinstance(each, list)), None)
    match value:
        case [*items]:
            return [each for each in items if isinstance(each, str)] or None
        case _:
            return None


def lines(answer: str) -> Iterator[str]:
    """Yield the lines of an answer without numbering and quotation marks; a preface (`…:`) and blank lines left out."""
    for line in answer.splitlines():
        bare = bared(line)
        if bare and not bare.endswith((":", "：")) and not bare.startswith("```"):
            yield bare


def bared(text: str) -> str:
    """Return `text` without the number before it and the marks around it."""
    return _NUMBERING.sub("", text).strip(_AROUND)


def distinct(texts: Iterator[str] | list[str], known: tuple[str, ...] = ()) -> list[str]:
    """Return `known`, then those of `texts` that differ from all before them by more than case."""
    found: dict[str, str] = {each.casefold(): each for each in known}
    for each in texts:
        found.setdefault(each.casefold(), each)
    return list(found.values())
