"""A page of another origin in a real browser: a visitor's token, a stream read by fetch (conversations.md 7.1, 7.4)."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.browser import needs_browser, opened
from tests.service import ServedProcess, parley_serve
from tests.service_fixtures import upstream, upstream_process
from tests.upstream.fixtures import ScriptedUpstream

__all__ = ["upstream", "upstream_process"]

WIDGET = Path(__file__).resolve().parents[2] / "examples" / "widget"
WORDS = "".join(f"word{number} " for number in range(16)).strip()

pytestmark = [pytest.mark.slow, needs_browser]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page_origin() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(WIDGET)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def parley(upstream_process: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcess]:
    with parley_serve(tmp_path_factory.mktemp("page"), upstream_process) as running:
        yield running


@pytest.fixture(scope="module")
def bot(parley: ServedProcess) -> str:
    prompt = {"system": "Be brief.", "opener": "Good day!", "variables": []}
    made = httpx.post(f"{parley.base_url}/api/v1/chats", headers=parley.auth, json={"name": "Desk", "prompt": prompt})
    return str(made.json()["data"]["id"])


def page_url(parley: ServedProcess, bot: str, page_origin: str, allowed_origin: str) -> str:
    """Return the page with a token minted for `allowed_origin`."""
    minted = httpx.post(
        f"{parley.base_url}/api/v1/chatbots/{bot}/visitor_tokens",
        headers=parley.auth,
        json={"origin": allowed_origin, "visitor": "v-1"},
    ).json()
    assert minted["code"] == 0, minted
    asked = {"service": parley.base_url, "bot": bot, "token": minted["data"]["token"]}
    return f"{page_origin}/index.html#{urlencode(asked)}"


def test_a_visitor_talks_to_the_bot(parley: ServedProcess, bot: str, page_origin: str, tmp_path: Path) -> None:
    with opened(page_url(parley, bot, page_origin, page_origin), tmp_path) as page:
        page.wait("document.body.dataset.state === 'ready'")
        assert "Good day!" in page.text()
        for number in (1, 2):
            page.evaluate(_ask(f"Question {number}?"))
            page.wait(f"document.querySelector('#log').innerText.split('word15').length === {number + 1}")
        assert page.text().count(WORDS) == 2
        page.photograph(tmp_path / "widget.png")
    sessions = httpx.get(f"{parley.base_url}/api/v1/chats/{bot}/sessions", headers=parley.auth).json()["data"]
    assert [one["user_id"] for one in sessions] == ["v-1"]
    assert len(sessions[0]["messages"]) == 5


def test_the_token_is_no_use_to_a_page_of_another_origin(
    parley: ServedProcess, bot: str, page_origin: str, tmp_path: Path
) -> None:
    url = page_url(parley, bot, page_origin, "https://elsewhere.example")
    with opened(url, tmp_path) as page:
        asked = (
            "fetch(`${new URLSearchParams(location.hash.slice(1)).get('service')}/api/v1/chatbots/" + bot + "/info`, "
        )
        asked += "{headers: {Authorization: `Bearer ${new URLSearchParams(location.hash.slice(1)).get('token')}`}})"
        told = page.evaluate(f"{asked}.then((a) => a.status, (e) => 'refused by the browser')")
    assert told == "refused by the browser"


def _ask(question: str) -> str:
    filled = f"document.querySelector('input').value = {json.dumps(question)}"
    return f"{filled}; document.querySelector('form').requestSubmit()"
