"""How much a key may ask in a stretch of time, and how it stands (conversations.md 11)."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.domain.errors import Limited
from app.domain.ids import KeyId, TenantId

RATE_EXCEEDED = "Rate limit exceeded. Please retry later."
TOO_MANY_STREAMS = "Too many concurrent streams."

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


class QuotaUsedUp(Limited):
    """The tokens of the day are spent or reserved; coming back before the next day is no use."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s, code="insufficient_quota")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenQuota:
    """Tokens per UTC day: of a key, with what hangs on it, and of its tenant. None is no quota."""

    key_id: KeyId
    of_key: int | None = None
    of_tenant: int | None = None

    def refusal(self, of: str, now: datetime) -> QuotaUsedUp:
        """Return the refusal that says which quota is used up (`key` or `tenant`) and when the next day begins."""
        most = self.of_key if of == "key" else self.of_tenant
        midnight = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
        whose = "this API key" if of == "key" else "this tenant"
        message = (
            f"Token quota exceeded: the {most} tokens per day of {whose} are used up. "
            f"It resets at {midnight:%Y-%m-%dT%H:%M:%SZ}."
        )
        return QuotaUsedUp(message, retry_after_s=(midnight - now).total_seconds())
