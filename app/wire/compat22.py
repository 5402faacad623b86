"""What RAGFlow 0.22 answers where the default dialect answers otherwise (knowledge.md 0; conversations.md 1.2).

Codes of refusals are in `app/wire/dialects.py`; here are the envelope of success, the words that differ, and the routes
that have their own.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from app.domain.chats import ParameterMissing
from app.domain.errors import (
    BadArgument,
    Invalid,
    Missing,
    NotFound,
    PageKeyAbsent,
    PageKeyUnknown,
    ParleyError,
    Taken,
    Unsuitable,
    WrongType,
)

PREFIX = "/compat/0.22"
"""Before `/api/v1` in the path: clients that can only change their base URL."""

HEADER = "x-ragflow-compat"
"""Chooses the dialect of one request."""

LEVELS = {"off": False, "0.22": True}
"""What the header and the setting may say, and whether that is this dialect."""

STRICT = frozenset({"/api/v1/datasets", "/api/v1/datasets/{dataset_id}"})
"""Routes whose bodies are checked by a schema: there a wrong type is a wrong argument (knowledge.md 0.4)."""

_SESSIONS = "/api/v1/chats/{chat_id}/sessions"
_SESSION = "/api/v1/chats/{chat_id}/sessions/{session_id}"

_NAMED_SUCCESS = "/api/v1/file"
"""Routes below it say `success` (knowledge.md 6)."""

_LATER_FILES = "/api/v1/files"
"""Routes from here on tell of files as other routes do, not by codes like 404 (knowledge.md 6)."""

_BARE = frozenset(
    {
        ("DELETE", "/api/v1/datasets"),
        ("DELETE", "/api/v1/datasets/{dataset_id}/documents"),
        ("POST", "/api/v1/datasets/{dataset_id}/chunks"),
        ("DELETE", "/api/v1/datasets/{dataset_id}/chunks"),
        ("PUT", "/api/v1/datasets/{dataset_id}/documents/{document_id}/chunks/{chunk_id}"),
        ("DELETE", "/api/v1/datasets/{dataset_id}/documents/{document_id}/chunks"),
        ("PUT", "/api/v1/chats/{chat_id}"),
        ("DELETE", "/api/v1/chats"),
        ("PUT", _SESSION),
        ("DELETE", _SESSIONS),
    }
)
"""Routes that tell nothing of a full success."""

_ASK = ("question", "kb_ids")
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "/api/v1/chats_openai/{chat_id}/chat/completions": ("model", "messages"),
    "/api/v1/openai/{chat_id}/chat/completions": ("model", "messages"),
    "/api/v1/searchbots/ask": _ASK,
    "/api/v1/searchbots/retrieval_test": ("kb_id", "question"),
    "/api/v1/searchbots/related_questions": ("question",),
    "/api/v1/searchbots/mindmap": _ASK,
}
"""Keys whose absence 0.22 tells of before it looks at the API key, by route (conversations.md 1.4)."""

_ALIASES = frozenset({"chunk_id", "doc_id", "doc_name"})


def success(method: str, template: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a native success as 0.22 words it: no empty `data`, and a `message` only below `/file`.

    What is no envelope (`code` is missing or not 0) stays as it is.
    """
    if body.get("code") != 0:
        return body
    if template == _NAMED_SUCCESS or template.startswith(_NAMED_SUCCESS + "/"):
        return {"code": 0, "message": "success", "data": body.get("data")}
    told = {key: value for key, value in body.items() if key != "message" and not (key == "data" and value is None)}
    data = told.get("data")
    if (method, template) in _BARE and not (isinstance(data, dict) and data.get("errors")):
        told.pop("data", None)
    if "data" in told and _has_answers(template):
        told["data"] = without_aliases(told["data"])
    return told


def _has_answers(template: str) -> bool:
    return template.startswith(_SESSIONS) or template.endswith("/completions")


def without_aliases(value: Any) -> Any:
    """Return a JSON value whose chunks lack the names that only the seeds have for them (conversations.md 3.4)."""
    if isinstance(value, list):
        return [without_aliases(one) for one in value]
    if not isinstance(value, dict):
        return value
    dropped = _ALIASES if "document_id" in value and "dataset_id" in value else frozenset[str]()
    return {key: without_aliases(one) for key, one in value.items() if key not in dropped}


def worded(error: ParleyError, template: str) -> ParleyError:
    """Return a refusal of a route in the words of 0.22, of the class whose code it has there."""
    if isinstance(error, ParameterMissing):
        return WrongType(f"KeyError({error.message!r})", param=error.param)
    if isinstance(error, PageKeyUnknown):
        return _without_token(error)
    if template.startswith(_LATER_FILES):
        return _as_elsewhere(error)
    return error


def _as_elsewhere(error: ParleyError) -> ParleyError:
    """Return a refusal of a later route of files, of the class that other routes have for it."""
    match error:
        case NotFound():
            return Missing(error.message, param=error.param)
        case Taken() | Unsuitable():
            return Invalid(error.message, param=error.param)
        case WrongType():
            return BadArgument(error.message, param=error.param)
        case _:
            return error


def _without_token(error: PageKeyUnknown) -> ParleyError:
    """Return what a page without a good token is told: no `data`, a stray quotation mark (conversations.md 7.1)."""
    if isinstance(error, PageKeyAbsent):
        return WrongType("AttributeError(\"'NoneType' object has no attribute 'split'\")")
    return Invalid(error.message + '"')


def required_keys(template: str) -> tuple[str, ...]:
    """Return the keys that a body of this route must have before anything else is looked at."""
    return _REQUIRED.get(template, ())


def check_required(body: bytes, keys: tuple[str, ...]) -> None:
    """Return when the body has all of `keys`; one that is no JSON object has none.

    Raises:
        BadArgument: it lacks some.
    """
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError:
        sent = None
    lacking = [key for key in keys if not isinstance(sent, dict) or key not in sent]
    if lacking:
        raise BadArgument(f"required argument are missing: {','.join(lacking)}; ")


def not_an_object(value: Any) -> str:
    """Return what is said of a body that is JSON and no object."""
    return f"AttributeError(\"'{type(value).__name__}' object has no attribute 'get'\")"


def exception(error: Exception, message: str) -> str:
    """Return what is said of a failure nobody foresaw: the exception's class; its own words are in the log only."""
    return f"{type(error).__name__}({message!r})"


def not_found() -> str:
    """Return what is said of a route nobody serves."""
    return "<NotFound '404: Not Found'>"


def wrong_method() -> str:
    """Return what is said of a route that is served by another method."""
    return "<MethodNotAllowed '405: Method Not Allowed'>"
