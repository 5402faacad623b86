"""A TCP proxy that breaks the first connections off, after a chosen number of bytes in a chosen direction."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Cut:
    """After so many bytes `up` (of the request) or `down` (of the answer) both sides are hung up on."""

    direction: Literal["up", "down"]
    after: int


class CuttingProxy:
    """Cuts connection number n as `cuts[n]` says; those after the last cut are left alone."""

    def __init__(self, target: str, cuts: Sequence[Cut]) -> None:
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._cuts = list(cuts)
        self.connections = 0
        self.base_url = ""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["CuttingProxy", None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = self._cuts[self.connections] if self.connections < len(self._cuts) else None
        self.connections += 1
        there, back = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as tasks:
                ended = asyncio.Event()
                up = cut.after if cut is not None and cut.direction == "up" else None
                down = cut.after if cut is not None and cut.direction == "down" else None
                pumps = [
                    tasks.create_task(_pump(reader, back, up, ended)),
                    tasks.create_task(_pump(there, writer, down, ended)),
                ]
                await ended.wait()
                for pump in pumps:
                    pump.cancel()
        finally:
            for one in (writer, back):
                with suppress(OSError):
                    if cut is not None:
                        one.transport.abort()
                    one.close()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, most: int | None, ended: asyncio.Event
) -> None:
    """Copy until the end, or `most` bytes."""
    try:
        while most is None or most > 0:
            data = await source.read(65536 if most is None else min(most, 65536))
            if not data:
                break
            most = most - len(data) if most is not None else None
            sink.write(data)
            await sink.drain()
        if most == 0:
            with suppress(OSError):
                await sink.drain()
    except OSError:  # one side hung up, which is an end like any other; what became of the call, its client tells
        return
    finally:
        ended.set()
