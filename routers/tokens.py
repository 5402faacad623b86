"""Routes of API tokens (conversations.md 9), under their newer paths and their older ones."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request

from app.domain.principals import BotKind, Scope
from app.domain.search_apps import SearchAppId, SearchAppMissing
from app.services.tokens import TokenService, TokenWish, visit_of
from app.wire.envelope import success
from app.wire.tokens import listed_token, new_token, rotated_token, visitor_token
from routers.deps import SCOPE_CHAT, Caller, KeyedRoute, Unit
from routers.responses import ENVELOPE
from schemas.bodies import UrlText
from schemas.tokens import TokenCreate, TokenRotate, VisitorTokenCreate

router = APIRouter(route_class=KeyedRoute, tags=["tokens"], responses=ENVELOPE)

_MANAGE: dict[str, Any] = {"x-scope": Scope.MANAGE.value}


def _service(request: Request, unit: Unit, caller: Caller) -> TokenService:
    return TokenService(unit, caller, request.app.state.authenticator.pepper)


Tokens = Annotated[TokenService, Depends(_service)]


@router.post("/api/v1/system/tokens", openapi_extra=_MANAGE)
@router.post("/v1/system/new_token", openapi_extra=_MANAGE)
async def create_token(service: Tokens, body: Annotated[TokenCreate | None, Body()] = None) -> dict[str, Any]:
    """Make an API key and its embed token; no later answer shows these secrets again."""
    sent = body or TokenCreate()
    wish = TokenWish(
        name=sent.name or "",
        scopes=sent.named_scopes(),
        expires_at=sent.end(),
        tokens_per_day=sent.tokens_per_day,
    )
    return success(new_token(await service.create(wish)))


@router.get("/api/v1/system/tokens", openapi_extra=_MANAGE)
@router.get("/v1/system/token_list", openapi_extra=_MANAGE)
async def list_tokens(service: Tokens) -> dict[str, Any]:
    """List the API keys, with the first characters and the last four of their secrets."""
    return success([listed_token(each) for each in await service.all()])


@router.delete("/api/v1/system/tokens/{token}", openapi_extra=_MANAGE)
@router.delete("/v1/system/token/{token}", openapi_extra=_MANAGE)
async def delete_token(
    token: UrlText,
    service: Tokens,
    force: Annotated[UrlText, Query(description="`true` lets a key delete itself.")] = "false",
) -> dict[str, Any]:
    """End a key: named by its secret, its id, or as lists show it. Its embed token and visitors' tokens end with it."""
    await service.delete(token, is_forced=force in ("true", "True", "1"))
    return success(True)


@router.post("/api/v1/system/tokens/{token}/rotate", openapi_extra=_MANAGE)
async def rotate_token(
    token: UrlText, service: Tokens, body: Annotated[TokenRotate | None, Body()] = None
) -> dict[str, Any]:
    """Make new secrets for a key; the old ones work on for `overlap_s` seconds."""
    pair, old = await service.rotate(token, (body or TokenRotate()).overlap_s)
    return success(rotated_token(pair, old))


@router.post("/api/v1/searches/{search_id}/visitor_tokens", openapi_extra=SCOPE_CHAT)
async def create_search_visitor_token(
    search_id: UrlText, body: VisitorTokenCreate, service: Tokens, unit: Unit
) -> dict[str, Any]:
    """Make a token with which a page uses this search app as one visitor, for ten minutes at most."""
    visit = visit_of(BotKind.SEARCH, search_id, origin=body.origin, visitor=body.visitor)
    if await unit.search_apps.get(SearchAppId(search_id)) is None:
        raise SearchAppMissing("Can't find this Search App!")
    return success(visitor_token(await service.visitor(visit, body.ttl_s)))
