"""What happens to every request before a route is chosen, and to every answer: pure ASGI, so streams stay streams."""

import re
import secrets
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import Broken, Invalid, ParleyError, TooLarge
from app.domain.limits import Standing
from app.security.limits import StreamSlot
from app.telemetry.metrics import METRICS, Metrics
from app.wire import compat22
from app.wire.errors import UNEXPECTED, Dialect
from app.wire.limits import limit_headers
from routers.deps import EdgeConfig
from routers.errors import answer

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
_OPENAI_CHAT_PATH = re.compile(r"/api/v1/(?:chats|agents)_openai/")
_DOUBLED = re.compile(rb"/{2,}")
_MULTIPART_SLACK_BYTES = 1024 * 1024  # for the parts' own headers
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
        native = Dialect.RAGFLOW_22 if is_compat else Dialect.NATIVE
        if scope["path"].startswith(_DIFY_PATH):
            native = Dialect.DIFY
        if is_v1:
            native = Dialect.OPENAI
        elif is_openai and not is_compat:
            native = Dialect.OPENAI_CHAT
        state["dialect"] = native
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, head_s, is_stream = 0, 0.0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, head_s, is_stream
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
        for name, header in _TOLD_HEADERS:
            if (value := _header(scope, header)) is not None:
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


class Edge:
    """Refuses what no route should see, tidies paths, caps bodies, and answers for what a route did not catch."""

    def __init__(self, app: ASGIApp, config: EdgeConfig) -> None:
        self._app = app
        self._json_cap = config.body_max_bytes
        self._upload_cap = config.upload_max_bytes * config.upload_max_files + _MULTIPART_SLACK_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        dialect: Dialect = scope["state"]["dialect"]
        try:
            _check_level(scope)
            _tidy(scope)
            body = _Body(receive, self._cap(scope))
            body.check(scope)
        except ParleyError as error:
            await answer(error, dialect)(scope, receive, send)
            return
        await self._guarded(scope, body, send)

    def _cap(self, scope: Scope) -> int:
        is_upload = (_header(scope, b"content-type") or b"").lower().startswith(b"multipart/")
        return self._upload_cap if is_upload else self._json_cap

    async def _guarded(self, scope: Scope, body: "_Body", send: Send) -> None:
        has_begun = False

        async def send_unless_over(message: Message) -> None:
            nonlocal has_begun
            if body.is_over and not has_begun:
                return  # whatever the route makes of a body that broke off, it is too large
            has_begun = True
            await send(message)

        failure: ParleyError | None = None
        try:
            await self._app(scope, body.receive, send_unless_over)
        except Exception as error:
            if not body.is_over:
                log.error("request_failed", route=route_template(scope), exc_info=error)
            if has_begun:
                raise
            failure = Broken(_unexpected(scope, error))
        if body.is_over and not has_begun:
            failure = body.refusal
        if failure is not None:
            await answer(failure, scope["state"]["dialect"])(scope, body.receive, send)


def _unexpected(scope: Scope, error: Exception) -> str:
    is_22 = scope["state"]["dialect"] is Dialect.RAGFLOW_22
    return compat22.exception(error, UNEXPECTED) if is_22 else UNEXPECTED


class _Body:
    """Counts a body as it comes, and breaks it off past its cap."""

    def __init__(self, receive: Receive, cap: int) -> None:
        self._receive = receive
        self._cap = cap
        self._size = 0
        self.is_over = False
        self.refusal = TooLarge(f"The request body is over the limit of {cap} bytes.")

    def check(self, scope: Scope) -> None:
        """Return when the length that is told is within the cap.

        Raises:
            TooLarge: it is not.
        """
        told = _header(scope, b"content-length")
        if told is not None and told.isdigit() and int(told) > self._cap:
            raise self.refusal

    async def receive(self) -> Message:
        """Hand on the next message of the server."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._cap:
                self.is_over = True
                raise self.refusal
        return message


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
    given = _header(scope, b"x-request-id")
    if given is not None and _SANE_ID.fullmatch(given):
        return given.decode()
    return _new_request_id()


def _new_request_id() -> str:
    return f"req_{secrets.token_hex(16)}"


def _header(scope: Scope, wanted: bytes) -> bytes | None:
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
    named = _header(scope, compat22.HEADER.encode())
    return default if named is None else compat22.LEVELS.get(named.decode("latin-1").strip(), default)


def _check_level(scope: Scope) -> None:
    """Refuse a dialect nobody speaks.

    Raises:
        Invalid: the header names one.
    """
    named = _header(scope, compat22.HEADER.encode())
    if named is not None and named.decode("latin-1").strip() not in compat22.LEVELS:
        raise Invalid(f"Unknown compat level: {named.decode('latin-1').strip()[:40]}")


def _tidy(scope: Scope) -> None:
    """Drop doubled and trailing slashes from the path (conversations.md 1.2).

    Raises:
        Invalid: there is a NUL in the URL, which no text of ours can hold.
    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if b"%00" in raw or b"%00" in scope["query_string"] or b"\0" in raw:
        raise Invalid("The URL must not contain a NUL character.")
    tidy = _DOUBLED.sub(b"/", raw)
    if len(tidy) > 1:
        tidy = tidy.rstrip(b"/")
    if tidy != raw:
        scope["raw_path"] = tidy
        scope["path"] = unquote(tidy.decode("latin-1"))
