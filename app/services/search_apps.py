"""Rules of search apps: the checks, in the order of conversations.md 7.8."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.domain.datasets import free_names
from app.domain.errors import BadArgument, Invalid, Missing, WrongType
from app.domain.ids import new_id
from app.domain.listing import Listing
from app.domain.search_apps import (
    ArgumentMissing,
    SearchApp,
    SearchAppId,
    SearchAppMissing,
    SearchAppNotAuthorized,
    SearchAppNotOperable,
    SearchNameTaken,
)
from app.services.listing import read_listing
from app.services.reading import texts
from repositories.unit_of_work import UnitOfWork

ALL_MOST = 10_000
"""How many search apps a list without pages shows."""

_NAME_MOST, _NEW_NAME_MOST = 128, 255  # bytes
_FIXED = ("id", "created_by", "create_time", "update_time", "create_date", "update_date")


def new_config() -> dict[str, Any]:
    """Return the configuration of a search app whose maker sent none (7.7)."""
    return {
        "kb_ids": [],
        "doc_ids": [],
        "similarity_threshold": 0.2,
        "vector_similarity_weight": 0.3,
        "top_k": 1024,
        "rerank_id": "",
        "use_kg": False,
        "summary": False,
        "chat_id": "",
        "llm_setting": {},
        "chat_settingcross_languages": [],
        "highlight": False,
        "keyword": False,
        "web_search": False,
        "related_search": False,
        "query_mindmap": False,
    }


def require_keys(sent: Mapping[str, Any], *names: str) -> None:
    """Return when every one of `names` is among the keys that were sent.

    Raises:
        ArgumentMissing: it is not; all that are missing are named.
    """
    missing = [name for name in names if name not in sent]
    if missing:
        raise ArgumentMissing(*missing)


def required_id(sent: Mapping[str, Any], *names: str) -> str:
    """Return the id of a search app under the first of `names`, all of which must have been sent.

    Raises:
        ArgumentMissing: they were not.
        WrongType: it is no text.
    """
    require_keys(sent, *names)
    app_id = sent[names[0]]
    if not isinstance(app_id, str):
        raise WrongType(f"`{names[0]}` should be a string", param=names[0])
    return app_id


def read_owners(sent: Mapping[str, Any]) -> list[str]:
    """Return whose search apps a body asks for; none named is an empty list.

    Raises:
        WrongType: `owner_ids` is no list of texts.
    """
    owners = sent.get("owner_ids") or []
    if not isinstance(owners, list):
        raise WrongType("`owner_ids` should be a list", param="owner_ids")
    return texts(owners, "owner_ids")


async def search_app_of(unit: UnitOfWork, app_id: str) -> SearchApp:
    """Return a search app for those who only look.

    Raises:
        SearchAppNotOperable: there is no such search app, or it is not the tenant's: the two look alike.
    """
    app = await unit.search_apps.get(SearchAppId(app_id))
    if app is None:
        raise SearchAppNotOperable("Has no permission for this operation.")
    return app


class SearchAppService:
    """Search apps of the unit's tenant. RAGFlow 0.22 has other words for one that is not there and would be changed."""

    def __init__(self, unit: UnitOfWork, *, is_compat22: bool = False) -> None:
        self._unit = unit
        self._is_compat22 = is_compat22

    async def create(self, sent: Mapping[str, Any]) -> SearchAppId:
        """Make a search app of what was sent; a name that is taken gets a number.

        Raises:
            ArgumentMissing, Invalid: a check failed.
        """
        require_keys(sent, "name")
        name = _name(sent["name"])
        size = len(name.encode())
        if size > _NEW_NAME_MOST:
            raise Invalid(f"Search name length is {size} which is large than {_NEW_NAME_MOST}.", param="name")
        description, avatar = _text(sent, "description"), _text(sent, "avatar")
        config = _config(sent)
        now = datetime.now(UTC)
        app = SearchApp(
            id=SearchAppId(new_id()),
            tenant_id=self._unit.tenant_id,
            name=name,
            description=description or "",
            avatar=avatar or "",
            search_config=new_config() | (config or {}),
            created_at=now,
            updated_at=now,
        )
        if await self._unit.search_apps.add(app, free_names(name)) is None:
            raise SearchNameTaken("Duplicated search name.", param="name")
        return app.id

    async def update(self, app_id: str, sent: Mapping[str, Any]) -> SearchApp:
        """Lay what was sent over a search app; the configuration key by key.

        Raises:
            ArgumentMissing, BadArgument, Invalid: a check failed.
            Missing: there is no such search app, or the tenant that was named is another one.
        """
        require_keys(sent, "name", "search_config")
        fixed = next((key for key in _FIXED if key in sent), None)
        if fixed is not None:
            raise BadArgument(f"Parameter {fixed} isn't allowed", param=fixed)
        name = _name(sent["name"], is_short=True)
        if sent.get("tenant_id") not in (None, self._unit.tenant_id):
            raise Missing("Authorized identity.", param="tenant_id")
        app = await self._unit.search_apps.get(SearchAppId(app_id), lock=True)
        if app is None:
            raise self._absent(app_id)
        if name.lower() != app.name.lower() and await self._unit.search_apps.has_name(name, but=app.id):
            raise SearchNameTaken("Duplicated search name.", param="name")
        config = _config(sent)
        description, avatar = _text(sent, "description"), _text(sent, "avatar")
        changed = replace(
            app,
            name=name,
            description=app.description if description is None else description,
            avatar=app.avatar if avatar is None else avatar,
            search_config=app.search_config | (config or {}),
        )
        written = await self._unit.search_apps.update(changed)
        if written is None:
            raise self._absent(app_id)
        return written

    async def get(self, app_id: str) -> SearchApp:
        """Return a search app. Raises as `search_app_of`."""
        return await search_app_of(self._unit, app_id)

    async def page(
        self, listing: Listing, *, keywords: str, owner_ids: Sequence[Any]
    ) -> tuple[int, list[SearchApp], str]:
        """Return how many match, a stretch of them, and the name of their owner; an empty filter is none."""
        tenant = await self._unit.tenants.get()
        owner = tenant.name if tenant is not None else ""
        if owner_ids and self._unit.tenant_id not in owner_ids:
            return 0, [], owner
        total, apps = await self._unit.search_apps.page(listing, keywords=keywords or None)
        return total, apps, owner

    async def delete(self, app_id: str) -> None:
        """Delete a search app for good.

        Raises:
            SearchAppMissing, SearchAppNotAuthorized: there is none.
        """
        if not await self._unit.search_apps.delete(SearchAppId(app_id)):
            raise self._absent(app_id)

    def _absent(self, app_id: str) -> SearchAppMissing | SearchAppNotAuthorized:
        if self._is_compat22:
            return SearchAppNotAuthorized("No authorization.")
        return SearchAppMissing(f"Cannot find search {app_id}")


