"""The edge of the service: what no route should see is refused, bodies have caps, and whatever fails is answered."""

import re
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import Broken, Invalid, ParleyError, TooLarge
from app.wire import compat22
from app.wire.dialects import Dialect
from app.wire.errors import UNEXPECTED
from routers.deps import EdgeConfig
from routers.errors import answer
from routers.middleware import header, route_template

log = structlog.get_logger()

_DOUBLED = re.compile(rb"/{2,}")


class Edge:
    """Refuses what no route should see, tidies paths, caps bodies, and answers for what a route did not catch.

    Every body has the cap of JSON bodies; a route that takes uploads calls `request.state.widen_body()` for theirs.
    """

    def __init__(self, app: ASGIApp, config: EdgeConfig) -> None:
        self._app = app
        self._json_cap = config.body_max_bytes
        self._upload_cap = config.upload_total_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        dialect: Dialect = scope["state"]["dialect"]
        try:
            _check_level(scope)
        except Invalid as error:  # told in the default dialect, whatever the mount or the setting says
            told = Dialect.NATIVE if dialect is Dialect.RAGFLOW_22 else dialect
            await answer(error, told)(scope, receive, send)
            return
        try:
            _tidy(scope)
            body = _Body(receive, self._json_cap, self._upload_cap)
            body.check(scope)
        except ParleyError as error:
            await answer(error, dialect)(scope, receive, send)
            return
        scope["state"]["widen_body"] = body.widen
        await self._guarded(scope, body, send)

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

    def __init__(self, receive: Receive, cap: int, upload_cap: int) -> None:
        self._receive = receive
        self._cap = cap
        self._upload_cap = upload_cap
        self._size = 0
        self.is_over = False

    def widen(self) -> None:
        """Let it be as large as an upload may be."""
        self._cap = max(self._cap, self._upload_cap)

    def check(self, scope: Scope) -> None:
        """Return when the length that is told is within the cap; that of a multipart body within the cap of uploads.

        Raises:
            TooLarge: it is not.
        """
        told = header(scope, b"content-length")
        is_upload = (header(scope, b"content-type") or b"").lower().startswith(b"multipart/")
        cap = max(self._cap, self._upload_cap) if is_upload else self._cap
        if told is not None and told.isdigit() and int(told) > cap:
            raise _too_large(cap)

    async def receive(self) -> Message:
        """Hand on the next message of the server."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._cap:
                self.is_over = True
                raise self.refusal
        return message

    @property
    def refusal(self) -> TooLarge:
        """What is said of a body that is over."""
        return _too_large(self._cap)


def _too_large(cap: int) -> TooLarge:
    return TooLarge(f"The request body is over the limit of {cap} bytes.")


def _check_level(scope: Scope) -> None:
    """Refuse a dialect nobody speaks.

    Raises:
        Invalid: the header names one.
    """
    named = header(scope, compat22.HEADER.encode())
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
