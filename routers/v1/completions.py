"""`POST /v1/completions`: text completions of raw models (openai.md 10)."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from app.llm.passthrough import Rewriter, Tally
from app.llm.stopping import stops_of
from app.services.raw_chat import RawCall, RawChat
from app.services.v1_models import V1Models
from app.wire.openai_head import Head
from app.wire.openai_text import KIND, TextRelay, WholeText
from routers.deps import SCOPE_CHAT, TurnCallDep, V1Route
from routers.responses import ANSWERED
from routers.v1.bodies import read_body
from routers.v1.pages import V1_ERRORS, page
from routers.v1.raw_chat import streamed, whole

router = APIRouter(prefix="/v1", route_class=V1Route, tags=["OpenAI /v1"], responses=V1_ERRORS)


@router.post(
    "/completions",
    openapi_extra=SCOPE_CHAT
    | page("The request of OpenAI's text completions; unknown keys go to the model.", "prompt"),
    response_model=None,
    responses=ANSWERED,
)
async def create_completion(call: TurnCallDep) -> Response:
    """Continue a text with a raw model; assistants are refused."""
    state = call.request.app.state
    models: V1Models = state.v1_models
    raw: RawChat = state.raw_chat
    body = await read_body(call.request)
    model = await models.raw(call.caller, body.get("model"), "chat")
    prepared = raw.text(model, body)
    head = Head(model.name, prefix="cmpl-", has_usage=prepared.has_usage)
    stops = () if body.get("echo") else stops_of(body.get("stop"))  # an echoed prompt may hold one
    if prepared.is_streaming:
        await call.take_stream()
        return streamed(call, RawCall(raw, call.caller, prepared, partial(_relaying, head, stops)), head, KIND)
    return await whole(call, RawCall(raw, call.caller, prepared, partial(_reading, stops)), head, KIND)


def _relaying(head: Head, stops: tuple[str, ...], tally: Tally, offset: int, choices: int) -> Any:
    def rewriter(api_key: str | None) -> Rewriter:
        return TextRelay(head, tally, api_key=api_key, offset=offset, choices=choices, stops=stops)

    return rewriter


def _reading(stops: tuple[str, ...], tally: Tally, offset: int, choices: int) -> Any:
    def rewriter(api_key: str | None) -> Rewriter:
        return WholeText(tally, api_key=api_key, offset=offset, choices=choices, stops=stops)

    return rewriter