def read_search_listing(*, page: str = "", page_size: str = "", orderby: str = "", desc: str = "") -> Listing:
    """Return what a query asks for; without a page or a page size, or with 0 for one, all there are.

    Raises:
        Invalid: not a number, or no such order.
    """
    listing = read_listing(page=page or "0", page_size=page_size or "0", orderby=orderby, desc=desc)
    is_paged = listing.limit > 0 and (page or "0").strip("0") != ""
    return listing if is_paged else replace(listing, limit=ALL_MOST, offset=0)


def _name(sent: Any, *, is_short: bool = False) -> str:
    if not isinstance(sent, str):
        raise WrongType("Search name must be string.", param="name")
    name = sent.strip()
    if not name:
        raise Invalid("Search name can't be empty.", param="name")
    size = len(name.encode())
    if is_short and size > _NAME_MOST:
        raise Invalid(f"Search name length is {size} which is large than {_NAME_MOST}", param="name")
    return name


def _text(sent: Mapping[str, Any], field: str) -> str | None:
    value = sent.get(field)
    if value is not None and not isinstance(value, str):
        raise WrongType(f"`{field}` should be a string", param=field)
    return value


def _config(sent: Mapping[str, Any]) -> dict[str, Any] | None:
    config = sent.get("search_config")
    if config is not None and not isinstance(config, dict):
        raise Invalid("search_config must be a JSON object", param="search_config")
    return config
