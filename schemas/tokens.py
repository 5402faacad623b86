"""Bodies of API tokens and of visitors' tokens (conversations.md 9, 7.1)."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from app.domain.errors import Invalid
from app.domain.principals import Scope
from schemas.bodies import LooseBody

_YEARS_MOST_S = 100 * 365 * 24 * 3600


class TokenCreate(LooseBody):
    """Body of `POST /system/tokens`; all of it may be left out. Other keys are ignored."""

    name: str | None = Field(default=None, max_length=255, description="What it is for.")
    scopes: list[Literal["read", "chat", "manage"]] | None = Field(
        default=None, description="What it may do; else what your key may. Never more than that."
    )
    expires_at: float | None = Field(default=None, description="When it ends, in seconds since 1970.")
    expires_in: float | None = Field(default=None, description="The same, in seconds from now.")
    tokens_per_day: Annotated[int, Field(ge=0, le=2**62)] | None = Field(
        default=None, description="Model tokens it may use a day; else as many as your key."
    )

    def named_scopes(self) -> frozenset[Scope] | None:
        """Return the scopes that are asked for; None when none are named."""
        if self.scopes is None:
            return None
        if not self.scopes:
            raise Invalid("`scopes` must name at least one scope.", param="scopes")
        return frozenset(map(Scope, self.scopes))

    def end(self) -> datetime | None:
        """Return the moment the token ends."""
        now = datetime.now(UTC)
        if self.expires_at is not None and self.expires_in is not None:
            raise Invalid("Say either `expires_at` or `expires_in`.", param="expires_in")
        param = "expires_in" if self.expires_in is not None else "expires_at"
        left_s = self.expires_in
        if self.expires_at is not None:
            left_s = self.expires_at - now.timestamp()
        if left_s is None:
            return None
        if not 0 < left_s <= _YEARS_MOST_S:
            raise Invalid(f"`{param}` must lie in the future, a hundred years at most.", param=param)
        return now + timedelta(seconds=left_s)


class TokenRotate(LooseBody):
    """Body of `POST /system/tokens/{token}/rotate`."""

    overlap_s: Annotated[int, Field(ge=0, le=30 * 24 * 3600)] = Field(
        default=3600, description="How long the old secrets go on to work, in seconds; 30 days at most."
    )


class VisitorTokenCreate(LooseBody):
    """Body of `POST /chatbots/{dialog_id}/visitor_tokens` and `POST /searches/{search_id}/visitor_tokens`."""

    origin: str = Field(max_length=500, description="Origin of the pages that may use it: https://shop.example.")
    visitor: str = Field(min_length=1, max_length=255, description="Your own name for whoever looks at the page.")
    ttl_s: Annotated[int, Field(ge=1, le=600)] = Field(default=600, description="How long it works, in seconds.")
