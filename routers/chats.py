"""Routes of chats."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from app.domain.ids import ChatId
from app.services.chats import CatalogueModels, ChatService
from app.services.listing import read_listing
from app.services.prompts import SYSTEM
from app.wire.chats import chat_object
from app.wire.envelope import success
from app.wire.listing import deletion, total_header
from routers.deps import KeyedRoute, OrjsonResponse, RepeatableCall, Unit
from routers.responses import ERRORS
from schemas.bodies import DeletionBody, UrlText
from schemas.chats import ChatBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["chats"], responses=ERRORS)


def _service(request: Request, unit: Unit) -> ChatService:
    state = request.app.state
    system = getattr(state, "default_system_prompt", None) or SYSTEM
    return ChatService(unit, CatalogueModels(state.catalogue), default_system=system)


Chats = Annotated[ChatService, Depends(_service)]
ChatBodyOrNone = Annotated[ChatBody | None, Body()]


@router.post("/chats")
async def create_chat(service: Chats, unit: Unit, call: RepeatableCall, body: ChatBodyOrNone = None) -> Response:
    """Make an assistant."""

    async def create() -> dict[str, object]:
        return success(chat_object(await service.create(body.sent() if body else {})))

    return await call.once(unit, create)


@router.get("/chats")
async def list_chats(
    service: Chats,
    page: UrlText = "1",
    page_size: UrlText = "30",
    orderby: UrlText = "create_time",
    desc: UrlText = "true",
    chat_id: Annotated[UrlText, Query(alias="id")] = "",
    name: UrlText = "",
    keywords: UrlText = "",
    owner_ids: Annotated[list[UrlText] | None, Query()] = None,
) -> Response:
    """List assistants; the header `X-Total-Count` tells how many there are."""
    listing = read_listing(page=page, page_size=page_size, orderby=orderby, desc=desc)
    total, chats = await service.page(listing, chat_id=chat_id, name=name, keywords=keywords, owner_ids=owner_ids or [])
    return OrjsonResponse(success([chat_object(chat) for chat in chats]), headers=total_header(total))


@router.delete("/chats")
async def delete_chats(service: Chats, body: Annotated[DeletionBody | None, Body()] = None) -> Response:
    """Delete the assistants named by `ids`; without ids all, unless `delete_all` is false."""
    return OrjsonResponse(deletion(await service.delete_several(body.sent() if body else {}), "chats"))


@router.get("/chats/{chat_id}")
async def get_chat(chat_id: UrlText, service: Chats) -> Response:
    """Return one assistant."""
    return OrjsonResponse(success(chat_object(await service.get(ChatId(chat_id)))))


@router.put("/chats/{chat_id}")
async def update_chat(chat_id: UrlText, service: Chats, body: ChatBodyOrNone = None) -> Response:
    """Change an assistant; what is not sent stays."""
    sent = body.sent() if body else {}
    chat = await service.update(ChatId(chat_id), sent, empty_name="`name` cannot be empty.")
    return OrjsonResponse(success(chat_object(chat)))


@router.patch("/chats/{chat_id}")
async def patch_chat(chat_id: UrlText, service: Chats, body: ChatBodyOrNone = None) -> Response:
    """Change an assistant; what is not sent stays."""
    sent = body.sent() if body else {}
    chat = await service.update(ChatId(chat_id), sent, empty_name="`name` cannot be empty")
    return OrjsonResponse(success(chat_object(chat)))


@router.delete("/chats/{chat_id}")
async def delete_chat(chat_id: UrlText, service: Chats) -> Response:
    """Delete one assistant."""
    await service.delete(ChatId(chat_id))
    return OrjsonResponse(success(True))
