"""Pages and files of the web, fetched because a caller or a document names their address."""

import asyncio
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from app.domain.errors import Invalid, UpstreamFailed
from app.net.http import Answer, HttpClient

TIMEOUT_S = 30.0
REDIRECTS = 5
AT_ONCE = 4
"""Pages that a process fetches at once: each may be held whole."""

_MOST_URL = 2000
_LEAST_FREE_PORT = 1024
_MOVED = frozenset({301, 302, 303, 307, 308})
_EXTENSIONS = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/csv": "csv",
    "text/xml": "xml",
    "application/xml": "xml",
    "application/json": "json",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/epub+zip": "epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_VAGUE = frozenset(["", "text/plain", "application/octet-stream", "binary/octet-stream"])
_TOLD_BY_ADDRESS = frozenset(_EXTENSIONS.values()) | frozenset(["doc", "eml", "odp", "ods", "odt", "ppt", "xls", "yml"])


class PageFailed(Invalid):
    """The page could not be had; `message` is for whoever named its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What lay at an address, after redirects. `extension` is that of its media type, or of the address where the type
    says little; empty where neither does.
    """

    url: str
    data: bytes
    extension: str

    @property
    def name(self) -> str:
        """A file name: the last part of the path, else the host, with the extension of the media type."""
        parts = urlsplit(self.url)
        last = unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or "page"
        return named(last, self.extension)


def named(name: str, extension: str) -> str:
    """Return `name` with this extension, put behind it unless it is there."""
    return name if not extension or name.lower().endswith(f".{extension}") else f"{name}.{extension}"


class PageFetcher:
    """Fetches pages. Give it a client that reaches public addresses only (`HttpConfig.is_public_only`)."""

    def __init__(self, http: HttpClient, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, url: str, *, max_bytes: int) -> Page:
        """Return what is at `url`, following up to five redirects; nothing of ours is sent along.

        Raises:
            PageFailed: the address is none of the web, nothing is there, it is over `max_bytes`, or it takes too long.
        """
        check_address(url)
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(until_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise PageFailed("Too many pages are being fetched; try again later.", param="url") from error
        try:
            return await self._fetch(url, until_s, max_bytes)
        finally:
            self._turns.release()

    async def _fetch(self, url: str, until_s: float, max_bytes: int) -> Page:
        for _ in range(REDIRECTS + 1):
            check_address(url)
            try:
                async with self._http.send("GET", url, until_s=until_s) as answer:
                    location = answer.header("location")
                    if answer.status not in _MOVED or not location:
                        data = await _body(answer, until_s, max_bytes)
                        return Page(url=url, data=data, extension=_extension(answer.content_type, url))
                    url = _joined(url, location)
            except UpstreamFailed as error:
                raise PageFailed(f"{_shown(url)} could not be reached.", param="url") from error
        raise PageFailed(f"{_shown(url)} leads from page to page without end.", param="url")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise PageFailed(f"{_shown(url)} leads to what is not an address of a web page.", param="url") from error


def check_address(url: str) -> None:
    """Return when `url` may be asked for: http or https, no user name, a usual or a free port.

    Raises:
        PageFailed: it may not.
    """
    refusal = PageFailed(f"{_shown(url)} is not an address of a web page.", param="url")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    is_free = port is None or port in (80, 443) or port >= _LEAST_FREE_PORT
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not is_free:
        raise refusal
    if len(url) > _MOST_URL or any(letter <= " " or letter == "\x7f" for letter in url):
        raise refusal


async def _body(answer: Answer, until_s: float, max_bytes: int) -> bytes:
    """What is compressed though nobody asked for that is not unpacked: it may be of any size."""
    if answer.status != 200:
        raise PageFailed(f"The page answered with status {answer.status}.", param="url")
    if (answer.header("content-encoding") or "identity").lower() != "identity":
        raise PageFailed("The page is compressed in a way that is not read.", param="url")
    parts: list[bytes] = []
    size = 0
    while part := await answer.read(until_s):
        size += len(part)
        if size > max_bytes:
            raise PageFailed(f"The page is larger than {max_bytes} bytes.", param="url")
        parts.append(part)
    return b"".join(parts)


def _extension(content_type: str, url: str) -> str:
    kind = content_type.partition(";")[0].strip()
    told = urlsplit(url).path.rpartition("/")[2].rpartition(".")[2].lower()
    return told if kind in _VAGUE and told in _TOLD_BY_ADDRESS else _EXTENSIONS.get(kind, "")


def _shown(url: str) -> str:
    return url if len(url) <= 200 else url[:200] + "…"
