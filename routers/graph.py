"""Routes of knowledge graphs; jobs that make them have routes of their own."""

from typing import Any

from fastapi import APIRouter

from app.domain.ids import DatasetId
from app.services.graph import delete_graph, shown_graph
from app.wire.envelope import success
from app.wire.graph import knowledge_graph
from routers.deps import KeyedRoute, Unit
from routers.responses import ENVELOPE
from schemas.bodies import UrlText

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["knowledge graph"], responses=ENVELOPE)


@router.get("/datasets/{dataset_id}/knowledge_graph")
@router.get("/datasets/{dataset_id}/graph")
async def show_graph(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Return the dataset's knowledge graph: its highest ranked entities and the heaviest relations among them."""
    return success(knowledge_graph(await shown_graph(unit, DatasetId(dataset_id))))


@router.delete("/datasets/{dataset_id}/knowledge_graph")
@router.delete("/datasets/{dataset_id}/graph")
async def remove_graph(dataset_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Delete the dataset's knowledge graph; documents and chunks stay."""
    await delete_graph(unit, DatasetId(dataset_id))
    return success(True)
