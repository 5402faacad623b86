"""Work on many things, a few at a time."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import anyio

from app.domain.datasets import LeaseLost

T = TypeVar("T")
R = TypeVar("R")


async def each(items: Sequence[T], work: Callable[[T], Awaitable[R]], *, at_once: int) -> list[R]:
    """Return what `work` makes of each item, in order and begun in order; never more than `at_once` are under way.

    The first failure ends the others, and is raised as it is; of several at once, a `LeaseLost` rather than another.
    """
    made: dict[int, R] = {}
    waiting = iter(range(len(items)))

    async def take(waiting: Iterator[int]) -> None:
        for at in waiting:
            made[at] = await work(items[at])

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(min(at_once, len(items))):
                tasks.start_soon(take, waiting)
    except ExceptionGroup as group:
        raise _first(group) from group
    return [made[at] for at in range(len(items))]


def _first(group: ExceptionGroup[Exception]) -> Exception:
    found: Exception = group.subgroup(LeaseLost) or group
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found
