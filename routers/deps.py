"""What routes ask for: the caller, a unit of work, the services; and the route class that checks the key first."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
import structlog
from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from app.domain.errors import Invalid
from app.domain.limits import LimitsConfig
from app.domain.principals import BotKind, Scope
from app.domain.principals import Caller as Principal
from app.engine.ask import Recognition
from app.engine.turns import TurnEngine
from app.security.authenticator import Authenticator
from app.security.limits import Limits, StreamSlot
from app.services.completions import Completions
from app.wire import compat22
from app.wire.errors import Dialect
from repositories.unit_of_work import Database, UnitOfWork

bearer = HTTPBearer(auto_error=False, description="An API key: `parley keys create`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """Settings the edge needs: sizes in bytes, times in seconds."""

    ping_s: float = 15.0
    expose_prompt: bool = False
    upload_max_bytes: int = 64 * 1024 * 1024
    upload_max_files: int = 64
    body_max_bytes: int = 8 * 1024 * 1024
    duplicate_dataset_name: Literal["rename", "reject"] = "rename"
    is_compat22: bool = False
    limits: LimitsConfig = field(default_factory=LimitsConfig)


_WITH_22 = (Dialect.NATIVE, Dialect.OPENAI_CHAT)  # what RAGFlow 0.22 has routes for


class KeyedRoute(APIRoute):
    """A route that knows its caller before it reads the body (conversations.md 1.4: auth is checked first)."""

    dialect = Dialect.NATIVE

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler with the check."""
        handle = super().get_route_handler()
        scope = self._scope()
        template = self.path
        required = compat22.required_keys(template)

        async def keyed(request: Request) -> Response:
            is_compat = getattr(request.state, "compat", False) and self.dialect in _WITH_22
            request.state.dialect = Dialect.RAGFLOW_22 if is_compat else self.dialect
            if is_compat and required:
                compat22.check_required(await request.body(), required)
            authenticator: Authenticator = request.app.state.authenticator
            caller = await self._find(authenticator, request.headers.get("authorization"))
            request.state.caller = caller
            structlog.contextvars.bind_contextvars(tenant=caller.tenant_id)
            await _count(request, caller)
            caller.require(scope)
            self._check_place(request, caller)
            response = await handle(request)
            return _worded_as_22(request.method, template, response) if is_compat else response

        return keyed

    async def _find(self, authenticator: Authenticator, header: str | None) -> Principal:
        return await authenticator.caller(header)

    def _check_place(self, request: Request, caller: Principal) -> None:
        """Refuse a caller whose key is for another place; an API key has none."""

    def _scope(self) -> Scope:
        named = (self.openapi_extra or {}).get("x-scope")
        if named is not None:
            return Scope(named)
        return Scope.READ if (self.methods or set()) <= {"GET", "HEAD"} else Scope.MANAGE


class OpenAIKeyedRoute(KeyedRoute):
    """A keyed route whose errors official OpenAI clients understand (conversations.md 5.1)."""

    dialect = Dialect.OPENAI_CHAT


class EmbedRoute(KeyedRoute):
    """A route for pages: embed and visitor tokens open it, API keys do not (conversations.md 7.1).

    A visitor comes from its origin, for a bot of `bot_kind`. Where the path names the bot, as `bot_parameter`, it is
    checked here; a route that learns the bot's id otherwise calls `caller.require_bot(kind, id)`.
    """

    bot_kind: BotKind
    bot_parameter: str | None = None

    async def _find(self, authenticator: Authenticator, header: str | None) -> Principal:
        return await authenticator.page_caller(header)

    def _check_place(self, request: Request, caller: Principal) -> None:
        caller.require_origin(request.headers.get("origin"))
        caller.require_bot_kind(self.bot_kind)
        if self.bot_parameter is not None:
            caller.require_bot(self.bot_kind, request.path_params[self.bot_parameter])


class ChatBotRoute(EmbedRoute):
    """A route of an assistant on a page."""

    bot_kind = BotKind.CHAT
    bot_parameter = "dialog_id"


class SearchBotRoute(EmbedRoute):
    """A route of a search app on a page: calls `caller.require_bot(BotKind.SEARCH, search_id)` itself."""

    bot_kind = BotKind.SEARCH


class V1Route(KeyedRoute):
    """A keyed route of `/v1`: failures in OpenAI's own envelope (openai.md 1.6)."""

    dialect = Dialect.OPENAI


SCOPE_CHAT: dict[str, Any] = {"x-scope": Scope.CHAT.value}
SCOPE_READ: dict[str, Any] = {"x-scope": Scope.READ.value}


async def _count(request: Request, caller: Principal) -> None:
    """Count the call with its key; `routers/middleware.py` tells on every answer how the key stands.

    Raises:
        Limited: it is one too many (conversations.md 11).
    """
    limits: Limits = request.app.state.limits
    standing = await limits.requests.enter((caller.tenant_id, caller.limit_key))
    if standing is not None:
        request.state.standing = standing
        standing.check()


