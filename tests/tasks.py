"""Contexts with task groups as fixtures: pytest ends a fixture in another task than it began it in."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def in_a_task(context: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Enter and leave `context` in one task of its own; what ends it badly is raised here."""
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        try:
            async with context as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if not entered.done():
                entered.set_exception(error)
            raise

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold())
        yield await entered
        leave.set()
