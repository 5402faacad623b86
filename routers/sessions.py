"""Routes of sessions."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from app.domain.ids import ChatId, SessionId
from app.domain.sessions import MessageRange, SessionFilter
from app.services.listing import read_listing, read_moment
from app.services.session_cursors import read_cursor, write_cursor
from app.services.sessions import SessionService, SessionView, SessionViews
from app.wire.envelope import success
from app.wire.listing import deletion, total_header
from app.wire.sessions import bare_message, full_session, listed_session, messages_before, session_object
from routers.deps import SCOPE_CHAT, Compat22, KeyedRoute, OrjsonResponse, Unit
from routers.repeating import RepeatableCall
from routers.responses import ENVELOPE
from schemas.bodies import DeletionBody, UrlText
from schemas.sessions import SessionCreate, SessionUpdate

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["sessions"], responses=ENVELOPE)


def _service(unit: Unit, is_compat22: Compat22) -> SessionService:
    return SessionService(unit, is_compat22=is_compat22)


Sessions = Annotated[SessionService, Depends(_service)]
_NOTHING = MessageRange(messages=[], has_before=False, has_after=False)
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


def shown_session(view: SessionView) -> Response:
    """Answer with a session as its own route shows it."""
    return OrjsonResponse(session_answer(view), headers=messages_before(view.said or _NOTHING))


def session_answer(view: SessionView) -> dict[str, object]:
    """Return the body of that answer."""
    return success(full_session(view.session, view.said or _NOTHING, view.avatar))


def _bare(view: SessionView) -> list[dict[str, object]]:
    return [bare_message(each) for each in view.said.messages] if view.said is not None else []


def _headers(shown: SessionViews) -> dict[str, str]:
    headers = total_header(shown.page.total)
    if not shown.page.is_total_exact:
        headers["X-Total-Relation"] = "gte"
    if shown.page.following is not None:
        headers["X-Next-Cursor"] = write_cursor(shown.page.following)
    return headers


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
        return success(session_object(view.session, _bare(view)))

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
    after: Annotated[UrlText, Query(description="An `X-Next-Cursor`: what follows it, instead of a page.")] = "",
    messages: Annotated[UrlText, Query(description="`false` leaves the messages out.")] = "true",
) -> Response:
    """List the sessions of an assistant.

    The header `X-Total-Count` tells how many there are; with `X-Total-Relation: gte` there are at least so many.
    `X-Next-Cursor` is where the next page begins, however many sessions come or go meanwhile.
    """
    listing = read_listing(page=page, page_size=page_size, orderby=orderby, desc=desc)
    has_messages = messages not in ("False", "false")
    cursor = read_cursor(after, listing)
    shown = await service.page(ChatId(chat_id), listing, meant, after=cursor, has_messages=has_messages)
    told = [listed_session(view.session, view.said) for view in shown.views]
    return OrjsonResponse(success(told), headers=_headers(shown))


@router.delete("/chats/{chat_id}/sessions", openapi_extra=SCOPE_CHAT)
async def delete_sessions(
    chat_id: UrlText, service: Sessions, body: Annotated[DeletionBody | None, Body()] = None
) -> Response:
    """Delete the sessions named by `ids`; without ids all of the assistant, unless `delete_all` is false."""
    done = await service.delete_several(ChatId(chat_id), body.sent() if body else {})
    return OrjsonResponse(deletion(done, "sessions"))


@router.get("/chats/{chat_id}/sessions/{session_id}")
async def get_session(chat_id: UrlText, session_id: UrlText, service: Sessions) -> Response:
    """Return one session with its messages and references.

    Of more than 1,000 messages it has the last; the header `X-Messages-Before` then tells the position of the first
    one shown, and those before it are read from `…/messages`.
    """
    view = await service.get(ChatId(chat_id), SessionId(session_id))
    return shown_session(view)


@router.put("/chats/{chat_id}/sessions/{session_id}", openapi_extra=SCOPE_CHAT)
@router.patch("/chats/{chat_id}/sessions/{session_id}", openapi_extra=SCOPE_CHAT)
async def update_session(
    chat_id: UrlText, session_id: UrlText, service: Sessions, body: SessionUpdateOrNone = None
) -> Response:
    """Change the name or the user id of a session."""
    view = await service.update(ChatId(chat_id), SessionId(session_id), body.sent() if body else {})
    return OrjsonResponse(success(listed_session(view.session, view.said)))
