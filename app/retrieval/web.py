"""Web search for assistants that have a key for it (conversations.md 10.7 step 2)."""

import re
from typing import Any

import orjson

from app.domain.errors import UpstreamFailed
from app.domain.ids import ChunkId, DatasetId, DocumentId, new_id
from app.domain.references import Reference
from app.net.http import HttpClient

TAVILY_URL = "https://api.tavily.com"
RESULTS_MOST = 6
_QUERY_CHARS = 400
_CONTENT_CHARS = 20_000
_TITLE_CHARS = 300
_BYTES_MOST = 4 << 20
_KEY = re.compile(r"[!-~]{1,500}")


class TavilySearch:
    """Searches the web with a caller's key, at one fixed host: no address of a caller's is ever asked."""

    def __init__(self, http: HttpClient, base_url: str = TAVILY_URL) -> None:
        self._http = http
        self._url = f"{base_url.rstrip('/')}/search"

    async def search(self, query: str, key: str, *, deadline_s: float) -> list[Reference]:
        """Return what was found, best first, each with its `url`; `deadline_s` is a loop time.

        Raises:
            UpstreamFailed: the search failed; the message names neither key nor query.
        """
        if not _KEY.fullmatch(key):
            raise UpstreamFailed("The key of the web search is none.")
        body = {"query": query[:_QUERY_CHARS], "search_depth": "advanced", "max_results": RESULTS_MOST}
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        content = orjson.dumps(body)
        async with self._http.send("POST", self._url, until_s=deadline_s, content=content, headers=headers) as answer:
            if answer.status != 200:
                raise UpstreamFailed(f"The web search answered {answer.status}.")
            raw = await answer.read_all(deadline_s, max_bytes=_BYTES_MOST)
        try:
            results: Any = orjson.loads(raw)["results"]
        except (ValueError, KeyError, TypeError) as error:
            raise UpstreamFailed("The web search answered what cannot be read.") from error
        if not isinstance(results, list):
            raise UpstreamFailed("The web search answered what cannot be read.")
        return [_reference(each) for each in results[:RESULTS_MOST] if _is_result(each)]


def _is_result(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(content := found.get("content"), str)
        and bool(content.strip())
        and isinstance(url := found.get("url"), str)
        and url.startswith(("http://", "https://"))
    )


def _reference(found: dict[str, Any]) -> Reference:
    title, score, page_id = found.get("title"), found.get("score"), new_id()
    return Reference(
        chunk_id=ChunkId(page_id),
        content=found["content"].replace("\x00", "\ufffd")[:_CONTENT_CHARS],
        document_id=DocumentId(page_id),
        document_name=(title if isinstance(title, str) and title else found["url"])[:_TITLE_CHARS],
        dataset_id=DatasetId(""),
        url=found["url"][:2000],
        similarity=float(score) if isinstance(score, int | float) else None,
        vector_similarity=1.0,
        term_similarity=0.0,
    )
