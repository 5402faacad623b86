"""`POST /v1/chat/completions` (openai.md 3): reads the body, finds what `model` means, and hands on.

The split: this module reads the body (`read_body`: nulls are gone, `extra_body` is merged) and resolves `model` with
`app.services.v1_models.V1Models.resolve`, which asks no database.
- `RawModel` goes to `routers/v1/raw_chat.py`: bytes of the provider, relayed; no turn, no session.
- `Assistant` goes to `routers/v1/assistant_chat.py`, which reads the body with its own schema, opens a turn, and raises
  `ModelNotFound(chat_id)` when the caller has no such assistant. The assistant is not looked up here, so that the
  statement which opens the turn is the only one.
"""

from fastapi import APIRouter, Response

from app.services.v1_models import RawModel, V1Models
from routers.deps import SCOPE_CHAT, TurnCallDep, V1Route
from routers.responses import ANSWERED
from routers.v1 import assistant_chat, raw_chat
from routers.v1.bodies import read_body
from routers.v1.pages import V1_ERRORS, page

router = APIRouter(prefix="/v1", route_class=V1Route, tags=["OpenAI /v1"], responses=V1_ERRORS)


@router.post(
    "/chat/completions",
    openapi_extra=SCOPE_CHAT | page("The request of OpenAI's chat completions; unknown keys go to raw models."),
    response_model=None,
    responses=ANSWERED,
    summary="Answer a conversation, by an assistant or by a raw model",
)
async def create_chat_completion(call: TurnCallDep) -> Response:
    """Answer with a `chat.completion`, or stream its chunks."""
    models: V1Models = call.request.app.state.v1_models
    body = await read_body(call.request)
    target = models.resolve(body.get("model"))
    if isinstance(target, RawModel):
        return await raw_chat.complete(call, target, body)
    return await assistant_chat.complete(call, target, body)
