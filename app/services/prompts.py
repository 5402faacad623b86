"""The words an assistant starts with, and the variables in them (conversations.md 2.2, 10.2)."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.domain.chats import ParameterMissing

KNOWLEDGE = "knowledge"
"""The variable that retrieval fills; callers never do."""

DATE = "date"
"""The variable that the clock fills; callers never do (10.2)."""

SYSTEM = """You are a careful assistant. Answer the user's question from the knowledge base below.

How to answer:
- Read every entry of the knowledge base, and use all that bear on the question. Answer in detail.
- Take the chat history into account: a question may refer to what was said before.
- Keep to what the entries say. When nothing in the knowledge base fits the question, your answer must include the \
sentence "The answer you are looking for is not found in the knowledge base!"
- Answer in the language of the question.

The knowledge base:
{knowledge}
(The knowledge base ends here.)"""

PROLOGUE = "Hi! I'm your assistant. What can I do for you?"

EMPTY_RESPONSE = "Sorry! No relevant content was found in the knowledge base!"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A variable that an assistant's texts may name as `{key}`."""

    key: str
    is_optional: bool = False


def default_prompt_config(system: str = SYSTEM) -> dict[str, Any]:
    """Return the stored prompt of an assistant whose maker sent none."""
    return {
        "system": system,
        "prologue": PROLOGUE,
        "parameters": [{"key": KNOWLEDGE, "optional": False}],
        "quote": True,
        "empty_response": EMPTY_RESPONSE,
        "tts": False,
        "refine_multiturn": True,
    }


def declared(prompt_config: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Return the variables an assistant declares, `knowledge` among them; of two of one key the first counts."""
    stored = prompt_config.get("parameters")
    found: dict[str, Parameter] = {}
    for each in stored if isinstance(stored, list) else []:
        if isinstance(each, dict) and isinstance(key := each.get("key"), str) and key:
            found.setdefault(key, Parameter(key, each.get("optional") is True))
    return tuple(found.values())


def unused_parameter(prompt_config: Mapping[str, Any], *, may_lack: str | None = KNOWLEDGE) -> str | None:
    """Return a required variable that the system text does not name; `may_lack` may be missing there."""
    system = str(prompt_config.get("system", ""))
    return next(
        (
            parameter.key
            for parameter in declared(prompt_config)
            if not parameter.is_optional and parameter.key != may_lack and _token(parameter.key) not in system
        ),
        None,
    )


def fill(text: str, parameters: Iterable[Parameter], values: Mapping[str, Any], *, missing_optional: str = " ") -> str:
    """Replace the declared `{key}` tokens; every other brace stays, `{knowledge}` too.

    A value that is absent or null is missing: an optional one becomes `missing_optional`. What a value brings in
    is not read again.

    Raises:
        ParameterMissing: a required variable is missing, named in `text` or not.
    """
    words: dict[str, str] = {}
    for parameter in parameters:
        if parameter.key == KNOWLEDGE:
            continue
        value = values.get(parameter.key)
        if value is None and not parameter.is_optional:
            raise ParameterMissing(f"Miss parameter: {parameter.key}", param=parameter.key)
        words[_token(parameter.key)] = missing_optional if value is None else _inert(spoken(value))
    return _replaced(text, words)


def _inert(value: str) -> str:
    """Return a caller's text in which `{knowledge}` is only a word: what was found goes where the assistant says."""
    token = _token(KNOWLEDGE)
    return value.replace(token, f"{token[0]}\u2060{token[1:]}")  # a joiner, which is not seen


def opener(prompt_config: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the first words of a session, with the variables given at its creation.

    Any given key is replaced, declared or not; a declared optional one that is missing becomes a blank; every
    other token stays as it is.
    """
    known = declared(prompt_config)
    words = {_token(each.key): " " for each in known if each.is_optional and each.key != KNOWLEDGE}
    given = {**values, DATE: with_date({})[DATE]} if any(each.key == DATE for each in known) else values
    words |= {_token(key): spoken(value) for key, value in given.items() if value is not None and key != KNOWLEDGE}
    prologue = prompt_config.get("prologue")
    return _replaced(prologue if isinstance(prologue, str) else PROLOGUE, words)


def with_date(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables with the time it is, in UTC as `YYYY-MM-DD HH:MM:SS`."""
    return {**values, DATE: f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"}


def spoken(value: Any) -> str:
    """Return a variable's value as text: lists and objects as JSON."""
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)


def _token(key: str) -> str:
    return "{" + key + "}"


def _replaced(text: str, words: Mapping[str, str]) -> str:
    if not words:
        return text
    tokens = sorted(words, key=len, reverse=True)
    word_of: Callable[[re.Match[str]], str] = lambda found: words[found.group()]  # noqa: E731 (typed)
    return re.sub("|".join(map(re.escape, tokens)), word_of, text)
