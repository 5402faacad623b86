"""`POST /v1/embeddings` (openai.md 4)."""

import anyio.to_thread
from fastapi import APIRouter, Response

from app.domain.errors import Unavailable
from app.services.embeddings_api import EmbeddingsApi
from app.services.v1_models import V1Models
from app.wire.openai_embeddings import embeddings_body
from routers.deps import SCOPE_CHAT, TurnCallDep, V1Route
from routers.responses import described
from routers.v1.bodies import read_body
from routers.v1.once import whole_once
from routers.v1.pages import V1_ERRORS, page
from routers.v1.relaying import Give, gathered

router = APIRouter(prefix="/v1", route_class=V1Route, tags=["OpenAI /v1"], responses=V1_ERRORS)


@router.post(
    "/embeddings",
    openapi_extra=SCOPE_CHAT | page("Texts or token numbers.", "input"),
    response_model=None,
    responses=described("A `list` of `embedding` objects, in the order of the inputs."),
)
async def create_embeddings(call: TurnCallDep) -> Response:
    """Turn texts into vectors."""
    state = call.request.app.state
    models: V1Models = state.v1_models
    api: EmbeddingsApi = state.embeddings_api
    body = await read_body(call.request)
    model = await models.raw(call.caller, body.get("model"), "embedding")

    async def run(give: Give) -> None:
        embedded = await api.embed(call.caller, model, body)
        await give(await anyio.to_thread.run_sync(embeddings_body, embedded))

    if call.recognition.idempotency_key is not None:
        return await whole_once(call, run)
    parts = await gathered(run, call.request.receive)
    if parts is None:
        raise Unavailable("The caller went away.")
    return Response(parts[0], media_type="application/json")
