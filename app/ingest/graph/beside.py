"""Doing several things beside each other, a few at a time."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from app.domain.datasets import LeaseLost

T = TypeVar("T")


async def beside(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Do `work` for each of `items`, begun in order, at most `at_once` at a time; the first failure ends the others.

    What `work` raises is raised as it is; of several at once, a `LeaseLost` rather than another.
    """
    waiting = iter(items)

    async def several() -> None:
        for item in waiting:
            await work(item)

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(several)
    except ExceptionGroup as group:
        raise _first(group) from None


def _first(group: ExceptionGroup[Exception]) -> Exception:
    lost = group.subgroup(LeaseLost)
    found: Exception = lost or group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found
