"""The route that tells how far background work is."""

from typing import Any

from fastapi import APIRouter

from app.domain.errors import Missing
from app.domain.ids import JobId
from app.wire import jobs as wire
from app.wire.envelope import success
from routers.deps import KeyedRoute, Unit
from routers.responses import ENVELOPE
from schemas.bodies import UrlText

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["jobs"], responses=ENVELOPE)


@router.get("/jobs/{job_id}")
async def get_job(job_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Tell the state, progress and log of a background job."""
    found = await unit.jobs.find(JobId(job_id))
    if found is None:
        raise Missing(f"There is no job {job_id}.")
    return success(wire.job(found))
