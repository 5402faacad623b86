"""How the routes of `/v1` are described on the OpenAPI page."""

from typing import Any

ENVELOPE: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
"""The error envelope (openai.md 1.6)."""


def page(description: str, *required: str) -> dict[str, Any]:
    """Return what the OpenAPI page tells of a JSON body that the route reads by itself."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["model", *required],
        "properties": {"model": {"type": "string"}},
        "additionalProperties": True,
    }
    body = {"required": True, "description": description, "content": {"application/json": {"schema": schema}}}
    return {"requestBody": body}


def _told(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": ENVELOPE}}}


V1_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": _told("Another refusal."),  # also keeps the framework from promising a 422 that never comes
    "5XX": _told("Another failure."),
    400: _told("The request cannot be served as written; `param` says where."),
    401: _told("No key, or one nobody knows."),
    403: _told("The key may not do this."),
    404: _told("No such model or object."),
    409: _told("Something else is going on with the same object."),
    413: _told("Over a size limit."),
    429: _told("A limit or quota is used up."),
    500: _told("Our own failure."),
    502: _told("The model provider's failure."),
}
