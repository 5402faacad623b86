"""The only outgoing HTTP client: httpx over aiohttp, with deadlines, size caps and connection reuse."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Self

import aiohttp
import certifi
import httpx
from httpx_aiohttp import AiohttpTransport

from app.domain.errors import UpstreamFailed, UpstreamTimeout
from app.net.deadline import Deadline
from app.net.public import public_socket


class UpstreamUnreachable(UpstreamFailed):
    """No connection could be made; the request was not sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="upstream_unavailable")


class UpstreamBroken(UpstreamFailed):
    """The connection broke before the answer was complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """How the process talks to the outside; every call adds its own deadline."""

    connect_timeout_s: float = 5.0
    keepalive_expiry_s: float = 4.0  # model servers close an idle connection after 5 s: be first
    max_connections: int = 2000  # never None: httpx-aiohttp would then keep aiohttp's default of 100
    max_answer_bytes: int = 64 << 20
    user_agent: str = "parley"
    is_public_only: bool = False  # no connection to this machine, its network, or anything but the public internet


class Answer:
    """One answer: its head is here, its body is read by the holder."""

    __slots__ = ("_body", "_deadline", "_response", "content_type", "status")

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        self._body: AsyncIterator[bytes] = response.aiter_bytes() if encoded else response.aiter_raw()
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "").lower()
        self._deadline = Deadline()

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None."""
        value: str | None = self._response.headers.get(name)
        return value

    async def read(self, until_s: float) -> bytes:
        """Return what came in, or `b""` at the end of the body; wait no longer than loop time `until_s`.

        All reads of an answer are made by one task.

        Raises:
            UpstreamTimeout: nothing came in time.
            UpstreamBroken: the connection broke.
        """
        try:
            return await self._deadline.hold(anext(self._body, b""), until_s)
        except TimeoutError as error:
            raise UpstreamTimeout("The model provider stopped sending.") from error
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise UpstreamBroken("The connection to the model provider broke.") from error

    async def read_all(self, until_s: float, *, max_bytes: int, start: bytes = b"") -> bytes:
        """Return `start` and the rest of the body.

        Raises:
            UpstreamFailed: it is over `max_bytes`, or as `read`.
        """
        parts, size = [start], len(start)
        while part := await self.read(until_s):
            size += len(part)
            if size > max_bytes:
                raise UpstreamFailed(f"The model provider's answer is over {max_bytes} bytes.")
            parts.append(part)
        return b"".join(parts)


class HttpClient:
    """A pool of connections for one event loop. Use as an async context manager, or call `aclose`."""

    def __init__(self, config: HttpConfig | None = None) -> None:
        self.config = config or HttpConfig()
        self._transport = _new_transport(self.config)
        self._headers = {"user-agent": self.config.user_agent, "accept": "*/*", "accept-encoding": "identity"}
        self._timeout = {"connect": self.config.connect_timeout_s, "read": None, "write": None, "pool": None}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        *,
        until_s: float,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Answer, None]:
        """Send a request and hold its answer open; leaving the block early closes the connection at once.

        `until_s` is the loop time at which the head of the answer must be here. A request that fell on an idle
        connection the peer was just closing is sent once more. Redirects are not followed, cookies not kept.

        Raises:
            UpstreamUnreachable: no connection.
            UpstreamBroken: the peer hung up before it answered.
            UpstreamTimeout: no connection or no answer in time.
        """
        response = await self._head(self._request(method, url, content, headers), until_s)
        try:
            yield Answer(response)
        finally:
            await response.aclose()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        until_s: float,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Answer, bytes]:
        """Send a request and return its answer with the whole body, under the cap. Raises as `send`."""
        async with self.send(method, url, until_s=until_s, content=content, headers=headers) as answer:
            return answer, await answer.read_all(until_s, max_bytes=self.config.max_answer_bytes)

    def _request(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str] | None
    ) -> httpx.Request:
        """Build a request for the transport: no cookies, redirects or authentication, so nothing of a client's."""
        try:
            return httpx.Request(
                method,
                _parsed(url),
                content=content,
                headers=self._headers | dict(headers or {}),
                extensions={"timeout": self._timeout},
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise _failure(error) from error

    async def _head(self, request: httpx.Request, until_s: float) -> httpx.Response:
        was_reused = _WAS_REUSED.set([])
        try:
            async with asyncio.timeout_at(until_s):
                try:
                    return await self._transport.handle_async_request(request)
                except (httpx.HTTPError, aiohttp.ClientError) as error:
                    if not (_WAS_REUSED.get() and _hung_up(error)):
                        raise
                return await self._transport.handle_async_request(request)
        except TimeoutError as error:
            raise UpstreamTimeout("The model provider did not answer in time.") from error
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error  # ValueError: a host that can be no name, such as `a..b`
        finally:
            _WAS_REUSED.reset(was_reused)


_WAS_REUSED: ContextVar[list[bool]] = ContextVar("_WAS_REUSED")


async def _note_reuse(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    _WAS_REUSED.get([]).append(True)


@lru_cache(maxsize=256)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Return what servers are checked against; read once a process, which takes 40 ms, and never changed."""
    tls = ssl.create_default_context()  # the machine's roots, SSL_CERT_FILE included
    tls.load_verify_locations(certifi.where())
    return tls


def _new_transport(config: HttpConfig) -> AiohttpTransport:
    """Build the one transport of the house: where it is chosen, and where addresses are checked if they are to be."""
    tls = _trusted()

    def session() -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        connector = aiohttp.TCPConnector(
            limit=config.max_connections,
            keepalive_timeout=config.keepalive_expiry_s,
            ssl=tls,
            socket_factory=public_socket if config.is_public_only else None,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[tracing], read_bufsize=1 << 18
        )

    return AiohttpTransport(client=session, verify=tls)


def _hung_up(error: BaseException) -> bool:
    """Tell whether the peer closed the connection; httpx-aiohttp 0.2 reports that as `ConnectTimeout`."""
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) else error
    if isinstance(cause, aiohttp.ClientConnectorError):
        return False
    return isinstance(cause, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)


def _failure(error: BaseException) -> UpstreamFailed:
    cause: Any = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    if isinstance(cause, TimeoutError):
        return UpstreamTimeout("The model provider could not be reached in time.")
    if isinstance(cause, aiohttp.ClientConnectorError | httpx.UnsupportedProtocol | httpx.InvalidURL | ValueError):
        return UpstreamUnreachable("The model provider could not be reached.")
    return UpstreamBroken("The model provider closed the connection before it answered.")
