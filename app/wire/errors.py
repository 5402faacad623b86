"""The one table that turns refusals into each dialect's answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

from app.domain.errors import Kind, ParleyError


class Dialect(StrEnum):
    """How errors look on a route. `OPENAI_CHAT` is the union of both worlds (conversations.md 5.1)."""

    NATIVE = "native"
    OPENAI_CHAT = "openai_chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An HTTP status, and the code that stands in the body."""

    status: int
    code: int


NATIVE: dict[Kind, Refusal] = {  # conversations.md 1.3
    Kind.INVALID: Refusal(status=400, code=102),
    Kind.CONFLICT: Refusal(status=400, code=102),
    Kind.TOO_LARGE: Refusal(status=413, code=102),
    Kind.UNAUTHENTICATED: Refusal(status=401, code=103),
    Kind.FORBIDDEN: Refusal(status=403, code=104),
    Kind.MISSING: Refusal(status=404, code=105),
    Kind.LIMITED: Refusal(status=429, code=429),
    Kind.UNAVAILABLE: Refusal(status=503, code=500),
    Kind.UPSTREAM: Refusal(status=500, code=500),
    Kind.UPSTREAM_REFUSED: Refusal(status=500, code=500),
    Kind.UPSTREAM_LIMITED: Refusal(status=500, code=500),
    Kind.UPSTREAM_TIMEOUT: Refusal(status=500, code=500),
    Kind.INTERNAL: Refusal(status=500, code=500),
}

# Clients of the OpenAI route retry by status: a provider's failure keeps the status openai.md 1.6 gives it.
OPENAI_CHAT: dict[Kind, Refusal] = NATIVE | {
    Kind.UPSTREAM: Refusal(status=502, code=500),
    Kind.UPSTREAM_REFUSED: Refusal(status=400, code=102),
    Kind.UPSTREAM_LIMITED: Refusal(status=429, code=429),
    Kind.UPSTREAM_TIMEOUT: Refusal(status=504, code=500),
}

OPENAI_TYPES: dict[Kind, str] = {
    Kind.INVALID: "invalid_request_error",
    Kind.CONFLICT: "invalid_request_error",
    Kind.TOO_LARGE: "invalid_request_error",
    Kind.UNAUTHENTICATED: "invalid_request_error",
    Kind.FORBIDDEN: "permission_error",
    Kind.MISSING: "invalid_request_error",
    Kind.LIMITED: "rate_limit_error",
    Kind.UNAVAILABLE: "server_error",
    Kind.UPSTREAM: "server_error",
    Kind.UPSTREAM_REFUSED: "invalid_request_error",
    Kind.UPSTREAM_LIMITED: "rate_limit_error",
    Kind.UPSTREAM_TIMEOUT: "server_error",
    Kind.INTERNAL: "server_error",
}

_MESSAGE_CHARS = 2000

UNEXPECTED = "Internal server error"


def refusal(kind: Kind, dialect: Dialect) -> Refusal:
    """Status and code that `dialect` gives for `kind`."""
    match dialect:
        case Dialect.NATIVE:
            return NATIVE[kind]
        case Dialect.OPENAI_CHAT:
            return OPENAI_CHAT[kind]
        case _:
            assert_never(dialect)


def error_body(error: ParleyError, dialect: Dialect) -> dict[str, Any]:
    """Return the body that tells of `error`."""
    return body(
        dialect, refusal(error.kind, dialect).code, _short(error.message), OPENAI_TYPES[error.kind], error.param
    )


def _short(message: str) -> str:
    """Cut a message that repeats something very long the caller sent."""
    return message if len(message) <= _MESSAGE_CHARS else message[:_MESSAGE_CHARS] + "…"


def body(dialect: Dialect, code: int, message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    """Return a failure's body: `kind` is OpenAI's word for it (openai.md 1.6)."""
    native: dict[str, Any] = {"code": code, "message": message, "data": None}
    if dialect is Dialect.OPENAI_CHAT:
        native["error"] = {"message": message, "type": kind, "param": param, "code": code}
    return native


def error_headers(error: ParleyError) -> dict[str, str]:
    """Return `Retry-After` (whole seconds, 1 to 60; openai.md 1.7) where the error knows when to come back."""
    if error.retry_after_s is None:
        return {}
    return {"Retry-After": str(min(60, max(1, round(error.retry_after_s))))}
