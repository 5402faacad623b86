import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from app.domain.errors import UpstreamFailed, UpstreamTimeout
from app.net.http import HttpClient, HttpConfig, UpstreamBroken, UpstreamUnreachable
from tests.upstream.fixtures import ScriptedUpstream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def soon(seconds: float = 5) -> float:
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncGenerator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_calls_share_a_connection(http: HttpClient) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async with raw_server(handler) as url:
        for _ in range(3):
            answer, body = await http.fetch("GET", url, until_s=soon())
            assert (answer.status, body) == (200, b"ok")

    assert connections == 1


async def test_a_request_on_an_idle_connection_the_peer_was_closing_is_sent_once_more(http: HttpClient) -> None:
    requests = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        for number in range(2):
            await reader.readuntil(b"\r\n\r\n")
            requests += 1
            if number == 1:
                return  # hang up on the second request of each connection
            writer.write(OK)

    async with raw_server(handler) as url:
        for _ in range(2):
            _, body = await http.fetch("POST", url, content=b"", until_s=soon())
            assert body == b"ok"

    assert requests == 3


async def test_a_new_connection_that_is_hung_up_on_is_not_tried_again(http: HttpClient) -> None:
    requests = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1

    async with raw_server(handler) as url:
        with pytest.raises(UpstreamBroken):
            await http.fetch("POST", url, content=b"", until_s=soon())

    assert requests == 1


async def test_nobody_listening_is_unreachable(http: HttpClient) -> None:
    with pytest.raises(UpstreamUnreachable):
        await http.fetch("GET", "http://127.0.0.1:9/", until_s=soon())


@pytest.mark.parametrize("url", ["http://", "nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"])
async def test_an_address_that_is_none_is_unreachable(http: HttpClient, url: str) -> None:
    with pytest.raises(UpstreamFailed):
        await http.fetch("GET", url, until_s=soon())


async def test_a_head_that_does_not_come_is_a_timeout(http: HttpClient) -> None:
    never = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client hangs up
        never.set()

    async with raw_server(handler) as url:
        with pytest.raises(UpstreamTimeout):
            await http.fetch("GET", url, until_s=soon(0.05))
        with anyio.fail_after(5):
            await never.wait()


async def test_a_body_over_the_cap_is_refused() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000)

    async with HttpClient(HttpConfig(max_answer_bytes=1000)) as http, raw_server(handler) as url:
        with pytest.raises(UpstreamFailed, match="over 1000 bytes"):
            await http.fetch("GET", url, until_s=soon())


async def test_a_body_that_breaks_off_is_broken(http: HttpClient) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\nhalf")

    async with raw_server(handler) as url:
        with pytest.raises(UpstreamBroken):
            await http.fetch("GET", url, until_s=soon())


async def test_cookies_and_redirects_are_not_followed(http: HttpClient) -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            head = (
                b"HTTP/1.1 302 Found\r\nset-cookie: tenant=one; Path=/\r\nlocation: /else\r\ncontent-length: 0\r\n\r\n"
            )
            writer.write(head)

    async with raw_server(handler) as url:
        statuses = [(await http.fetch("GET", url, until_s=soon()))[0].status for _ in range(2)]

    assert statuses == [302, 302]
    assert not any(b"cookie" in head.lower() for head in heads)


async def test_many_calls_at_once_are_served(http: HttpClient, upstream: ScriptedUpstream) -> None:
    statuses: list[int] = []

    async def call() -> None:
        statuses.append((await http.fetch("GET", f"{upstream.base_url}/models", until_s=soon()))[0].status)

    async with asyncio.TaskGroup() as calls:
        for _ in range(150):
            calls.create_task(call())

    assert statuses == [200] * 150
