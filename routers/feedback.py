"""Routes of the messages of a session: read in stretches, deleted, voted on, forked from, exported."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.responses import StreamingResponse

from app.domain.ids import ChatId, SessionId, TenantId
from app.domain.sessions import Session
from app.services.session_cursors import read_position
from app.services.session_export import find_session, stretches
from app.services.session_turns import SessionTurnService, required
from app.wire.envelope import success
from app.wire.sessions import export_head, export_part, message_stretch
from repositories.unit_of_work import Database
from routers.deps import SCOPE_CHAT, Caller, DatabaseDep, KeyedRoute, OrjsonResponse, Unit
from routers.downloads import disposition
from routers.repeating import RepeatableCall
from routers.responses import ENVELOPE
from routers.sessions import session_answer, shown_session
from schemas.bodies import UrlText
from schemas.sessions import FeedbackBody, ForkBody, MessageDeletion, MessageVote

router = APIRouter(route_class=KeyedRoute, tags=["sessions"], responses=ENVELOPE)

_SESSION = "/api/v1/chats/{chat_id}/sessions/{session_id}"
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}}, "description": "The session as a file."}
}


def _service(unit: Unit) -> SessionTurnService:
    return SessionTurnService(unit)


Turns = Annotated[SessionTurnService, Depends(_service)]


@router.get(_SESSION + "/messages")
async def list_messages(
    chat_id: UrlText,
    session_id: UrlText,
    turns: Turns,
    before: Annotated[UrlText, Query(description="A position: what was said before it.")] = "",
    after: Annotated[UrlText, Query(description="A position: what was said after it.")] = "",
    limit: Annotated[UrlText, Query(description="1 to 1000.")] = "100",
) -> Response:
    """Return messages of a session by their positions, oldest first; without a position the last ones."""
    said = await turns.stretch(ChatId(chat_id), SessionId(session_id), read_position(before, after, limit))
    return OrjsonResponse(success(message_stretch(said)))


@router.delete(_SESSION + "/messages/{message_id}", openapi_extra=SCOPE_CHAT)
async def delete_message(chat_id: UrlText, session_id: UrlText, message_id: UrlText, turns: Turns) -> Response:
    """Delete a question with its answer."""
    return shown_session(await turns.delete(ChatId(chat_id), SessionId(session_id), message_id))


@router.put(_SESSION + "/messages/{message_id}/feedback", openapi_extra=SCOPE_CHAT)
async def give_feedback(
    chat_id: UrlText,
    session_id: UrlText,
    message_id: UrlText,
    turns: Turns,
    body: Annotated[FeedbackBody | None, Body()] = None,
) -> Response:
    """Vote on an answer."""
    sent = body.sent() if body else {}
    return shown_session(await turns.vote(ChatId(chat_id), SessionId(session_id), message_id, sent))


@router.post(_SESSION + "/fork", openapi_extra=SCOPE_CHAT)
async def fork_session(
    chat_id: UrlText,
    session_id: UrlText,
    turns: Turns,
    unit: Unit,
    caller: Caller,
    call: RepeatableCall,
    body: Annotated[ForkBody | None, Body()] = None,
) -> Response:
    """Begin another session with all that was said in this one up to a message."""

    async def fork() -> dict[str, object]:
        sent = body.sent() if body else {}
        return session_answer(await turns.fork(ChatId(chat_id), SessionId(session_id), sent, caller.key_id))

    return await call.once(unit, fork)


@router.get(_SESSION + "/export", responses=_EXPORT)
async def export_session(chat_id: UrlText, session_id: UrlText, database: DatabaseDep, caller: Caller) -> Response:
    """Download a session with all its messages."""
    session = await find_session(database, caller.tenant_id, ChatId(chat_id), SessionId(session_id))
    headers = {
        "Content-Type": "application/json",
        "Content-Disposition": disposition(f"session-{session.id}.json"),
    }
    return StreamingResponse(_exported(database, caller.tenant_id, session), headers=headers)


async def _exported(database: Database, tenant_id: TenantId, session: Session) -> AsyncGenerator[bytes]:
    yield export_head(session)
    is_first = True
    async for messages in stretches(database, tenant_id, session.id):
        yield export_part(messages, is_first=is_first)
        is_first = False
    yield b"]}"


@router.post("/v1/conversation/delete_msg", openapi_extra=SCOPE_CHAT)
async def delete_message_by_body(turns: Turns, body: Annotated[MessageDeletion | None, Body()] = None) -> Response:
    """Delete a question with its answer; as the route of the session does."""
    named = required(body.sent() if body else {}, "conversation_id", "message_id")
    session_id = SessionId(named["conversation_id"])
    return shown_session(await turns.delete(await turns.find(session_id), session_id, named["message_id"]))


@router.post("/v1/conversation/thumbup", openapi_extra=SCOPE_CHAT)
async def give_feedback_by_body(turns: Turns, body: Annotated[MessageVote | None, Body()] = None) -> Response:
    """Vote on an answer; as the route of the session does."""
    sent = body.sent() if body else {}
    named = required(sent, "conversation_id", "message_id")
    session_id = SessionId(named["conversation_id"])
    return shown_session(await turns.vote(await turns.find(session_id), session_id, named["message_id"], sent))
