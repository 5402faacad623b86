"""A search app: a name, and how a page searches and answers (conversations.md 7.7, 7.8)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType

from app.domain.errors import BadArgument, Conflict, Missing, NotAuthorized, NotOperable
from app.domain.ids import TenantId

SearchAppId = NewType("SearchAppId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchApp:
    """A search app as stored. `search_config` holds the keys of 7.7 and whatever else was sent, as sent."""

    id: SearchAppId
    tenant_id: TenantId
    name: str
    description: str
    avatar: str
    search_config: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class SearchAppMissing(Missing):
    """The search app does not exist, or belongs to another tenant."""


class SearchAppNotOperable(NotOperable):
    """The same, asked for by those who only look."""


class SearchAppNotAuthorized(NotAuthorized):
    """The same, asked for by those who would change it."""


class SearchNameTaken(Conflict):
    """Another search app of the tenant has this name, in whatever case."""


class ArgumentMissing(BadArgument):
    """Keys that a route requires are not in its body (conversations.md 1.4)."""

    def __init__(self, *names: str) -> None:
        super().__init__(f"required argument are missing: {','.join(names)}; ", param=names[0])
