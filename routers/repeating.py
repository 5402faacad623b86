"""Calls that come again: what makes one recognisable, and the first answer for those that follow (design.md 1.5)."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from app.domain.errors import Invalid
from app.domain.principals import Caller
from app.engine.ask import Recognition
from repositories.unit_of_work import UnitOfWork

_KEY_MOST = 255


class WrittenJson(JSONResponse):
    """A JSON answer whose bytes are there already."""

    def render(self, content: bytes) -> bytes:
        """Return them."""
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatable:
    """The `Idempotency-Key` of a call that creates, if it brought one."""

    key: str | None
    route: str
    body_hash: bytes
    caller: Caller

    async def once(self, unit: UnitOfWork, create: Callable[[], Awaitable[Any]]) -> Response:
        """Create inside `unit` and answer 200, or answer again what the first call with this key did.

        Raises:
            KeyReused: the key came with another request before.
        """
        if self.key is None:
            return WrittenJson(orjson.dumps(await create()))
        kept = await unit.idempotency.claim(
            api_key_id=self.caller.key_id, key=self.key, route=self.route, body_hash=self.body_hash
        )
        if kept is not None and kept.body is not None and kept.status is not None:
            return WrittenJson(kept.body, kept.status, {"Idempotent-Replayed": "true"})
        body = orjson.dumps(await create())
        await unit.idempotency.keep(api_key_id=self.caller.key_id, key=self.key, status=200, body=body)
        return WrittenJson(body)


async def repeatable(request: Request) -> Repeatable:
    """Read what makes this call recognisable when it comes again."""
    return Repeatable(
        key=idempotency_key(request),
        route=route_name(request),
        body_hash=await _body_hash(request),
        caller=request.state.caller,
    )


RepeatableCall = Annotated[Repeatable, Depends(repeatable)]


async def recognition_of(request: Request) -> Recognition:
    """Read what makes this call, which opens a turn, recognisable when it comes again."""
    retries = request.headers.get("x-stainless-retry-count", "")
    return Recognition(
        route=route_name(request),
        body_hash=await _body_hash(request),
        request_id=getattr(request.state, "request_id", ""),
        idempotency_key=idempotency_key(request),
        retry_count=int(retries) if retries.isdecimal() and len(retries) < 4 else None,
    )


def idempotency_key(request: Request) -> str | None:
    """Return the `Idempotency-Key` that a call brought.

    Raises:
        Invalid: it is empty, or too long.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= _KEY_MOST:
        raise Invalid(f"Idempotency-Key must have 1 to {_KEY_MOST} characters.")
    return key


def route_name(request: Request) -> str:
    """Return method and path, e.g. `POST /api/v1/chats`."""
    path = request.url.path.rstrip("/").replace("\x00", "\ufffd")  # stored beside the body's hash
    return f"{request.method} {path}"


async def _body_hash(request: Request) -> bytes:
    """Return the SHA-256 of the body as it came."""
    return hashlib.sha256(await request.body()).digest()
