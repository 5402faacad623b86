"""Pages fetched for callers: from the public internet only, never much, never for long."""

import asyncio
import gzip
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from app.net.http import HttpClient, HttpConfig
from app.net.pages import PageFailed, PageFetcher, check_address
from app.net.public import NotPublic, is_public, public_socket

MOST = 10_000


class Site:
    """A server of one answer per path, and the paths it was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.port = 0

    def page(self, path: str, body: bytes, *, kind: str = "text/html", status: str = "200 OK", more: str = "") -> str:
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self.answers[path] = head.encode() + body
        return f"http://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            self.heads.append(head)
            writer.write(self.answers.get(path, b""))
            if path not in self.answers:
                await reader.read()  # says nothing until the other side hangs up
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def running_site() -> AsyncGenerator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


@pytest.fixture
async def site() -> AsyncGenerator[Site]:
    async with running_site() as site:
        yield site


@pytest.fixture
async def pages() -> AsyncGenerator[PageFetcher]:
    """A fetcher that may reach this machine, for all but the guard itself."""
    async with HttpClient(HttpConfig()) as http:
        yield PageFetcher(http, timeout_s=5)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3",  # noqa: S104
        "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1",
        "::ffff:8.8.8.8", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "64:ff9b::7f00:1",
        "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "no address", "",
    ],
)  # fmt: skip
def test_addresses_that_not_everybody_can_reach_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450::1"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_a_socket_is_made_for_public_addresses_only() -> None:
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))
    with public_socket(entry) as made:
        assert not made.getblocking()
    with pytest.raises(NotPublic):
        public_socket((*entry[:4], ("10.0.0.1", 80)))


@pytest.mark.promise("2.1-web-guard")
async def test_no_way_of_writing_this_machines_address_reaches_it(site: Site) -> None:
    site.page("/", b"secret")
    async with HttpClient(HttpConfig(is_public_only=True)) as http:
        guarded = PageFetcher(http, timeout_s=5)
        for host in (
            "127.0.0.1", "localhost", "localhost.", "LOCALHOST", "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
            "0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "127。0。0。1",
        ):  # fmt: skip
            with pytest.raises(PageFailed):
                await guarded.fetch(f"http://{host}:{site.port}/", max_bytes=MOST)
    assert site.asked == []


@pytest.mark.promise("2.1-web-guard")
async def test_a_client_without_the_guard_reaches_it(site: Site, pages: PageFetcher) -> None:
    """That the guard's test could fail."""
    page = await pages.fetch(site.page("/a.html", b"<p>hello"), max_bytes=MOST)
    assert (page.data, page.name, site.asked) == (b"<p>hello", "a.html", ["/a.html"])
    assert b"authorization" not in site.heads[0].lower()
    assert b"cookie" not in site.heads[0].lower()


@pytest.mark.promise("2.1-web-guard")
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/x", "gopher://example.org/", "//example.org", "example.org", "",
        "http://", "http://user@example.org/", "http://user:pw@example.org/", "http://example.org:22/",
        "http://example.org:99999/", "http://exa mple.org/", "http://example.org/\r\nx: y", "http://[::1",
        "javascript:1",
        "http://example.org/" + "x" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_address_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(PageFailed):
        check_address(url)


@pytest.mark.promise("2.1-web-guard")
async def test_every_step_of_a_redirect_is_checked(site: Site, pages: PageFetcher) -> None:
    for number, target in enumerate(("file:///etc/passwd", "http://u:p@127.0.0.1/", "http://127.0.0.1:22/")):
        url = site.page(f"/{number}", b"", status="302 Found", more=f"location: {target}\r\n")
        with pytest.raises(PageFailed, match="not an address"):
            await pages.fetch(url, max_bytes=MOST)
    assert len(site.asked) == 3


