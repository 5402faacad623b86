"""Commands that call the API wait when they are told to: a folder has more documents than a minute has calls."""

import httpx
import pytest
import typer

from app.commands.calling import Api, Patient, api


class Refusing(httpx.BaseTransport):
    """Refuses the first `times` requests and keeps what it was sent."""

    def __init__(self, times: int, *, retry_after: str | None = "0") -> None:
        self.left = times
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.seen: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.read())
        self.left -= 1
        return httpx.Response(429, headers=self.headers) if self.left >= 0 else httpx.Response(200, json={})


def sent(inner: Refusing) -> httpx.Response:
    with httpx.Client(base_url="http://parley", transport=Patient(inner)) as client:
        return client.post("/documents", files=[("file", ("a.txt", b"words"))])


def test_what_was_refused_is_sent_again_whole() -> None:
    inner = Refusing(2)
    assert sent(inner).status_code == 200
    assert len(inner.seen) == 3
    assert len(set(inner.seen)) == 1
    assert b"words" in inner.seen[0]


def test_a_refusal_that_stays_or_names_no_time_is_told() -> None:
    assert (sent(stubborn := Refusing(99)).status_code, len(stubborn.seen)) == (429, 5)
    assert (sent(silent := Refusing(99, retry_after=None)).status_code, len(silent.seen)) == (429, 1)


@pytest.mark.parametrize("content", [b"<html>not ours</html>", b"[]", b""])
def test_what_is_no_answer_of_ours_ends_a_command_with_a_line(
    content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    with httpx.Client(base_url="http://elsewhere", transport=transport) as client:
        ours = Api(client)
        with pytest.raises(typer.Exit):
            ours.get("/chats")
        with pytest.raises(typer.Exit):
            ours.named("chats", "Assistant")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("parley: http://elsewhere/chats answered 200")
    assert second.startswith("parley: http://elsewhere/chats?name=Assistant answered 200")


@pytest.mark.parametrize("url", ["http://[", "nonsense", "http://localhost:99999"])
def test_an_address_that_is_none_ends_a_command_with_a_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), api(url, "some-key") as client:
        client.get("/chats")
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("parley: ")
    assert url in told
