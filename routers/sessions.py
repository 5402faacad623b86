"""Routes of sessions."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from app.domain.ids import ChatId, SessionId
from app.domain.sessions import SessionFilter
from app.services.listing import read_listing, read_moment
from app.services.sessions import SessionService, SessionView
from app.wire.envelope import success
from app.wire.listing import deletion, total_header
from app.wire.sessions import bare_message, full_session, message_with_list, session_object
from routers.deps import SCOPE_CHAT, KeyedRoute, OrjsonResponse, RepeatableCall, Unit
from routers.responses import ERRORS
from schemas.bodies import DeletionBody, UrlText
from schemas.sessions import SessionCreate, SessionUpdate

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["sessions"], responses=ERRORS)


def _service(unit: Unit) -> SessionService:
    return SessionService(unit)


Sessions = Annotated[SessionService, Depends(_service)]
SessionUpdateOrNone = Annotated[SessionUpdate | None, Body()]


def _meant(
    session_id: Annotated[UrlText, Query(alias="id")] = "",
    name: UrlText = "",
    user_id: UrlText = "",
    keywords: UrlText = "",
    from_date: UrlText = "",
    to_date: UrlText = "",
) -> SessionFilter:
    return SessionFilter(
        id=session_id or None,
        name=name or None,
        user_id=user_id or None,
        keywords=keywords or None,
        created_from=read_moment("from_date", from_date),
        created_to=read_moment("to_date", to_date, is_end=True),
    )


def _listed(view: SessionView) -> dict[str, object]:
    messages = [message_with_list(each) for each in view.messages] if view.messages is not None else None
    return session_object(view.session, messages)


@router.post("/chats/{chat_id}/sessions", openapi_extra=SCOPE_CHAT)
async def create_session(
    chat_id: UrlText,
    service: Sessions,
    unit: Unit,
    call: RepeatableCall,
    body: Annotated[SessionCreate | None, Body()] = None,
) -> Response:
    """Open a session on an assistant."""

    async def create() -> dict[str, object]:
        view = await service.create(ChatId(chat_id), body.sent() if body else {})
        return success(session_object(view.session, [bare_message(each) for each in view.messages or ()]))

    return await call.once(unit, create)


@router.get("/chats/{chat_id}/sessions")
async def list_sessions(
    chat_id: UrlText,
    service: Sessions,
    meant: Annotated[SessionFilter, Depends(_meant)],
    page: UrlText = "1",
    page_size: UrlText = "30",
    orderby: UrlText = "create_time",
    desc: UrlText = "true",
    messages: Annotated[UrlText, Query(description="`false` leaves the messages out.")] = "true",
) -> Response:
    """List the sessions of an assistant; the header `X-Total-Count` tells how many there are."""
    listing = read_listing(page=page, page_size=page_size, orderby=orderby, desc=desc)
    has_messages = messages not in ("False", "false")
    total, views = await service.page(ChatId(chat_id), listing, meant, has_messages=has_messages)
    return OrjsonResponse(success([_listed(view) for view in views]), headers=total_header(total))


@router.delete("/chats/{chat_id}/sessions", openapi_extra=SCOPE_CHAT)
async def delete_sessions(
    chat_id: UrlText, service: Sessions, body: Annotated[DeletionBody | None, Body()] = None
) -> Response:
    """Delete the sessions named by `ids`; without ids all of the assistant, unless `delete_all` is false."""
    done = await service.delete_several(ChatId(chat_id), body.sent() if body else {})
    return OrjsonResponse(deletion(done, "sessions"))


@router.get("/chats/{chat_id}/sessions/{session_id}")
async def get_session(chat_id: UrlText, session_id: UrlText, service: Sessions) -> Response:
    """Return one session with its messages and references."""
    view = await service.get(ChatId(chat_id), SessionId(session_id))
    return OrjsonResponse(success(full_session(view.session, view.messages or [], view.avatar)))


@router.put("/chats/{chat_id}/sessions/{session_id}", openapi_extra=SCOPE_CHAT)
@router.patch("/chats/{chat_id}/sessions/{session_id}", openapi_extra=SCOPE_CHAT)
async def update_session(
    chat_id: UrlText, session_id: UrlText, service: Sessions, body: SessionUpdateOrNone = None
) -> Response:
    """Change the name or the user id of a session."""
    view = await service.update(ChatId(chat_id), SessionId(session_id), body.sent() if body else {})
    return OrjsonResponse(success(_listed(view)))
