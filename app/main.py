"""The application that answers: its parts, its routes, its errors."""

from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI

from app.building import Parts, running
from routers import (
    ask,
    chat_completions,
    chatbots,
    chats,
    chunks,
    completions,
    datasets,
    dify,
    documents,
    errors,
    feedback,
    file_tree,
    files,
    graph,
    health,
    images,
    index_jobs,
    jobs,
    metadata,
    openai,
    reference,
    retrieval,
    searchbots,
    searches,
    sessions,
    stats,
    tokens,
    turns,
)
from routers.deps import EdgeConfig, OrjsonResponse
from routers.edge import Edge
from routers.embed_cors import EmbedCors
from routers.health import CheckMigrations, Exposure, GatherMetrics, Readiness
from routers.middleware import RequestContext, cors
from routers.responses import SECURITY_SCHEMES
from routers.v1 import chat as v1_chat
from routers.v1 import completions as v1_completions
from routers.v1 import embeddings as v1_embeddings
from routers.v1 import models as v1_models

__all__ = ["Parts", "WebConfig", "build_app", "describe", "running"]

# Routes are tried in this order: what is asked most comes first.
ROUTERS = (
    completions,
    chat_completions,
    openai,
    chatbots,
    v1_chat,
    turns,
    retrieval,
    ask,
    searchbots,
    searches,
    dify,
    chats,
    sessions,
    feedback,
    datasets,
    metadata,
    images,
    documents,
    chunks,
    files,
    file_tree,
    graph,
    index_jobs,
    jobs,
    v1_completions,
    v1_embeddings,
    v1_models,
    stats,
    tokens,
    health,
    reference,
)

_DESCRIPTION = """
Chat assistants that answer from your documents, with sessions that remember and streams that survive.

Send an API key with every call: `Authorization: Bearer <key>`. Every answer carries `X-Request-Id`; name it when you
report a problem.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the edge of the service is told by its settings.

    `check_migrations` raises when the schema is not ours; `gather_metrics` tells those of all processes, if there are
    several.
    """

    cors_origins: tuple[str, ...] = ()
    embed_origins: tuple[str, ...] = ()
    metrics: Exposure = "on"
    check_migrations: CheckMigrations | None = None
    gather_metrics: GatherMetrics | None = None


class _Service(FastAPI):
    """An application whose OpenAPI page tells what opens its routes."""

    def openapi(self) -> dict[str, Any]:
        """Return the page's schema."""
        schema = super().openapi()
        schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
        return schema


def build_app(parts: Parts, web: WebConfig | None = None) -> FastAPI:
    """Return the application; it answers once `building.running(parts)` is entered."""
    web = web or WebConfig()
    app = _app(parts.edge, web)
    for one in fields(parts):
        setattr(app.state, one.name, getattr(parts, one.name))
    app.state.metrics_exposure = web.metrics
    app.state.gather_metrics = web.gather_metrics
    app.state.readiness = Readiness(
        database=parts.database,
        engine=parts.engine,
        catalogue=parts.catalogue,
        check_migrations=web.check_migrations,
    )
    return app


def describe() -> dict[str, object]:
    """Return the OpenAPI schema; needs neither settings nor a database."""
    return _app(EdgeConfig(), WebConfig()).openapi()


def _app(edge: EdgeConfig, web: WebConfig) -> FastAPI:
    app = _Service(
        title="parley",
        summary="Conversations over your documents.",
        description=_DESCRIPTION,
        version=_version(),
        default_response_class=OrjsonResponse,
        redirect_slashes=False,
        openapi_url=None,  # FastAPI's pages are made anew for each call, and load their scripts from elsewhere:
        docs_url=None,  # `routers/reference.py` has ours
        redoc_url=None,
    )
    errors.install(app)
    for module in ROUTERS:
        app.include_router(module.router)
    app.add_middleware(Edge, config=edge)  # the one added last is the outermost
    app.add_middleware(cors, origins=web.cors_origins)
    app.add_middleware(EmbedCors, origins=(*web.cors_origins, *web.embed_origins))
    app.add_middleware(RequestContext, is_compat22=edge.is_compat22)
    return app


def _version() -> str:
    try:
        return version("parley")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
