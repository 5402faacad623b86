"""Routes of statistics."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.domain.stats import StatsFilter
from app.services.stats import StatsService, read_stats
from app.wire.envelope import success
from app.wire.stats import stats
from routers.deps import Compat22, KeyedRoute, OrjsonResponse, Unit
from routers.responses import ENVELOPE
from schemas.bodies import UrlText

router = APIRouter(route_class=KeyedRoute, tags=["system"], responses=ENVELOPE)


def _meant(
    from_date: Annotated[UrlText, Query(description="Default: seven days ago, at midnight UTC.")] = "",
    to_date: Annotated[UrlText, Query(description="Default: now. A day alone is meant with all its hours.")] = "",
    canvas_id: Annotated[UrlText, Query(description="Sessions of this agent.")] = "",
    chat_id: Annotated[UrlText, Query(description="Sessions of this assistant.")] = "",
    source: Annotated[UrlText, Query(description="Sessions of this source; without it those of none.")] = "",
) -> StatsFilter:
    return read_stats(
        from_date=from_date,
        to_date=to_date,
        canvas_id=canvas_id,
        chat_id=chat_id,
        source=source,
        now=datetime.now(UTC),
    )


@router.get("/api/v1/system/stats")
@router.get("/v1/api/stats")
async def get_stats(unit: Unit, meant: Annotated[StatsFilter, Depends(_meant)], is_compat22: Compat22) -> Response:
    """Return sessions, users, tokens (in thousands), tokens per second, rounds and thumbs, day by day."""
    days = await StatsService(unit).days(meant)
    return OrjsonResponse(success(stats(days, is_compat22=is_compat22)))