@pytest.mark.promise("2.1-web-guard")
@pytest.mark.parametrize("host", ["a..b", "...", "a" * 70 + ".com", "xn--a-", "a%00b", "\u00b2"])
async def test_a_host_that_can_be_no_name_is_not_reached(pages: PageFetcher, host: str) -> None:
    with pytest.raises(PageFailed, match="could not be reached"):
        await pages.fetch(f"http://{host}/", max_bytes=MOST)


@pytest.mark.promise("2.1-web-guard")
@pytest.mark.parametrize("target", ["http://[", "//a\u2100b/"])
async def test_a_redirect_to_no_address_is_refused(site: Site, pages: PageFetcher, target: str) -> None:
    url = site.page("/here", b"", status="302 Found", more=f"location: {target}\r\n")
    with pytest.raises(PageFailed):
        await pages.fetch(url, max_bytes=MOST)


@pytest.mark.promise("2.1-web")
async def test_redirects_are_followed_for_a_while(site: Site, pages: PageFetcher) -> None:
    site.page("/there", b"text", kind="text/plain; charset=utf-8")
    page = await pages.fetch(site.page("/here", b"", status="301 Moved", more="location: /there\r\n"), max_bytes=MOST)
    assert (page.data, page.name, page.extension) == (b"text", "there.txt", "txt")
    loop = site.page("/loop", b"", status="307 Temporary", more="location: /loop\r\n")
    with pytest.raises(PageFailed, match="without end"):
        await pages.fetch(loop, max_bytes=MOST)
    assert site.asked.count("/loop") == 6


@pytest.mark.promise("2.1-web-caps")
async def test_what_is_too_large_packed_missing_or_slow_is_refused(site: Site) -> None:
    async with HttpClient(HttpConfig()) as http:
        pages = PageFetcher(http, timeout_s=0.5)
        fits = await pages.fetch(site.page("/fits", b"x" * MOST), max_bytes=MOST)
        assert len(fits.data) == MOST
        for url, message in (
            (site.page("/large", b"x" * (MOST + 1)), "larger than 10000 bytes"),
            (site.page("/packed", gzip.compress(b"x" * 10**6), more="content-encoding: gzip\r\n"), "compressed"),
            (site.page("/missing", b"no", status="404 Not Found"), "status 404"),
            (f"http://127.0.0.1:{site.port}/silent", "could not be reached"),
        ):
            with anyio.fail_after(3), pytest.raises(PageFailed, match=message):
                await pages.fetch(url, max_bytes=MOST)


@pytest.mark.promise("2.1-web")
@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("/a", "text/html", "a.html"),
        ("/a.htm", "text/html", "a.htm.html"),
        ("/a.pdf", "application/octet-stream", "a.pdf"),
        ("/read.MD", "text/plain", "read.MD"),
        ("/v1.2", "text/plain", "v1.2.txt"),
        ("/a.exe", "application/octet-stream", "a.exe"),
        ("/", "application/xhtml+xml", "127.0.0.1.html"),
        ("/caf%C3%A9/", "text/html", "caf\u00e9.html"),
    ],
)
async def test_a_page_is_named_by_its_address_and_its_type(
    site: Site, pages: PageFetcher, path: str, kind: str, name: str
) -> None:
    assert (await pages.fetch(site.page(path, b"x", kind=kind), max_bytes=MOST)).name == name


@pytest.mark.promise("2.1-web-caps")
async def test_only_a_few_pages_are_fetched_at_once(site: Site) -> None:
    async with HttpClient(HttpConfig()) as http, anyio.create_task_group() as tasks:
        pages = PageFetcher(http, timeout_s=1)

        async def wait_for_nothing(number: int) -> None:
            with pytest.raises(PageFailed):
                await pages.fetch(f"http://127.0.0.1:{site.port}/silent/{number}", max_bytes=MOST)

        for number in range(8):
            tasks.start_soon(wait_for_nothing, number)
        await anyio.sleep(0.5)
        assert len(site.asked) == 4
