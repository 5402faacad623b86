"""One assistant as an OpenAI endpoint: point the official client's `base_url` at it (conversations.md 5.1)."""

from fastapi import APIRouter, Response

from app.domain.events import Done, Stopped
from app.domain.ids import ChatId, TurnId
from app.services.completions import Conversation, Overrides
from app.wire.compat22 import without_aliases
from app.wire.openai_chat import OpenAIChatStream, completion_body
from routers.deps import SCOPE_CHAT, OpenAIKeyedRoute, OrjsonResponse, TurnCall, TurnCallDep, speaks_22
from routers.openai_22 import await_22, stream_22
from routers.responses import ANSWERED, ENVELOPE
from routers.streaming import await_turn, stream_turn
from schemas.openai_completions import OpenAIChatCreate

router = APIRouter(prefix="/api/v1", route_class=OpenAIKeyedRoute, tags=["OpenAI"], responses=ENVELOPE)


@router.post("/openai/{chat_id}/chat/completions", openapi_extra=SCOPE_CHAT, response_model=None, responses=ANSWERED)
@router.post(
    "/chats_openai/{chat_id}/chat/completions", openapi_extra=SCOPE_CHAT, response_model=None, responses=ANSWERED
)
async def complete_chat(chat_id: ChatId, body: OpenAIChatCreate, call: TurnCallDep) -> Response:
    """Answer the last message of a conversation that the caller keeps; no session is read or written."""
    if body.is_streaming:
        await call.take_stream()
    fields = body.shown_metadata()
    conversation = _conversation(body, call.completions.known_model(body.model or ""))
    turn_id, ask = await call.completions.stateless(call.caller, chat_id, conversation, call.recognition)
    answered = _streamed if body.is_streaming else _whole
    return await answered(call, body, turn_id, ask.prompt_version, fields)


async def _streamed(
    call: TurnCall, body: OpenAIChatCreate, turn_id: TurnId, fingerprint: str, fields: frozenset[str] | None
) -> Response:
    writer = OpenAIChatStream(
        turn_id,
        body.model or "",
        fingerprint,
        has_reference=body.has_reference,
        has_usage_chunk=body.stream_options is not None and body.stream_options.include_usage is True,
        metadata_fields=fields,
    )
    return await (stream_22 if speaks_22(call.request) else stream_turn)(call, turn_id, writer)


async def _whole(
    call: TurnCall, body: OpenAIChatCreate, turn_id: TurnId, fingerprint: str, fields: frozenset[str] | None
) -> Response:
    is_22 = speaks_22(call.request)
    answer = await (await_22 if is_22 else await_turn)(call, turn_id)
    assert answer.started is not None  # noqa: S101 (every turn starts)
    assert isinstance(answer.ending, Done | Stopped)  # noqa: S101 (a failure was raised, a turn always ends)
    content = completion_body(
        turn_id,
        body.model or "",
        fingerprint,
        answer.started,
        answer.found,
        answer.reasoning,
        answer.ending,
        has_reference=body.has_reference,
        metadata_fields=fields,
    )
    call.engine.delivered(call.recognition, call.caller.tenant_id, turn_id)
    return OrjsonResponse(without_aliases(content) if is_22 else content, headers={"X-Turn-Id": turn_id})


def _conversation(body: OpenAIChatCreate, model: str | None) -> Conversation:
    return Conversation(
        messages=body.conversation(),
        is_quoting=body.has_reference,
        metadata_condition=body.condition(),
        variables=body.variables or {},
        overrides=Overrides(model=model, options=body.options()),
    )
