"""Which pages of other origins may read what routes for pages answer (conversations.md 7.1; openai.md 1.3)."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.principals import Caller
from routers.middleware import EXPOSED_HEADERS, header

PAGE_ROUTES = re.compile(r"/api/v1/(?:chatbots|agentbots|searchbots)/(?!.*/visitor_tokens/?$)")
"""Routes that pages call; minting a visitor's token is for servers."""

_PREFLIGHT_MAX_AGE_S = b"600"
_EXPOSED = ", ".join(EXPOSED_HEADERS).encode()


class EmbedCors:
    """Answers preflights of routes for pages, and names the origin in answers that its page may read.

    A preflight comes without a token, so it is allowed whatever its origin: it opens nothing. An answer may be read by
    pages of the origin that the visitor's token names, or, for an embed token, of those the operator allows; `*` in
    `origins` allows any. A call without a caller is refused with nothing in the answer but why, so any page may read
    that: one whose token has ended has to learn it.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...] = ()) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        origin = header(scope, b"origin") if scope["type"] == "http" and PAGE_ROUTES.match(scope["path"]) else None
        if origin is None:
            await self._app(scope, receive, send)
            return
        wanted = header(scope, b"access-control-request-method")
        if scope["method"] == "OPTIONS" and wanted is not None:
            await _allow(origin, header(scope, b"access-control-request-headers"), send)
            return

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if not pair[0].startswith(b"access-control-")]
                kept.append((b"vary", b"Origin"))
                if self._may_read(origin, scope["state"].get("caller")):
                    kept += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED)]
                message = {**message, "headers": kept}
            await send(message)

        await self._app(scope, receive, send_readable)

    def _may_read(self, origin: bytes, caller: Caller | None) -> bool:
        told = origin.decode("latin-1")
        if caller is None:
            return True
        if caller.visit is not None:
            return told == caller.visit.origin
        return told in self._origins or "*" in self._origins


async def _allow(origin: bytes, headers: bytes | None, send: Send) -> None:
    answered = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-max-age", _PREFLIGHT_MAX_AGE_S),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
    ]
    if headers is not None:
        answered.append((b"access-control-allow-headers", headers))
    await send({"type": "http.response.start", "status": 204, "headers": answered})
    await send({"type": "http.response.body", "body": b""})
