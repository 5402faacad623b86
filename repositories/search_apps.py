"""Search apps of one tenant."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.search_apps import search_apps
from app.domain.ids import TenantId
from app.domain.listing import Listing, OrderBy
from app.domain.search_apps import SearchApp, SearchAppId, SearchNameTaken
from repositories.listed import listed
from repositories.moments import later
from repositories.names import free_name

_ORDERS: dict[OrderBy, Any] = {
    "create_time": search_apps.c.created_at,
    "update_time": search_apps.c.updated_at,
    "name": search_apps.c.name,
}

_FREE_NAME = free_name("search_apps", "true")

_STORED = ("id", "tenant_id", "name", "description", "avatar", "search_config", "created_at", "updated_at")


class SearchAppRepository:
    """Search apps of one tenant. Never commits."""

    def __init__(self, connection: AsyncConnection, tenant_id: TenantId) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._own = search_apps.c.tenant_id == tenant_id

    async def add(self, app: SearchApp, names: Sequence[str]) -> str | None:
        """Insert `app` under the first of `names` that is free in any case; that name, None when all are taken."""
        values = {each: getattr(app, each) for each in _STORED}
        while True:
            free = await self._connection.execute(_FREE_NAME, {"tenant": self._tenant_id, "names": list(names)})
            name = free.scalar_one_or_none()
            if name is None:
                return None
            statement = insert(search_apps).values(values | {"name": name}).on_conflict_do_nothing()
            if (await self._connection.execute(statement.returning(search_apps.c.id))).first() is not None:
                return str(name)  # else another call took the name in between

    async def get(self, app_id: SearchAppId, *, lock: bool = False) -> SearchApp | None:
        """Return a search app; `lock` holds other writers back until the unit ends."""
        statement = select(search_apps).where(self._own, search_apps.c.id == app_id)
        if lock:
            statement = statement.with_for_update()
        row = (await self._connection.execute(statement)).one_or_none()
        return _app(row) if row is not None else None

    async def has_name(self, name: str, *, but: SearchAppId) -> bool:
        """Say whether a search app other than `but` has the name, in whatever case."""
        statement = select(search_apps.c.id).where(
            self._own, func.lower(search_apps.c.name) == func.lower(name), search_apps.c.id != but
        )
        return (await self._connection.execute(statement)).first() is not None

    async def update(self, app: SearchApp) -> SearchApp | None:
        """Write the app's fields; the app with its new time, None when it is gone.

        Raises:
            SearchNameTaken: another search app has the name.
        """
        values = {
            "name": app.name,
            "description": app.description,
            "avatar": app.avatar,
            "search_config": app.search_config,
            "updated_at": later,
        }
        statement = update(search_apps).where(self._own, search_apps.c.id == app.id).values(values)
        try:
            row = (await self._connection.execute(statement.returning(search_apps))).one_or_none()
        except IntegrityError as error:
            if "uq_search_apps_name" in str(error.orig):
                raise SearchNameTaken("Duplicated search name.", param="name") from error
            raise
        return _app(row) if row is not None else None

    async def page(self, listing: Listing, *, keywords: str | None = None) -> tuple[int, list[SearchApp]]:
        """Return how many search apps have `keywords` in their names, and the stretch of them `listing` names."""
        matching = [self._own]
        if keywords is not None:
            matching.append(search_apps.c.name.icontains(keywords, autoescape=True))
        meant = select(search_apps).where(*matching)
        total, rows = await listed(self._connection, meant, listing, _ORDERS, search_apps.c.id)
        return total, [_app(row) for row in rows]

    async def delete(self, app_id: SearchAppId) -> bool:
        """Delete a search app for good; whether there was one."""
        gone = delete(search_apps).where(self._own, search_apps.c.id == app_id)
        return (await self._connection.execute(gone)).rowcount > 0


def _app(row: Row[Any]) -> SearchApp:
    return SearchApp(**{name: getattr(row, name) for name in _STORED})
