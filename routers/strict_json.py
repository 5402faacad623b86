"""Bodies of dataset routes: JSON by its media type, an object, every field known (knowledge.md 0.4 STRICT)."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.domain.errors import BadArgument
from schemas.datasets import Uuid1

Body = TypeVar("Body", bound=BaseModel)

_DATASET_ID = "dataset_id"
_UUID1: TypeAdapter[str] = TypeAdapter(Uuid1)


def strict_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """Return a dependency that reads the body as `model`; an id of the path is checked along with it.

    Raises:
        BadArgument: (the dependency) it is no JSON object.
        RequestValidationError: (the dependency) fields are wrong; all of them are told.
    """

    async def read(request: Request) -> Body:
        sent = _object(request.headers.get("content-type", ""), await request.body())
        problems: list[Any] = []
        if _DATASET_ID in request.path_params:
            problems += _problems(lambda: _UUID1.validate_python(request.path_params[_DATASET_ID]), _DATASET_ID)
        body: Body | None = None

        def validate() -> None:
            nonlocal body
            body = model.model_validate(sent)

        problems += _problems(validate)
        if problems or body is None:
            raise RequestValidationError(problems)
        return body

    return read


def strict_page(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the OpenAPI page tells of such a body."""
    schema = _inlined(model.model_json_schema())
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            named = definitions[node["$ref"].rpartition("/")[2]]
            return resolved({**named, **{key: value for key, value in node.items() if key != "$ref"}})
        return {key: resolved(value) for key, value in node.items()}

    page: dict[str, Any] = resolved(schema)
    return page


def _object(content_type: str, body: bytes) -> dict[str, Any]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise BadArgument(f"Unsupported content type: Expected application/json, got {kind or None}")
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadArgument("Malformed JSON syntax: Missing commas/brackets or invalid encoding") from error
    if isinstance(sent, dict):
        return sent
    if not sent:  # null, "", 0, [] and false stand for an empty object
        return {}
    raise BadArgument(f"Invalid request payload: expected object, got {type(sent).__name__}")


def _problems(check: Callable[[], object], *where: str) -> list[Any]:
    try:
        check()
    except ValidationError as error:
        return [{**each, "loc": ("path" if where else "body", *where, *each["loc"])} for each in error.errors()]
    return []
