"""What happens to every request before a route is chosen, and to every answer: pure ASGI, so streams stay streams."""

import re
import secrets
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import anyio
import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.limits import Standing, TokenStanding
from app.security.limits import StreamSlot
from app.telemetry.metrics import METRICS, Metrics
from app.wire import compat22
from app.wire.dialects import Dialect
from app.wire.limits import Headers, limit_headers, token_headers

log = structlog.get_logger()

EXPOSED_HEADERS = (  # openai.md 1.3; a wildcard within a name is no thing browsers know
    "x-request-id",
    "x-turn-id",
    "x-total-count",
    "x-total-relation",
    "x-next-cursor",
    "x-messages-before",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "openai-processing-ms",
    "openai-poll-after-ms",
    "idempotent-replayed",
)

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_V1_PATH = re.compile(r"/v1(?:/(?!(?:system|document|api|conversation|search)/)|$)")  # those are RAGFlow's
_OPENAI_CHAT_PATH = re.compile(r"/api/v1/(?:(?:chats|agents)_)?openai/")
_DIFY_PATH = "/api/v1/dify/"
_TOLD_HEADERS = (("retry", b"x-stainless-retry-count"), ("client_request_id", b"x-client-request-id"))  # openai.md 1.2
_UNSEEN = frozenset({"/livez", "/readyz", "/metrics", "/v1/system/healthz", "/api/v1/system/healthz"})


class RequestContext:
    """Gives every request an id and every answer that id; one log line and one count per request."""

    def __init__(self, app: ASGIApp, metrics: Metrics = METRICS, *, is_compat22: bool = False) -> None:
        self._app = app
        self._metrics = metrics
        self._is_compat22 = is_compat22

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        is_v1 = _V1_PATH.match(scope["path"]) is not None
        request_id = _new_request_id() if is_v1 else _request_id(scope)  # openai.md 1.2: unique, so never the caller's
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        is_compat = _take_prefix(scope) or _chosen(scope, default=self._is_compat22)
        state["compat"] = bool(is_compat)
        is_openai = is_v1 or _OPENAI_CHAT_PATH.match(scope["path"]) is not None
        state["dialect"] = _dialect(scope["path"], is_v1=is_v1, is_openai=is_openai, is_compat=bool(is_compat))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, head_s, is_stream = 0, 0.0, False
        head_sent: anyio.Event | None = None  # while the head waits for the database, nothing may overtake it

        async def send_with_id(message: Message) -> None:
            nonlocal status, head_s, is_stream, head_sent
            if message["type"] == "http.response.start":
                head_s = perf_counter() - begun
                status = message["status"]
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"]
                headers.append((b"x-request-id", request_id.encode()))
                if is_openai:
                    headers.append((b"openai-processing-ms", b"%d" % (head_s * 1000)))
                    headers.append((b"openai-version", b"2020-10-01"))
                standing: Standing | None = state.get("standing")
                if standing is not None:
                    headers += limit_headers(standing, is_openai=is_openai)
                if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
                    is_stream = True
                    self._metrics.streams_open.inc()
                message = {**message, "headers": headers}
                if is_openai and "token_standing" in state:
                    head_sent = anyio.Event()
                    try:
                        headers += await _token_headers(state["token_standing"])
                        await send(message)
                    finally:
                        head_sent.set()
                    return
            elif head_sent is not None:
                await head_sent.wait()
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            slot: StreamSlot | None = state.get("stream_slot")
            if slot is not None:
                slot.release()
            if is_stream:
                self._metrics.streams_open.dec()
            self._told(scope, status, head_s, perf_counter() - begun, is_stream=is_stream)

    def _told(self, scope: Scope, status: int, head_s: float, whole_s: float, *, is_stream: bool) -> None:
        template = route_template(scope)
        shown = str(status or 499)  # the caller left before there was an answer
        self._metrics.requests.labels(scope["method"] if template else "other", template or "none", shown).inc()
        if template:
            self._metrics.request_seconds.labels(template).observe(head_s)
        caller = scope["state"].get("caller")
        fields: dict[str, Any] = {"stream_ms": round(whole_s * 1000, 1)} if is_stream else {}
        if caller is not None:
            fields["tenant"] = caller.tenant_id
        for name, wanted in _TOLD_HEADERS:
            if (value := header(scope, wanted)) is not None:
                fields[name] = value[:128].decode("latin-1")
        told = log.debug if template in _UNSEEN else log.info
        told(
            "request",
            method=scope["method"],
            route=template,
            status=int(shown),
            ms=round((head_s or whole_s) * 1000, 1),
            **fields,
        )


def _dialect(path: str, *, is_v1: bool, is_openai: bool, is_compat: bool) -> Dialect:
    """Return the dialect of failures before a route is known."""
    if is_v1:
        return Dialect.OPENAI
    if is_openai and not is_compat:
        return Dialect.OPENAI_CHAT
    if path.startswith(_DIFY_PATH):
        return Dialect.DIFY
    return Dialect.RAGFLOW_22 if is_compat else Dialect.NATIVE


async def _token_headers(ask: Callable[[], Awaitable[TokenStanding | None]]) -> Headers:
    standing = await ask()
    return token_headers(standing) if standing is not None else []


def cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Let pages of `origins` call: a preflight allows the headers it asks for (openai.md 1.3)."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
        allow_headers=("*",),
        expose_headers=EXPOSED_HEADERS,
    )


def route_template(scope: Scope) -> str | None:
    """Return the template of the route that was chosen, e.g. `/api/v1/chats/{chat_id}`; None when none was."""
    return getattr(scope.get("route"), "path", None)


def _request_id(scope: Scope) -> str:
    given = header(scope, b"x-request-id")
    if given is not None and _SANE_ID.fullmatch(given):
        return given.decode()
    return _new_request_id()


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(16)}"


def header(scope: Scope, wanted: bytes) -> bytes | None:
    """Return the first header of that name, which is in small letters."""
    return next((value for name, value in scope["headers"] if name == wanted), None)


def _take_prefix(scope: Scope) -> bool:
    """Take the mount of RAGFlow 0.22 off the path, and tell whether it was there (conversations.md 1.1)."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    mount = compat22.PREFIX.encode()
    if not raw.startswith(mount + b"/"):
        return False
    scope["raw_path"] = raw[len(mount) :]
    scope["path"] = unquote(scope["raw_path"].decode("latin-1"))
    return True


def _chosen(scope: Scope, *, default: bool) -> bool:
    named = header(scope, compat22.HEADER.encode())
    return default if named is None else compat22.LEVELS.get(named.decode("latin-1").strip(), default)
