"""Routes of chats."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from app.domain.chats import Chat
from app.domain.ids import ChatId
from app.services.chats import CatalogueModels, ChatRules, ChatService
from app.services.listing import read_listing
from app.services.prompts import SYSTEM
from app.wire.chats import chat_object, chat_object_22, listed_chat_22
from app.wire.envelope import success
from app.wire.listing import deletion, total_header
from routers.deps import Compat22, KeyedRoute, OrjsonResponse, Unit
from routers.repeating import RepeatableCall
from routers.responses import ENVELOPE
from schemas.bodies import DeletionBody, UrlText
from schemas.chats import ChatBody

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["chats"], responses=ENVELOPE)


def _service(request: Request, unit: Unit, is_compat22: Compat22) -> ChatService:
    state = request.app.state
    system = getattr(state, "default_system_prompt", None) or SYSTEM
    rules = ChatRules(default_system=system, is_compat22=is_compat22)
    return ChatService(unit, CatalogueModels(state.catalogue), state.sealer, rules)


async def _shape(is_compat22: Compat22) -> Callable[[Chat], dict[str, Any]]:
    return chat_object_22 if is_compat22 else chat_object


Chats = Annotated[ChatService, Depends(_service)]
Shape = Annotated[Callable[[Chat], dict[str, Any]], Depends(_shape)]
"""How one assistant is shown to this caller."""
ChatBodyOrNone = Annotated[ChatBody | None, Body()]


@router.post("/chats")
async def create_chat(
    service: Chats, unit: Unit, call: RepeatableCall, shape: Shape, body: ChatBodyOrNone = None
) -> Response:
    """Make an assistant."""

    async def create() -> dict[str, object]:
        return success(shape(await service.create(body.sent() if body else {})))

    return await call.once(unit, create)


@router.get("/chats")
async def list_chats(
    service: Chats,
    is_compat22: Compat22,
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
    rows = await service.datasets_of(chats) if is_compat22 else {}
    shown = [listed_chat_22(chat, rows) if is_compat22 else chat_object(chat) for chat in chats]
    return OrjsonResponse(success(shown), headers=total_header(total))


@router.delete("/chats")
async def delete_chats(service: Chats, body: Annotated[DeletionBody | None, Body()] = None) -> Response:
    """Delete the assistants named by `ids`; without ids all, unless `delete_all` is false."""
    return OrjsonResponse(deletion(await service.delete_several(body.sent() if body else {}), "chats"))


@router.get("/chats/{chat_id}")
async def get_chat(chat_id: UrlText, service: Chats, shape: Shape) -> Response:
    """Return one assistant."""
    return OrjsonResponse(success(shape(await service.get(ChatId(chat_id)))))


@router.put("/chats/{chat_id}")
async def update_chat(chat_id: UrlText, service: Chats, shape: Shape, body: ChatBodyOrNone = None) -> Response:
    """Change an assistant; what is not sent stays."""
    sent = body.sent() if body else {}
    chat = await service.update(ChatId(chat_id), sent, is_part=False)
    return OrjsonResponse(success(shape(chat)))


@router.patch("/chats/{chat_id}")
async def patch_chat(chat_id: UrlText, service: Chats, shape: Shape, body: ChatBodyOrNone = None) -> Response:
    """Change an assistant; what is not sent stays."""
    sent = body.sent() if body else {}
    chat = await service.update(ChatId(chat_id), sent, is_part=True)
    return OrjsonResponse(success(shape(chat)))


@router.delete("/chats/{chat_id}")
async def delete_chat(chat_id: UrlText, service: Chats) -> Response:
    """Delete one assistant."""
    await service.delete(ChatId(chat_id))
    return OrjsonResponse(success(True))
