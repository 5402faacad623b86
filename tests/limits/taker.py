"""One process of several that count calls of one key: `python -m tests.limits.taker URL TENANT KEY CALLS WINDOW_S`.

Says `ready`, waits for a line, makes its calls at once, and says how many were let through.
"""

import sys

import anyio
import anyio.lowlevel

from app.domain.ids import KeyId, TenantId
from app.domain.limits import LimitsConfig, RateConfig
from app.engine.lease import new_process_id
from app.security.limits import Limits
from repositories.limits import LimitCounters


async def main(url: str, tenant_id: str, key_id: str, calls: int, window_s: float) -> None:
    """Make `calls` calls at once with a budget of 100."""
    config = LimitsConfig(rate=RateConfig(limit=70, burst=30, window_s=window_s))
    limits = Limits(LimitCounters(url), config, new_process_id())
    key = TenantId(tenant_id), KeyId(key_id)
    passed = 0

    async def call() -> None:
        nonlocal passed
        standing = await limits.requests.enter(key)
        assert standing is not None
        passed += not standing.is_over

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limits.run)
        await limits.requests.enter((TenantId("warm"), KeyId("up")))
        print("ready", flush=True)  # noqa: T201 (its parent reads it)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as callers:
            for _ in range(calls):
                callers.start_soon(call)
                await anyio.lowlevel.checkpoint()
        print(passed, limits.requests.round_trips, flush=True)  # noqa: T201 (its parent reads it)
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
