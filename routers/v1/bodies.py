"""JSON bodies and query keys of `/v1`, read the way official clients write them (openai.md 1.1, 1.4)."""

from typing import Any

import orjson
from fastapi import Request

from app.domain.errors import Invalid, WrongType

_SURELY_SHALLOW = 200  # brackets: the encoder goes down 254 levels


async def read_body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request: null keys are absent, and a literal `extra_body` is merged in.

    Raises:
        Invalid: it is not JSON, or not sent as JSON.
        WrongType: it is JSON, but no object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Invalid(f"Unsupported content type: expected application/json, got {kind[:60] or 'none'}.")
    try:
        text = await request.body()
        sent: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid(f"We could not parse the JSON body of your request: {error.msg[:200]}.") from error
    if not isinstance(sent, dict):
        raise WrongType("The request body must be a JSON object.")
    _check_depth(text, sent)
    extra = sent.pop("extra_body", None)
    if extra is not None and not isinstance(extra, dict):
        raise WrongType("`extra_body` must be an object.", param="extra_body")
    body: dict[str, Any] = sent | (extra or {})
    return {key: value for key, value in body.items() if value is not None}


def _check_depth(text: bytes, sent: dict[str, Any]) -> None:
    """Return when a body can be written again where it goes, inside of other objects.

    Raises:
        Invalid: it is nested more deeply than the encoder goes.
    """
    if text.count(b"[") + text.count(b"{") < _SURELY_SHALLOW:
        return
    try:
        orjson.dumps([[[[sent]]]])
    except orjson.JSONEncodeError as error:
        raise Invalid("The JSON body of your request is nested too deeply.") from error


def query_values(request: Request, name: str) -> list[str]:
    """Return the values of an array in the query, with or without brackets after its key."""
    return request.query_params.getlist(f"{name}[]") + request.query_params.getlist(name)


def query_map(request: Request, name: str) -> dict[str, str]:
    """Return a map in the query: `metadata[topic]=x` is `{"topic": "x"}`."""
    start = f"{name}["
    return {
        key[len(start) : -1]: value
        for key, value in request.query_params.multi_items()
        if key.startswith(start) and key.endswith("]")
    }
