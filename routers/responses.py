"""How failures are described on the OpenAPI page; every route shares it."""

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


ERRORS: dict[int | str, dict[str, Any]] = {
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
        "description": "The answer as JSON; as server-sent events when a stream is asked for.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
}
"""Of routes that answer in one piece or as a stream."""