async def take_stream(request: Request) -> None:
    """Count one more open SSE stream of the caller's key; call it before anything is opened or stored.

    Every route that answers with SSE does: `await call.take_stream()` where it has a `TurnCall`, else
    `await take_stream(request)` or `dependencies=[Depends(take_stream)]`. Nothing has to be given back:
    `routers/middleware.py` does when the response has ended, whatever way. A second call of the same request is free.

    Raises:
        Limited: the key has as many streams open as it may (conversations.md 11).
    """
    if getattr(request.state, "stream_slot", None) is not None:
        return
    caller: Principal = request.state.caller
    limits: Limits = request.app.state.limits
    slot: StreamSlot | None = await limits.streams.open((caller.tenant_id, caller.limit_key))
    request.state.stream_slot = slot


async def _caller(request: Request) -> Principal:
    caller: Principal = request.state.caller
    return caller


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _edge(request: Request) -> EdgeConfig:
    edge: EdgeConfig = request.app.state.edge
    return edge


Caller = Annotated[Principal, Depends(_caller)]
DatabaseDep = Annotated[Database, Depends(_database)]
Edge = Annotated[EdgeConfig, Depends(_edge)]


async def _unit(caller: Caller, database: DatabaseDep) -> AsyncGenerator[UnitOfWork, None]:
    async with database.unit(caller.tenant_id) as unit:
        yield unit


Unit = Annotated[UnitOfWork, Depends(_unit, scope="function")]  # commits before the first byte


class OrjsonResponse(JSONResponse):
    """A JSON answer; NaN and infinite numbers become null."""

    def render(self, content: Any) -> bytes:
        """Encode with orjson."""
        return orjson.dumps(content)


def _worded_as_22(method: str, template: str, response: Response) -> Response:
    """Return a JSON answer in the words of RAGFlow 0.22; streams and files as they are."""
    if not isinstance(response, JSONResponse) and response.media_type != "application/json":
        return response
    body = orjson.loads(bytes(response.body))
    if not isinstance(body, dict):
        return response
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    status = 200 if response.status_code < 300 else response.status_code
    return OrjsonResponse(compat22.success(method, template, body), status, headers=kept)


async def _compat22(request: Request) -> bool:
    return bool(getattr(request.state, "compat", False))


Compat22 = Annotated[bool, Depends(_compat22)]
"""Whether the caller speaks RAGFlow 0.22, where that changes a value and not only its wrapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatable:
    """The `Idempotency-Key` of a call that creates, if it brought one (design.md 1.5)."""

    key: str | None
    route: str
    body_hash: bytes
    caller: Principal

    async def once(self, unit: UnitOfWork, create: Callable[[], Awaitable[Any]]) -> Response:
        """Create inside `unit` and answer 200, or answer again what the first call with this key did.

        Raises:
            KeyReused: the key came with another request before.
        """
        if self.key is None:
            return OrjsonResponse(await create())
        kept = await unit.idempotency.claim(
            api_key_id=self.caller.key_id, key=self.key, route=self.route, body_hash=self.body_hash
        )
        if kept is not None and kept.body is not None and kept.status is not None:
            again = {"Idempotent-Replayed": "true"}
            return Response(kept.body, kept.status, media_type="application/json", headers=again)
        response = OrjsonResponse(await create())
        await unit.idempotency.keep(
            api_key_id=self.caller.key_id, key=self.key, status=response.status_code, body=bytes(response.body)
        )
        return response


async def repeatable(request: Request, caller: Caller) -> Repeatable:
    """Read what makes this call recognisable when it comes again."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Invalid("Idempotency-Key must have 1 to 255 characters.")
    return Repeatable(key=key, route=route_name(request), body_hash=await body_hash(request), caller=caller)


async def _recognition(request: Request) -> Recognition:
    retries = request.headers.get("x-stainless-retry-count", "")
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Invalid("Idempotency-Key must have 1 to 255 characters.")
    return Recognition(
        route=route_name(request),
        body_hash=await body_hash(request),
        request_id=getattr(request.state, "request_id", ""),
        idempotency_key=key,
        retry_count=int(retries) if retries.isdecimal() and len(retries) < 4 else None,
    )


async def _engine(request: Request) -> TurnEngine:
    engine: TurnEngine = request.app.state.engine
    return engine


Engine = Annotated[TurnEngine, Depends(_engine)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCall:
    """All that a route which opens a turn asks for, in one: each dependency costs, and this path is the hot one."""

    request: Request
    caller: Principal
    engine: TurnEngine
    completions: Completions
    edge: EdgeConfig
    recognition: Recognition

    async def take_stream(self) -> None:
        """Count one more open SSE stream; see `take_stream` of this module, and call it before the turn is opened."""
        await take_stream(self.request)


async def _turn_call(request: Request) -> TurnCall:
    state = request.app.state
    return TurnCall(
        request=request,
        caller=request.state.caller,
        engine=state.engine,
        completions=state.completions,
        edge=state.edge,
        recognition=await _recognition(request),
    )


TurnCallDep = Annotated[TurnCall, Depends(_turn_call)]

RepeatableCall = Annotated[Repeatable, Depends(repeatable)]


def route_name(request: Request) -> str:
    """Return method and path, e.g. `POST /api/v1/chats`."""
    path = request.url.path.rstrip("/").replace("\x00", "\ufffd")  # stored beside the body's hash
    return f"{request.method} {path}"


async def body_hash(request: Request) -> bytes:
    """Return the SHA-256 of the body as it came."""
    return hashlib.sha256(await request.body()).digest()
