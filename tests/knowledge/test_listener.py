"""One LISTEN connection per process (design.md 1.7)."""

import anyio
from sqlalchemy import text

from repositories.listener import Listener
from tests.knowledge.world import World


async def test_what_is_sent_reaches_every_subscriber_of_the_channel(world: World) -> None:
    listener = Listener(world.urls.app)
    heard: list[str] = []
    connected, told = anyio.Event(), anyio.Event()

    def broken(_payload: str) -> None:
        raise ValueError

    def hear(payload: str) -> None:
        heard.append(payload)
        told.set()

    listener.subscribe("parley_a", broken)
    listener.subscribe("parley_a", hear)
    unsubscribe = listener.subscribe("parley_b", heard.append)
    listener.on_reconnect(connected.set)
    unsubscribe()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.run)
            await connected.wait()
            await _notify(world, "parley_b", "nobody")
            await _notify(world, "parley_a", "one")
            await told.wait()
            assert heard == ["one"]
            assert listener.is_connected
            tasks.cancel_scope.cancel()


async def test_a_lost_connection_is_made_again_and_pollers_are_told(world: World) -> None:
    listener = Listener(world.urls.app, backoff_s=0.01)
    heard: list[str] = []
    connects = 0
    connected, told = anyio.Event(), anyio.Event()

    def note() -> None:
        nonlocal connects, connected
        connects += 1
        connected.set()

    def hear(payload: str) -> None:
        heard.append(payload)
        told.set()

    listener.subscribe("parley_a", hear)
    listener.on_reconnect(note)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.run)
            await connected.wait()
            connected = anyio.Event()
            async with world.engine.begin() as connection:
                await connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
                )
            await connected.wait()
            await _notify(world, "parley_a", "after")
            await told.wait()
            assert heard == ["after"]
            assert connects == 2
            tasks.cancel_scope.cancel()


async def test_a_channel_named_later_is_listened_to(world: World) -> None:
    listener = Listener(world.urls.app)
    connected, told = anyio.Event(), anyio.Event()
    heard: list[str] = []

    def hear(payload: str) -> None:
        heard.append(payload)
        told.set()

    listener.on_reconnect(lambda: connected.set())
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.run)
            await connected.wait()
            connected = anyio.Event()
            listener.subscribe("parley_late", hear)
            await connected.wait()
            await _notify(world, "parley_late", "better than never")
            await told.wait()
            tasks.cancel_scope.cancel()
    assert heard == ["better than never"]


async def _notify(world: World, channel: str, payload: str) -> None:
    async with world.engine.begin() as connection:
        await connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})
