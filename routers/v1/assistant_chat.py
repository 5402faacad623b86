"""`POST /v1/chat/completions` with an assistant as the model (openai.md 3)."""

from typing import Any

from fastapi import Response

from app.domain.references import Reference
from app.services.v1_assistants import V1Assistants
from app.services.v1_models import Assistant
from app.wire.openai_sources import own_link
from app.wire.openai_v1_chat import AssistantStream, Telling, completion
from routers.deps import OrjsonResponse, TurnCall
from routers.streaming import await_turn, stream_turn


async def complete(call: TurnCall, assistant: Assistant, body: dict[str, Any]) -> Response:
    """Answer with an assistant.

    Raises:
        ModelNotFound: the caller has no such assistant.
    """
    assistants: V1Assistants = call.request.app.state.v1_assistants
    is_streaming = body.get("stream") is True
    if is_streaming:
        await call.take_stream()
    turn_id, ask, params = await assistants.open(call.caller, assistant.chat_id, body, call.recognition)
    root = str(call.request.base_url)
    telling = Telling(
        turn_id=turn_id,
        model=assistant.chat_id,
        fingerprint=ask.prompt_version,
        link=lambda reference: _link(root, reference),
        has_reference=params.reference is not False,
        has_final=params.reference is True,
        has_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        is_marking=ask.is_quoting and ask.skin.is_marking,
    )
    if is_streaming:
        return await stream_turn(call, turn_id, AssistantStream(telling))
    answer = await await_turn(call, turn_id)
    call.engine.delivered(call.recognition, call.caller.tenant_id, turn_id)
    return OrjsonResponse(completion(telling, answer.events), headers={"X-Turn-Id": turn_id})


def _link(root: str, reference: Reference) -> str:
    """Return the address of what a reference is of: the document's own, else the chunk's here."""
    own = own_link(reference)
    if own is not None:
        return own
    place = f"datasets/{reference.dataset_id}/documents/{reference.document_id}/chunks/{reference.chunk_id}"
    return f"{root}api/v1/{place}"
