"""The OpenAPI page, for programs and for people; no key (operations.md 4)."""

from collections.abc import Callable
from typing import Annotated, Any

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from app.wire.reference_page import reference_page

router = APIRouter(tags=["machines"])


class Reference:
    """The page, made when it is first asked for, in a thread: that takes a second, and no answer waits for it."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe
        self._pages: tuple[bytes, str] | None = None
        self._one_at_a_time = anyio.Lock()

    async def pages(self) -> tuple[bytes, str]:
        """Return it as JSON and as HTML."""
        async with self._one_at_a_time:
            if self._pages is None:
                self._pages = await anyio.to_thread.run_sync(self._make)
            return self._pages

    def _make(self) -> tuple[bytes, str]:
        schema = self._describe()
        return orjson.dumps(schema), reference_page(schema)


async def _reference(request: Request) -> Reference:
    state = request.app.state
    if not hasattr(state, "reference"):
        state.reference = Reference(request.app.openapi)
    reference: Reference = state.reference
    return reference


ReferenceDep = Annotated[Reference, Depends(_reference)]


@router.get("/openapi.json", include_in_schema=False)
async def show_schema(reference: ReferenceDep) -> Response:
    """Tell of every route in OpenAPI 3.1."""
    return Response((await reference.pages())[0], media_type="application/json")


@router.get("/docs", include_in_schema=False)
async def show_reference(reference: ReferenceDep) -> Response:
    """Show every route; the page needs nothing from elsewhere."""
    return HTMLResponse((await reference.pages())[1])
