"""`/v1/models` (openai.md 2)."""

from fastapi import APIRouter, Request, Response

from app.services.v1_models import V1Models
from app.wire.openai_models import model_object
from routers.deps import Caller, OrjsonResponse, V1Route
from routers.responses import described
from routers.v1.pages import V1_ERRORS

router = APIRouter(prefix="/v1/models", route_class=V1Route, tags=["OpenAI /v1"], responses=V1_ERRORS)


@router.get("", response_model=None, responses=described("A `list` of `model` objects."))
async def list_models(request: Request, caller: Caller) -> Response:
    """List all models the key may use: assistants, chat models, embedding models."""
    models: V1Models = request.app.state.v1_models
    data = [model_object(one) for one in await models.listed(caller)]
    return OrjsonResponse({"object": "list", "data": data})


@router.get("/{model_id:path}", response_model=None, responses=described("A `model` object."))
async def get_model(model_id: str, request: Request, caller: Caller) -> Response:
    """Return one model; its id may hold slashes."""
    models: V1Models = request.app.state.v1_models
    return OrjsonResponse(model_object(await models.get(caller, model_id)))
