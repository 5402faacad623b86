"""Models as `/v1/models` tells of them (openai.md 2)."""

from typing import Any

from app.services.v1_models import Listed


def model_object(model: Listed) -> dict[str, Any]:
    """Return a `model` object; what is ours stands under `parley`."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "parley": {
            "kind": model.kind,
            "name": model.name,
            "description": model.description,
            "capabilities": list(model.capabilities),
            "context_window": model.context_window,
        },
    }
