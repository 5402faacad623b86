"""Routes for machines that mind the service; no key (operations.md 4)."""

import ipaddress
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import anyio
import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from app.domain.errors import Forbidden, Missing
from app.engine.turns import TurnEngine
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelKind
from app.telemetry.metrics import CONTENT_TYPE, METRICS, Metrics
from repositories.unit_of_work import Database
from routers.deps import OrjsonResponse
from routers.responses import described

log = structlog.get_logger()

router = APIRouter(tags=["machines"])


Exposure = Literal["on", "off", "public"]
CheckMigrations = Callable[[], Awaitable[None]]
GatherMetrics = Callable[[], Awaitable[bytes]]

_DEADLINE_S = 2.0
_BELIEVED_S = 1.0
_OK = "ok"


@dataclass(slots=True, kw_only=True)
class Readiness:
    """Finds out whether this process can do its work; what it found is believed for a second."""

    database: Database
    engine: TurnEngine
    catalogue: ModelCatalogue
    check_migrations: CheckMigrations | None = None
    metrics: Metrics = METRICS
    _has_schema: bool = False
    _found: dict[str, str] = field(default_factory=dict[str, str])
    _found_at: float = float("-inf")
    _one_at_a_time: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def is_draining(self) -> bool:
        """Whether this process takes no new work."""
        return self.engine.is_draining

    async def refresh(self) -> None:
        """Bring up to date the metrics that are only read when somebody asks."""
        await self.checks()
        self.metrics.followers.set(self.engine.follower_count)
        self.metrics.pool_in_use.set(self.database.connections_in_use)

    async def checks(self) -> dict[str, str]:
        """Return each check's finding, `ok` or what is wrong, within two seconds."""
        async with self._one_at_a_time:
            if time.monotonic() - self._found_at > _BELIEVED_S:
                self._found = {
                    "database": "no answer within 2 s",
                    "migrations": "unknown",
                    "models": self._models(),
                    "queue": "unknown",
                }
                with anyio.move_on_after(_DEADLINE_S):
                    await self._ask_database(self._found)
                self._found_at = time.monotonic()
            return self._found

    async def _ask_database(self, found: dict[str, str]) -> None:
        try:
            async with self.database.dispatch() as dispatch:
                queue = await dispatch.jobs.queue()
        except Exception as error:  # noqa: BLE001  whatever it is, it is why this process is not ready
            log.warning("not_ready", error=str(error)[:300])
            found["database"] = "cannot be reached"
            return
        found["database"] = found["queue"] = _OK
        self.metrics.queue_depth.labels("queued").set(queue.queued)
        self.metrics.queue_depth.labels("running").set(queue.running)
        self.metrics.queue_age.set(queue.oldest_s)
        found["migrations"] = await self._migrations()

    async def _migrations(self) -> str:
        """Say whether the schema is ours; one that was is not looked at again."""
        if not self._has_schema and self.check_migrations is not None:
            try:
                await self.check_migrations()
            except Exception as error:  # noqa: BLE001  as above
                return (str(error) or type(error).__name__).splitlines()[0][:200]
        self._has_schema = True
        return _OK

    def _models(self) -> str:
        kinds: tuple[ModelKind, ...] = ("chat", "embedding")
        missing = [kind for kind in kinds if not self.catalogue.entries(kind, is_usable=True)]
        return f"no usable {' or '.join(missing)} model" if missing else _OK


def _readiness(request: Request) -> Readiness:
    readiness: Readiness = request.app.state.readiness
    return readiness


ReadinessDep = Annotated[Readiness, Depends(_readiness)]


_READY = described("Every check is `ok`.") | {503: {"description": "Draining, or a check is not `ok`."}}


@router.get("/livez", summary="Say that the process is alive", responses=described("It is."))
async def livez() -> Response:
    """Answer while the event loop does."""
    return OrjsonResponse({"status": _OK})


@router.get("/readyz", summary="Say whether the process can do its work", responses=_READY)
async def readyz(readiness: ReadinessDep) -> Response:
    """Answer 200, or 503 while draining or when a check fails."""
    checks = await readiness.checks()
    if readiness.is_draining:
        return OrjsonResponse({"status": "draining", "checks": checks}, 503)
    is_ready = all(finding == _OK for finding in checks.values())
    return OrjsonResponse({"status": "ready" if is_ready else "not ready", "checks": checks}, 200 if is_ready else 503)


@router.get("/v1/system/healthz", summary="Readiness under RAGFlow's name", responses=_READY)
@router.get("/api/v1/system/healthz", summary="Readiness under RAGFlow's name", responses=_READY)
async def healthz(readiness: ReadinessDep) -> Response:
    """Answer as `/readyz`, with RAGFlow's words beside ours."""
    checks = await readiness.checks()
    is_ready = not readiness.is_draining and all(finding == _OK for finding in checks.values())
    database = _OK if checks["database"] == _OK else "nok"
    told = {"status": _OK if is_ready else "nok", "db": database, "doc_engine": database, "checks": checks}
    return OrjsonResponse(told, 200 if is_ready else 503)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=PlainTextResponse,
    responses=described("Prometheus' text format.")
    | {403: {"description": "The caller is on another machine."}, 404: {"description": "They are off."}},
)
async def metrics(request: Request, readiness: ReadinessDep) -> Response:
    """Answer to loopback only, unless `PARLEY_METRICS=public`; 404 when they are off."""
    exposure: Exposure = request.app.state.metrics_exposure
    if exposure == "off":
        raise Missing("Not Found: /metrics")
    if exposure == "on" and not _is_local(request):
        raise Forbidden("Metrics are for loopback only; PARLEY_METRICS=public opens them.")
    gather: GatherMetrics | None = request.app.state.gather_metrics
    if gather is not None:
        return Response(await gather(), media_type=CONTENT_TYPE)
    await readiness.refresh()
    return Response(readiness.metrics.text(), media_type=CONTENT_TYPE)


def _is_local(request: Request) -> bool:
    """Whether the caller itself is on this machine, and no proxy that speaks for others."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers or request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
