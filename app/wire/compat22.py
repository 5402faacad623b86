"""What RAGFlow 0.22 answers where the default dialect answers otherwise (knowledge.md 0; conversations.md 1.2).

Refusals are in `app/wire/errors.py`; here are the envelope of success and the routes that have their own.
"""

from typing import Any

PREFIX = "/compat/0.22"
"""Before `/api/v1` in the path: clients that can only change their base URL."""

HEADER = "x-ragflow-compat"
"""Chooses the dialect of one request."""

LEVELS = {"off": False, "0.22": True}
"""What the header and the setting may say, and whether that is this dialect."""

STRICT = frozenset({"/api/v1/datasets", "/api/v1/datasets/{dataset_id}"})
"""Routes whose bodies are checked by a schema: there a wrong type is a wrong argument (knowledge.md 0.4)."""

_NAMED_SUCCESS = "/api/v1/file"
"""Routes below it say `success` (knowledge.md 6)."""

_BARE = frozenset(
    {
        ("DELETE", "/api/v1/datasets"),
        ("DELETE", "/api/v1/datasets/{dataset_id}/documents"),
        ("POST", "/api/v1/datasets/{dataset_id}/chunks"),
        ("DELETE", "/api/v1/datasets/{dataset_id}/chunks"),
        ("PUT", "/api/v1/datasets/{dataset_id}/documents/{document_id}/chunks/{chunk_id}"),
        ("DELETE", "/api/v1/datasets/{dataset_id}/documents/{document_id}/chunks"),
    }
)
"""Routes that tell nothing of a full success."""


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
    return told


def not_found() -> str:
    """Return what is said of a route nobody serves."""
    return "<NotFound '404: Not Found'>"


def wrong_method() -> str:
    """Return what is said of a route that is served by another method."""
    return "<MethodNotAllowed '405: Method Not Allowed'>"
