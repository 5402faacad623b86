"""How refusals are told, in each dialect: bodies and headers."""

from typing import Any

from app.domain.errors import Kind, ParleyError
from app.domain.turns import SessionBusy
from app.wire.dialects import ARGUMENT, OPENAI_TYPES, Dialect, openai_code, refusal_of

_MESSAGE_CHARS = 2000
_LONGEST_WAIT_S = 60
_NO_QUOTA = "insufficient_quota"
_NO_KEY = "API-KEY is invalid!"  # what Dify looks for

_EXCEPTION = 100  # of RAGFlow: something was raised; only this one tells `data`

UNEXPECTED = "Internal server error"


def error_body(error: ParleyError, dialect: Dialect) -> dict[str, Any]:
    """Return the body that tells of `error`."""
    if dialect is Dialect.OPENAI:
        return openai_error(error)
    code = refusal_of(error, dialect).code
    if dialect is Dialect.DIFY and error.kind is Kind.UNAUTHENTICATED:
        return body(dialect, code, _NO_KEY, OPENAI_TYPES[error.kind])
    told = body(dialect, code, _short(error.message), OPENAI_TYPES[error.kind], error.param)
    if error.kind is Kind.UNAUTHENTICATED and dialect is Dialect.RAGFLOW_22:
        told["data"] = False
    elif error.done is not None:
        told["data"] = error.done
    elif error.kind is Kind.LIMITED and dialect is not Dialect.DIFY:  # one body in all others (conversations.md 11)
        told["data"] = None
    if dialect is Dialect.OPENAI_CHAT and error.code == _NO_QUOTA:
        told["error"] |= {"type": _NO_QUOTA, "code": _NO_QUOTA}
    return told


def openai_error(error: ParleyError) -> dict[str, Any]:
    """Return the envelope of `/v1`, the same as a body and as the last event of a stream (openai.md 1.6, 3.6)."""
    code = openai_code(error)
    if code == _NO_QUOTA:
        kind = code
    elif code == "request_timeout":
        kind = "timeout_error"
    else:
        kind = "conflict_error" if error.kind is Kind.CONFLICT else OPENAI_TYPES[error.kind]
    return {"error": {"message": _short(error.message), "type": kind, "param": error.param, "code": code}}


def _short(message: str) -> str:
    """Cut a message that repeats something very long the caller sent."""
    return message if len(message) <= _MESSAGE_CHARS else message[:_MESSAGE_CHARS] + "…"


def body(dialect: Dialect, code: int, message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    """Return a failure's body: `kind` is OpenAI's word for it (openai.md 1.6)."""
    if dialect is Dialect.RAGFLOW_22:
        return {"code": code, "message": message} | ({"data": None} if code == _EXCEPTION else {})
    if dialect is Dialect.DIFY:
        return {"code": code, "message": message} | ({"data": None} if code == ARGUMENT.code else {})
    native: dict[str, Any] = {"code": code, "message": message, "data": None}
    if dialect is Dialect.OPENAI_CHAT:
        native["error"] = {"message": message, "type": kind, "param": param, "code": code}
    return native


def error_headers(error: ParleyError) -> dict[str, str]:
    """Return when to come back, whole seconds from 1 to 60, or that it is no use.

    Below one second, and of a busy session, milliseconds are told too.

    Official clients wait no longer than a minute, and come back at once when told to wait longer (openai.md 1.7).
    """
    headers: dict[str, str] = {}
    after_s = error.retry_after_s
    if after_s is not None:
        headers["Retry-After"] = str(min(_LONGEST_WAIT_S, max(1, round(after_s))))
        if 0 < after_s < 1 or isinstance(error, SessionBusy):
            headers["Retry-After-Ms"] = str(max(1, round(min(_LONGEST_WAIT_S, after_s) * 1000)))
    if error.is_final or error.code == _NO_QUOTA or (after_s is not None and after_s > _LONGEST_WAIT_S):
        headers["X-Should-Retry"] = "false"
    return headers
