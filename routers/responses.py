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
    503: _told("The service is shutting down."),
}
