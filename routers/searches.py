"""Routes of search apps, and the older names of them (conversations.md 7.8)."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Response

from app.domain.search_apps import ArgumentMissing
from app.services.asking_datasets import ask_search_app, search_id_of
from app.services.search_apps import (
    SearchAppService,
    read_owners,
    read_search_listing,
    required_id,
)
from app.wire.envelope import success
from app.wire.search_apps import search_app_list, search_app_object
from routers.deps import SCOPE_CHAT, SCOPE_READ, Compat22, KeyedRoute, OrjsonResponse, TurnCallDep, Unit
from routers.event_stream import EventStream
from routers.repeating import RepeatableCall
from routers.responses import ENVELOPE, STREAMED
from routers.search_deps import stream_answer
from schemas.bodies import UrlText
from schemas.searches import (
    NamedSearchAppUpdate,
    SearchAppCreate,
    SearchAppName,
    SearchAppUpdate,
    SearchOwners,
    SearchQuestion,
)

router = APIRouter(route_class=KeyedRoute, tags=["search apps"], responses=ENVELOPE)


async def _service(unit: Unit, is_compat22: Compat22) -> SearchAppService:
    return SearchAppService(unit, is_compat22=is_compat22)


Searches = Annotated[SearchAppService, Depends(_service)]


class _List:
    """The query of a list; without pages it holds all there are."""

    def __init__(
        self,
        service: Searches,
        keywords: Annotated[UrlText, Query(description="Part of the name.")] = "",
        page: Annotated[UrlText, Query(description="From 1; 0 and absent: no pages.")] = "",
        page_size: Annotated[UrlText, Query(description="0 and absent: no pages.")] = "",
        orderby: UrlText = "create_time",
        desc: UrlText = "true",
    ) -> None:
        self._service = service
        self._keywords = keywords
        self._listing = read_search_listing(page=page, page_size=page_size, orderby=orderby, desc=desc)

    async def shown(self, owner_ids: Sequence[Any]) -> Response:
        total, apps, owner = await self._service.page(self._listing, keywords=self._keywords, owner_ids=owner_ids)
        return OrjsonResponse(success(search_app_list(total, apps, owner)))


List = Annotated[_List, Depends()]


@router.post("/api/v1/searches")
@router.post("/v1/search/create")
async def create_search(
    service: Searches, unit: Unit, call: RepeatableCall, body: Annotated[SearchAppCreate | None, Body()] = None
) -> Response:
    """Make a search app; a name that is taken gets a number."""

    async def create() -> dict[str, object]:
        return success({"search_id": await service.create(body.sent() if body else {})})

    return await call.once(unit, create)


@router.get("/api/v1/searches")
async def list_searches(
    listed: List, owner_ids: Annotated[list[UrlText] | None, Query(description="Whose; absent: all.")] = None
) -> Response:
    """List search apps."""
    return await listed.shown(owner_ids or [])


@router.post("/v1/search/list", openapi_extra=SCOPE_READ)
async def list_searches_as_before(listed: List, body: Annotated[SearchOwners | None, Body()] = None) -> Response:
    """List search apps; whose is said in the body."""
    return await listed.shown(read_owners(body.sent() if body else {}))


@router.get("/api/v1/searches/{search_id}")
async def get_search(search_id: UrlText, service: Searches) -> Response:
    """Return one search app."""
    return OrjsonResponse(success(search_app_object(await service.get(search_id))))


@router.get("/v1/search/detail")
async def get_search_as_before(
    service: Searches, search_id: Annotated[UrlText | None, Query(description="The search app.")] = None
) -> Response:
    """Return one search app."""
    if search_id is None:
        raise ArgumentMissing("search_id")
    return OrjsonResponse(success(search_app_object(await service.get(search_id))))


@router.put("/api/v1/searches/{search_id}")
async def update_search(
    search_id: UrlText, service: Searches, body: Annotated[SearchAppUpdate | None, Body()] = None
) -> Response:
    """Change a search app; of its configuration the keys that are sent."""
    return OrjsonResponse(success(search_app_object(await service.update(search_id, body.sent() if body else {}))))


@router.post("/v1/search/update")
async def update_search_as_before(
    service: Searches, body: Annotated[NamedSearchAppUpdate | None, Body()] = None
) -> Response:
    """Change a search app; of its configuration the keys that are sent."""
    sent = body.sent() if body else {}
    search_id = required_id(sent, "search_id", "name", "search_config", "tenant_id")
    return OrjsonResponse(success(search_app_object(await service.update(search_id, sent))))


@router.delete("/api/v1/searches/{search_id}")
async def delete_search(search_id: UrlText, service: Searches) -> Response:
    """Delete a search app for good."""
    await service.delete(search_id)
    return OrjsonResponse(success(True))


@router.post("/v1/search/rm")
async def delete_search_as_before(service: Searches, body: Annotated[SearchAppName | None, Body()] = None) -> Response:
    """Delete a search app for good."""
    await service.delete(required_id(body.sent() if body else {}, "search_id"))
    return OrjsonResponse(success(True))


@router.post(
    "/api/v1/searches/{search_id}/completions", openapi_extra=SCOPE_CHAT, response_class=EventStream, responses=STREAMED
)
@router.post(
    "/api/v1/searches/{search_id}/completion", openapi_extra=SCOPE_CHAT, response_class=EventStream, responses=STREAMED
)
async def ask_of_search_app(
    search_id: UrlText, call: TurnCallDep, body: Annotated[SearchQuestion | None, Body()] = None
) -> Response:
    """Answer from the datasets of a search app, as SSE; nothing is remembered of it."""
    body = body or SearchQuestion()
    return await stream_answer(call, ask_search_app(search_id, body.sent()), body)


@router.post("/v1/conversation/ask", openapi_extra=SCOPE_CHAT, response_class=EventStream, responses=STREAMED)
async def ask_as_before(call: TurnCallDep, body: Annotated[SearchQuestion | None, Body()] = None) -> Response:
    """Answer from datasets, with the settings of a search app if one is named, as SSE."""
    body = body or SearchQuestion()
    return await stream_answer(call, ask_search_app(search_id_of(body.sent()), body.sent()), body)
