"""Calls of keys counted in Redis, for those who have one: an accelerator, never a source of truth (design.md 1.7)."""

import math
import time
from collections.abc import Callable, Mapping

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.domain.limits import KeyOfTenant, Taken, window_of
from repositories.limits import RequestCounter

log = structlog.get_logger()

_KEPT_S = 60  # after its window a counter is kept this long: clocks of machines differ
_AWAY_S = 5.0  # Redis is left alone for so long once it has failed


class RedisCounter:
    """Counts in Redis; the window is that of this machine's clock."""

    def __init__(self, url: str, *, timeout_s: float = 0.5, clock: Callable[[], float] = time.time) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            client_name="parley-limits",
        )
        self._clock = clock

    async def take(self, wanted: Mapping[KeyOfTenant, int], window_s: float) -> dict[KeyOfTenant, Taken]:
        """Count `wanted` calls of each key in the window of now; return how many it then has.

        Raises:
            RedisError, OSError, TimeoutError: it cannot be reached, or is no Redis.
        """
        now = self._clock()
        begun, ends_at = window_of(now, window_s)
        async with self._redis.pipeline(transaction=False) as pipe:
            for (tenant_id, key_id), count in wanted.items():
                name = f"parley:rate:{tenant_id}:{key_id}:{window_s:g}:{begun:.3f}"
                pipe.incrby(name, count)
                pipe.expire(name, math.ceil(window_s) + _KEPT_S)
            answers = await pipe.execute()
        counts = answers[::2]
        return {
            key: Taken(used=int(used), ends_at=ends_at, left_s=ends_at - now)
            for key, used in zip(wanted, counts, strict=True)
        }

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


class FallingBack:
    """Counts with `first`; while that fails, with `second`, which knows nothing of what was counted before."""

    def __init__(
        self, first: RequestCounter, second: RequestCounter, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = first
        self._second = second
        self._monotonic = monotonic
        self._away_until_s = float("-inf")

    async def take(self, wanted: Mapping[KeyOfTenant, int], window_s: float) -> dict[KeyOfTenant, Taken]:
        """Count with whichever answers; raises what `second` does."""
        if self._monotonic() >= self._away_until_s:
            try:
                return await self._first.take(wanted, window_s)
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("redis_away", error=str(error)[:300], again_in_s=_AWAY_S)
                self._away_until_s = self._monotonic() + _AWAY_S
        return await self._second.take(wanted, window_s)

    async def close(self) -> None:
        """Give back what both hold."""
        await self._first.close()
        await self._second.close()
