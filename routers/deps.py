"""What routes ask for: the caller, a unit of work, the services; and the route class that checks the key first."""

import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import orjson
import structlog
from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from app.domain.limits import LimitsConfig
from app.domain.principals import BotKind, Scope
from app.domain.principals import Caller as Principal
from app.engine.ask import Recognition
from app.engine.turns import TurnEngine
from app.security.authenticator import Authenticator
from app.security.limits import Limits, StreamSlot
from app.security.quotas import Quotas
from app.services.completions import Completions
from app.wire import compat22
from app.wire.dialects import Dialect
from repositories.unit_of_work import Database, UnitOfWork
from routers.repeating import recognition_of
from routers.responses import API_KEY, PAGE_TOKEN

_ENVELOPE_BYTES = 1024 * 1024


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

    @property
    def upload_total_bytes(self) -> int:
        """The largest body of an upload: its files, and what boundaries and the parts' own headers add."""
        return self.upload_max_bytes * self.upload_max_files + _ENVELOPE_BYTES


_WITH_22 = (Dialect.NATIVE, Dialect.OPENAI_CHAT)  # what RAGFlow 0.22 has routes for


class KeyedRoute(APIRoute):
    """A route that knows its caller before it reads the body (conversations.md 1.4: auth is checked first)."""

    dialect = Dialect.NATIVE
    opener = API_KEY

    def __init__(self, *arguments: Any, **options: Any) -> None:
        told = {"security": [{self.opener: []}]} | (options.pop("openapi_extra", None) or {})
        super().__init__(*arguments, openapi_extra=told, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler with the check."""
        handle = super().get_route_handler()
        scope = self._scope()
        template = self.path
        required = compat22.required_keys(template)

        async def keyed(request: Request) -> Response:
            is_compat = speaks_22(request) and self.dialect in _WITH_22
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

    opener = PAGE_TOKEN
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
    if caller.quota is not None:
        quotas: Quotas = request.app.state.quotas
        request.state.token_standing = partial(
            quotas.standing, caller.tenant_id, caller.quota, since_s=time.monotonic()
        )


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
    """Return a JSON answer of ours in the words of RAGFlow 0.22; streams and files, JSON too, as they are."""
    if not isinstance(response, JSONResponse):
        return response
    body = orjson.loads(bytes(response.body))
    if not isinstance(body, dict):
        return response
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    status = 200 if response.status_code < 300 else response.status_code
    return OrjsonResponse(compat22.success(method, template, body), status, headers=kept)


def speaks_22(request: Request) -> bool:
    """Say whether the caller speaks RAGFlow 0.22."""
    return bool(getattr(request.state, "compat", False))


async def _compat22(request: Request) -> bool:
    return speaks_22(request)


Compat22 = Annotated[bool, Depends(_compat22)]
"""Whether the caller speaks RAGFlow 0.22, where that changes a value and not only its wrapping."""


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
        recognition=await recognition_of(request),
    )


TurnCallDep = Annotated[TurnCall, Depends(_turn_call)]
