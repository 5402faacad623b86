"""When to ask again: backoff with jitter, and the retry loop of calls that answer in one piece."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.domain.errors import UpstreamFailed, UpstreamTimeout
from app.llm.base import AttemptObserver, outcome_of
from app.llm.replies import retrying_helps


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often one upstream is asked and how long is waited in between: `base_s` doubling up to `cap_s`.

    A provider's own `retry-after` is kept to if it is at most `max_retry_after_s`; a longer one ends the retries.
    """

    attempts: int = 3
    base_s: float = 0.25
    cap_s: float = 4.0
    jitter: float = 0.25  # part of the wait that is left to chance
    max_retry_after_s: float = 10.0

    def wait_s(self, error: UpstreamFailed, attempt: int, chance: float) -> float | None:
        """Return the wait after failed attempt number `attempt` (from 1), or None: give up. `chance` is in [0, 1)."""
        if attempt >= self.attempts or not retrying_helps(error):
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= self.max_retry_after_s else None
        full = min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        return float(full * (1 - self.jitter * chance))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Time and chance, so that tests can bring their own."""

    clock: Callable[[], float] = lambda: asyncio.get_running_loop().time()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


REAL = Surroundings()

T = TypeVar("T")


async def call_with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    provider: str,
    model: str,
    deadline_s: float,
    policy: RetryPolicy,
    on_attempt: AttemptObserver | None = None,
    surroundings: Surroundings = REAL,
) -> T:
    """Return what `call` returns, asking again as `policy` says and never past `deadline_s`.

    Raises:
        UpstreamFailed: the last failure, or one of its kinds.
    """
    attempt = 0
    while True:
        attempt += 1
        begun = surroundings.clock()
        if begun >= deadline_s:
            raise UpstreamTimeout("No time was left to ask the model provider.")
        failure: BaseException | None = None
        try:
            return await call()
        except UpstreamFailed as error:
            failure = error
            wait = policy.wait_s(error, attempt, surroundings.chance())
            if wait is None or surroundings.clock() + wait >= deadline_s:
                raise
        except BaseException as error:
            failure = error
            raise
        finally:
            if on_attempt is not None:
                on_attempt(provider, model, outcome_of(failure), surroundings.clock() - begun)
        await surroundings.sleep(wait)
