"""A raw HTTP/1.1 connection that notes when bytes came and does nothing else while a run lasts."""

import asyncio
from time import perf_counter
from typing import cast

from bench.jobs import Target
from bench.wire import END_OF_CHUNKS, parse_head


class Exchange:
    """One request and the reads of its answer."""

    __slots__ = ("done", "reads", "sent_s")

    def __init__(self) -> None:
        self.sent_s = 0.0
        self.reads: list[tuple[float, bytes]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Connection(asyncio.Protocol):
    """One keep-alive connection; one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._head = b""
        self._tail = b""
        self._left: int | None = None  # of a body with a length
        self._is_chunked = False
        self.is_open = False

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a port of this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def ask(self, request: bytes) -> Exchange:
        """Send a request; the exchange is done when its answer is whole."""
        assert self._transport is not None
        exchange = self._exchange = Exchange()
        self._head, self._tail, self._left, self._is_chunked = b"", b"", None, False
        exchange.sent_s = perf_counter()
        self._transport.write(request)
        return exchange

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is not registered as one
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # what was cut off shows when it is checked
        self.is_open = False
        if self._exchange is not None and not self._exchange.done.done():
            self._exchange.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        now, exchange = perf_counter(), self._exchange
        if exchange is None:
            return
        exchange.reads.append((now, data))
        if self._is_chunked:
            self._tail = (self._tail + data)[-len(END_OF_CHUNKS) :]
            is_over = self._tail == END_OF_CHUNKS
        elif self._left is not None:
            self._left -= len(data)
            is_over = self._left <= 0
        else:
            is_over = self._look_at_head(data)
        if is_over and not exchange.done.done():
            self._exchange = None
            exchange.done.set_result(None)

    def _look_at_head(self, data: bytes) -> bool:
        """Learn how the body ends; return whether it has."""
        self._head += data
        parsed = parse_head(self._head)
        if parsed is None:
            return False
        head, start = parsed
        self._is_chunked = head.headers.get("transfer-encoding") == "chunked"
        if self._is_chunked:
            self._tail = self._head[-len(END_OF_CHUNKS) :]
            return self._tail == END_OF_CHUNKS
        self._left = int(head.headers.get("content-length", "0")) - (len(self._head) - start)
        return self._left <= 0


class Pool:
    """Idle connections to one port, the last used first."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []

    async def fill(self, count: int) -> None:
        """Open connections until `count` are idle."""
        while len(self._idle) < count:
            self._idle.append(await Connection.open(self._port))

    async def take(self) -> Connection:
        """Return an idle connection, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await Connection.open(self._port)

    def give(self, connection: Connection) -> None:
        """Keep a connection for the next."""
        if connection.is_open:
            self._idle.append(connection)

    def close(self) -> None:
        """Hang up on all."""
        for connection in self._idle:
            connection.close()


def request_bytes(target: Target) -> bytes:
    """Return the request that `target` describes."""
    body = target.body.encode()
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: 127.0.0.1:{target.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if target.key:
        lines.append(f"Authorization: Bearer {target.key}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
