"""How much a key may ask in a stretch of time, and how it stands (conversations.md 11)."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.domain.errors import Limited
from app.domain.ids import KeyId, TenantId

RATE_EXCEEDED = "Rate limit exceeded. Please retry later."
TOO_MANY_STREAMS = "Too many concurrent streams."

_UNDER_WAY_S = 2.0  # in which some of the calls that hold reservations will have ended

KeyOfTenant = tuple[TenantId, KeyId]
"""Whose calls are counted together; tuples sort, and what is locked is locked in that order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateConfig:
    """`limit` calls and `burst` more per window of `window_s` seconds; a limit of 0 is none."""

    limit: int = 0
    burst: int = 0
    window_s: float = 60.0

    @property
    def budget(self) -> int:
        """How many calls of a window are let through."""
        return self.limit + self.burst


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What keys are held to; without anything said, to nothing. `max_streams` of 0 is no limit."""

    rate: RateConfig = field(default_factory=RateConfig)
    max_streams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was counted of a key: `used` calls of the window that ends at `ends_at` (epoch s), in `left_s` seconds."""

    used: int
    ends_at: float
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a key stands after a call. `number` is the call's place in its window, from 1."""

    config: RateConfig
    number: int
    ends_at: float
    left_s: float

    @property
    def remaining(self) -> int:
        """How many calls of the window are left; never below 0, and none while the burst is used."""
        return max(0, self.config.limit - self.number)

    @property
    def is_over(self) -> bool:
        """Whether the call is one too many."""
        return self.number > self.config.budget

    def check(self) -> None:
        """Return when the call is within the limit.

        Raises:
            Limited: it is one too many.
        """
        if self.is_over:
            raise Limited(RATE_EXCEEDED, retry_after_s=max(1.0, math.ceil(self.left_s)))


def window_of(moment: float, window_s: float) -> tuple[float, float]:
    """Return begin and end, in epoch seconds, of the window in which `moment` lies; windows tile the time."""
    begun = math.floor(moment / window_s) * window_s
    return begun, begun + window_s


class Shortage(StrEnum):
    """What a call may not have: the day's tokens are spent, or those that are left are reserved by calls under way."""

    KEY = "key"
    KEY_RESERVED = "key reserved"
    TENANT = "tenant"
    TENANT_RESERVED = "tenant reserved"


class QuotaUsedUp(Limited):
    """The tokens of the day are spent; coming back before the next day is no use."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s, code="insufficient_quota")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStanding:
    """How a key stands with the tokens of its day, by the quota of which less is left: its own, or its tenant's.

    `remaining` is what is neither spent nor reserved, never below 0; in `left_s` seconds all of `limit` is there again.
    """

    limit: int
    remaining: int
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuota:
    """Tokens per UTC day: of a key, with what hangs on it, and of its tenant. None is no quota."""

    key_id: KeyId
    of_key: int | None = None
    of_tenant: int | None = None

    def refusal(self, shortage: Shortage, now: datetime) -> Limited:
        """Return the refusal that says which quota it is, and when to come back: the next day, or soon."""
        is_of_key = shortage in (Shortage.KEY, Shortage.KEY_RESERVED)
        whose = "this API key" if is_of_key else "this tenant"
        tokens = f"{self.of_key if is_of_key else self.of_tenant} tokens per day of {whose}"
        if shortage in (Shortage.KEY_RESERVED, Shortage.TENANT_RESERVED):
            message = f"Calls under way may need all that is left of the {tokens}. Please retry later."
            return Limited(message, retry_after_s=_UNDER_WAY_S)
        midnight = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
        message = f"Token quota exceeded: the {tokens} are used up. It resets at {midnight:%Y-%m-%dT%H:%M:%SZ}."
        return QuotaUsedUp(message, retry_after_s=(midnight - now).total_seconds())
