"""Routes of assistants on pages of others (conversations.md 7.4), and the tokens their visitors get."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.domain.ids import ChatId, TurnId
from app.domain.principals import BotKind
from app.services.chatbots import ChatBots, bot_of
from app.services.completions import Opened, Question
from app.services.tokens import visit_of
from app.wire.chatbots import bot_info
from app.wire.envelope import success
from app.wire.native_stream_22 import NativeStream22, opener_events_22
from app.wire.tokens import visitor_token
from routers.deps import SCOPE_CHAT, ChatBotRoute, KeyedRoute, TurnCall, TurnCallDep, Unit, take_stream
from routers.event_stream import EventStream
from routers.native_22 import is_for_22
from routers.native_answers import answered
from routers.responses import ANSWERED, ENVELOPE, STREAMED
from routers.streaming import SSE_HEADERS, respond, stream_turn
from routers.tokens import Tokens
from routers.turns import STOP_PATIENCE_S, After, LastEventId, event_number, rest_of_turn
from schemas.bodies import UrlText
from schemas.chatbots import BotCompletionCreate
from schemas.tokens import VisitorTokenCreate

pages = APIRouter(prefix="/api/v1/chatbots", route_class=ChatBotRoute, tags=["chat bots"], responses=ENVELOPE)
keys = APIRouter(prefix="/api/v1/chatbots", route_class=KeyedRoute, tags=["chat bots"], responses=ENVELOPE)


async def _bots(call: TurnCallDep) -> ChatBots:
    return ChatBots(call.request.app.state.database, call.completions)


Bots = Annotated[ChatBots, Depends(_bots)]


@pages.post("/{dialog_id}/completions", openapi_extra=SCOPE_CHAT, response_model=None, responses=ANSWERED)
async def ask_bot(dialog_id: UrlText, body: BotCompletionCreate, call: TurnCallDep, bots: Bots) -> Response:
    """Ask an assistant from a page; a call without a session opens one and answers with the assistant's first words."""
    if body.is_streaming:
        await call.take_stream()
    opened = await bots.ask(call.caller, ChatId(dialog_id), _question(body), call.recognition)
    if body.is_streaming and is_for_22(call, body):
        return await _events_22(call, opened)
    return await answered(call, opened, body)


@pages.get("/{dialog_id}/info")
async def get_bot(dialog_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Return what a page shows of an assistant before the first question."""
    return success(bot_info(await bot_of(unit, ChatId(dialog_id))))


@pages.get(
    "/{dialog_id}/turns/{turn_id}/events",
    response_class=EventStream,
    responses=STREAMED,
    dependencies=[Depends(take_stream)],
)
async def follow_bot_turn(
    dialog_id: UrlText,
    turn_id: UrlText,
    call: TurnCallDep,
    bots: Bots,
    after: After = None,
    last_event_id: LastEventId = None,
) -> EventStream:
    """Follow a turn of the page from after event `after`, as `GET /turns/{turn_id}/events` does for API keys."""
    number = after if after is not None else event_number(last_event_id)
    await bots.check_turn(call.caller, ChatId(dialog_id), TurnId(turn_id))
    rest = rest_of_turn(call.engine, call.caller.tenant_id, TurnId(turn_id), number)
    return respond(rest, call.edge, TurnId(turn_id))


@pages.post("/{dialog_id}/turns/{turn_id}/stop", openapi_extra=SCOPE_CHAT)
async def stop_bot_turn(dialog_id: UrlText, turn_id: UrlText, call: TurnCallDep, bots: Bots) -> dict[str, Any]:
    """Stop a running turn of the page; what it has said is kept."""
    await bots.check_turn(call.caller, ChatId(dialog_id), TurnId(turn_id))
    await call.engine.stop(call.caller.tenant_id, TurnId(turn_id))
    ended = await call.engine.ended(call.caller.tenant_id, TurnId(turn_id), timeout_s=STOP_PATIENCE_S)
    return success({"id": ended.id, "state": ended.state.value})


@keys.post("/{dialog_id}/visitor_tokens", openapi_extra=SCOPE_CHAT)
async def create_visitor_token(
    dialog_id: UrlText, body: VisitorTokenCreate, service: Tokens, unit: Unit
) -> dict[str, Any]:
    """Make a token with which a page speaks to this assistant as one visitor, for ten minutes at most."""
    visit = visit_of(BotKind.CHAT, dialog_id, origin=body.origin, visitor=body.visitor)
    await bot_of(unit, ChatId(dialog_id))
    return success(visitor_token(await service.visitor(visit, body.ttl_s)))


def _question(body: BotCompletionCreate) -> Question:
    return Question(
        text=body.question,
        session_id=body.session_id,
        user_id=body.user_id or "",
        is_quoting=body.quote is True,
        variables=body.variables(),
        on_disconnect=body.on_disconnect,
    )


async def _events_22(call: TurnCall, opened: TurnId | Opened) -> Response:
    """Answer as RAGFlow 0.22 does: all that was said in every event, and an empty `message` beside it."""
    if isinstance(opened, Opened):
        content = opener_events_22(opened.session_id, opened.opener)
        return Response(content, media_type="text/event-stream", headers=SSE_HEADERS)
    return await stream_turn(call, opened, NativeStream22(opened, has_message=True))


router = APIRouter()
router.include_router(pages)
router.include_router(keys)
