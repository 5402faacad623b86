"""The table of dialects: the status and the code, or the word, that each has for a refusal."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from app.domain.chats import ChatNotWritten, DatasetsDiffer
from app.domain.errors import (
    BadArgument,
    KeyAbsent,
    KeyMalformed,
    Kind,
    NotAuthorized,
    NotFound,
    NotOperable,
    NotPermitted,
    NotTakenIn,
    PageKeyAbsent,
    PageKeyUnknown,
    ParleyError,
    Taken,
    Unsuitable,
    WrongType,
)
from app.domain.principals import KeyNotWritten
from app.domain.sessions import SessionNotWritten
from app.domain.turns import SessionBusy
from app.llm.catalogue import ModelUnknown, ModelUnusable


class Dialect(StrEnum):
    """How errors look on a route. `OPENAI` is `/v1`; `OPENAI_CHAT` the union of both worlds (conversations.md 5.1)."""

    NATIVE = "native"
    OPENAI = "openai"
    OPENAI_CHAT = "openai_chat"
    RAGFLOW_22 = "ragflow_22"
    DIFY = "dify"


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

OPENAI: dict[Kind, Refusal] = {  # openai.md 1.6; the code in the body is a word: see `openai_code`
    kind: Refusal(status=status, code=status)
    for kind, status in {
        Kind.INVALID: 400,
        Kind.CONFLICT: 409,
        Kind.TOO_LARGE: 413,
        Kind.UNAUTHENTICATED: 401,
        Kind.FORBIDDEN: 403,
        Kind.MISSING: 404,
        Kind.LIMITED: 429,
        Kind.UNAVAILABLE: 503,
        Kind.UPSTREAM: 502,
        Kind.UPSTREAM_REFUSED: 400,
        Kind.UPSTREAM_LIMITED: 429,
        Kind.UPSTREAM_TIMEOUT: 504,
        Kind.INTERNAL: 500,
    }.items()
}

OPENAI_CODES: dict[Kind, str] = {
    Kind.CONFLICT: "conflict",
    Kind.TOO_LARGE: "request_too_large",
    Kind.UNAUTHENTICATED: "invalid_api_key",
    Kind.FORBIDDEN: "insufficient_permissions",
    Kind.LIMITED: "rate_limit_exceeded",
    Kind.UNAVAILABLE: "overloaded",
    Kind.UPSTREAM: "upstream_error",
    Kind.UPSTREAM_LIMITED: "rate_limit_exceeded",
    Kind.UPSTREAM_TIMEOUT: "upstream_timeout",
    Kind.INTERNAL: "internal_error",
}

# Classes that OpenAI's words tell apart within a kind; the nearest base class counts.
_OPENAI_CLASS_CODES: dict[type[ParleyError], str | None] = {
    BadArgument: "invalid_value",
    WrongType: "invalid_type",
    KeyAbsent: None,
    KeyMalformed: None,
    SessionBusy: "conversation_locked",
    ModelUnknown: "model_not_found",
    ModelUnusable: "model_not_found",
}

_OPENAI_STATUS = {  # where the word decides
    "upstream_unavailable": 503,
    "model_not_found": 404,
    "method_not_supported": 405,
    "request_timeout": 408,
}

# RAGFlow 0.22 answers 200 and tells by the code (knowledge.md 0.1, 0.2). The statuses that remain belong to what it
# does not know: limits, a service that ends, bodies no server takes.
RAGFLOW_22: dict[Kind, Refusal] = {
    Kind.INVALID: Refusal(status=200, code=102),
    Kind.CONFLICT: Refusal(status=200, code=102),
    Kind.TOO_LARGE: Refusal(status=413, code=102),
    Kind.UNAUTHENTICATED: Refusal(status=200, code=109),
    Kind.FORBIDDEN: Refusal(status=200, code=108),
    Kind.MISSING: Refusal(status=200, code=102),
    Kind.LIMITED: Refusal(status=429, code=429),
    Kind.UNAVAILABLE: Refusal(status=503, code=500),
    Kind.UPSTREAM: Refusal(status=200, code=100),
    Kind.UPSTREAM_REFUSED: Refusal(status=200, code=100),
    Kind.UPSTREAM_LIMITED: Refusal(status=200, code=100),
    Kind.UPSTREAM_TIMEOUT: Refusal(status=200, code=100),
    Kind.INTERNAL: Refusal(status=200, code=100),
}

# Classes that 0.22 tells apart within a kind; the nearest base class counts.
RAGFLOW_22_CODES: dict[type[ParleyError], int] = {
    BadArgument: 101,
    WrongType: 100,
    NotPermitted: 108,
    NotAuthorized: 109,
    NotOperable: 103,
    DatasetsDiffer: 109,
    ChatNotWritten: 102,
    KeyNotWritten: 102,
    SessionNotWritten: 102,
    NotFound: 404,
    Taken: 409,
    Unsuitable: 400,
    NotTakenIn: 500,
    KeyAbsent: 0,  # a failure with the code of success: clients look at `data` (conversations.md 1.3)
    KeyMalformed: 0,
    PageKeyUnknown: 102,
    PageKeyAbsent: 100,
}

# Dify wants the code as the status too (knowledge.md 4.8).
DIFY: dict[Kind, Refusal] = {
    kind: Refusal(status=status, code=status)
    for kind, status in {
        Kind.INVALID: 400,
        Kind.CONFLICT: 400,
        Kind.TOO_LARGE: 413,
        Kind.UNAUTHENTICATED: 403,
        Kind.FORBIDDEN: 403,
        Kind.MISSING: 404,
        Kind.LIMITED: 429,
        Kind.UNAVAILABLE: 503,
        Kind.UPSTREAM: 500,
        Kind.UPSTREAM_REFUSED: 500,
        Kind.UPSTREAM_LIMITED: 500,
        Kind.UPSTREAM_TIMEOUT: 500,
        Kind.INTERNAL: 500,
    }.items()
}

ARGUMENT = Refusal(status=200, code=101)
"""What Dify is told of fields that are not there; only this one tells `data`."""

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


def refusal(kind: Kind, dialect: Dialect) -> Refusal:
    """Status and code that `dialect` gives for `kind`."""
    match dialect:
        case Dialect.NATIVE:
            return NATIVE[kind]
        case Dialect.OPENAI:
            return OPENAI[kind]
        case Dialect.OPENAI_CHAT:
            return OPENAI_CHAT[kind]
        case Dialect.RAGFLOW_22:
            return RAGFLOW_22[kind]
        case Dialect.DIFY:
            return DIFY[kind]
        case _:
            assert_never(dialect)


def refusal_of(error: ParleyError, dialect: Dialect) -> Refusal:
    """Status and code that `dialect` gives for `error`: by its kind, and in RAGFlow's by its class first."""
    by_kind = refusal(error.kind, dialect)
    if dialect is Dialect.DIFY:
        return ARGUMENT if isinstance(error, BadArgument) else by_kind
    if dialect is Dialect.OPENAI:
        return Refusal(status=_OPENAI_STATUS.get(openai_code(error) or "", by_kind.status), code=by_kind.code)
    if dialect is not Dialect.RAGFLOW_22:
        return by_kind
    code = next((RAGFLOW_22_CODES[base] for base in type(error).__mro__ if base in RAGFLOW_22_CODES), by_kind.code)
    return Refusal(status=by_kind.status, code=code)


def openai_code(error: ParleyError) -> str | None:
    """Return OpenAI's word for `error`: its own, else that of its class, else that of its kind (openai.md 1.6)."""
    if error.code is not None:
        return error.code
    for base in type(error).__mro__:
        if base in _OPENAI_CLASS_CODES:
            return _OPENAI_CLASS_CODES[base]
    return OPENAI_CODES.get(error.kind)
