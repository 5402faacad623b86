"""Routes that the apps of one test process share, and nothing else of them.

FastAPI works a route out for every app that includes it, a millisecond apiece: 45 ms for the routes of knowledge and
110 ms for all of them, before each test's first answer. Routes hold no state (that is in `app.state`, which every app
has for itself), so one app's may serve the others.
"""

from functools import cache

from fastapi import APIRouter, FastAPI
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from app.main import ROUTERS
from routers.deps import OrjsonResponse

_plain = FastAPI(default_response_class=JSONResponse)
_included: dict[int, BaseRoute] = {}  # by the identity of a router, which lives as long as its module


def include(app: FastAPI, *routers: APIRouter) -> None:
    """Give a plain `app` the routes of `routers`, as `include_router` does."""
    for router in routers:
        if id(router) not in _included:
            _plain.include_router(router)
            _included[id(router)] = _plain.router.routes[-1]
        app.router.routes.append(_included[id(router)])


def share_all(app: FastAPI) -> None:
    """Let `app`, which `build_app` made, answer through routes that are worked out already."""
    shared = _all()
    own = app.router.routes[-len(shared) :]
    assert [_router(route) for route in own] == [_router(route) for route in shared]
    app.router.routes[-len(shared) :] = shared


@cache
def _all() -> tuple[BaseRoute, ...]:
    app = FastAPI(default_response_class=OrjsonResponse)
    for module in ROUTERS:
        app.include_router(module.router)
    return tuple(app.router.routes[-len(ROUTERS) :])


def _router(route: BaseRoute) -> object:
    return getattr(route, "original_router", route)
