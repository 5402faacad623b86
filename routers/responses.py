"""How answers are described on the OpenAPI page: the envelope, failures, streams, files, and who may ask."""

from typing import Any

_FAILURE: dict[str, Any] = {
    "type": "object",
    "required": ["code", "message", "data"],
    "properties": {
        "code": {"type": "integer", "description": "102 invalid, 103 key, 104 scope, 105 missing, 429, 500."},
        "message": {"type": "string"},
        "data": {"type": "null"},
    },
}


def _told(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _FAILURE}}}


_SUCCESS: dict[str, Any] = {
    "type": "object",
    "required": ["code", "data"],
    "properties": {
        "code": {"type": "integer", "const": 0},
        "data": {"description": "What was asked for."},
        "message": {"type": "string", "description": "What there is to say of a success that is not whole."},
    },
}

ENVELOPE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Code 0, and what was asked for as `data`.",
        "content": {"application/json": {"schema": _SUCCESS}},
    },
    "4XX": _told("Another refusal."),  # also keeps the framework from promising a 422 that never comes
    400: _told("The request cannot be served as written."),
    401: _told("No key, or one nobody knows."),
    403: _told("The key may not do this."),
    404: _told("No such object."),
    413: _told("Over a size limit."),
    500: _told("Our own failure, or the model provider's."),
    502: _told("The model provider failed; on the OpenAI routes."),
    503: _told("The service is shutting down."),
    504: _told("The model provider did not answer in time; on the OpenAI routes."),
}
"""Of native routes."""

API_KEY, PAGE_TOKEN = "ApiKey", "PageToken"

SECURITY_SCHEMES: dict[str, Any] = {
    API_KEY: {"type": "http", "scheme": "bearer", "description": "An API key: `parley keys create`."},
    PAGE_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "The embed token of a key, or a token for one visitor of a page: `POST …/visitor_tokens`.",
    },
}
"""What opens routes that are not for machines."""

_STORED = {"type": ["array", "null"], "items": {"type": "object"}, "description": "The documents that were stored."}

UPLOADED: dict[int | str, dict[str, Any]] = {
    400: {
        "description": "The request cannot be served as written, or some of its files are not taken in.",
        "content": {
            "application/json": {"schema": {**_FAILURE, "properties": {**_FAILURE["properties"], "data": _STORED}}}
        },
    },
}
"""Of uploads, which store what they can."""

_EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "JSON, or [DONE]."}, "id": {"type": "string"}},
}

ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer as JSON, or as server-sent events: which of them, `stream` says.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
}
"""Of routes that answer in one piece or as a stream."""

STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer as server-sent events.", "content": {"text/event-stream": {"schema": _EVENT}}},
}
"""Of routes that answer as a stream only; their `response_class` is `EventStream`."""

_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}

BYTES: dict[int | str, dict[str, Any]] = {200: {"description": "The bytes.", "content": _BYTES}}
"""Of pictures."""

FILE: dict[int | str, dict[str, Any]] = {
    **BYTES,
    206: {"description": "The bytes that `Range` asks for.", "content": _BYTES},
    416: _told("There are no such bytes; `Content-Range` tells how many there are."),
}
"""Of downloads, whole or in part."""

DOCUMENT: dict[int | str, dict[str, Any]] = {
    **FILE,
    304: {"description": "The caller has it: `If-None-Match` names its `ETag`."},
}
"""Of downloads that need not be sent twice."""


def described(description: str) -> dict[int | str, dict[str, Any]]:
    """Return a success of which only words are told."""
    return {200: {"description": description}}
