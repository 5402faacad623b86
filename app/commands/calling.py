"""What the commands that go through the API share: where the service is, with which key, and what its answers mean."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

import httpx
import typer

from app.commands.telling import fail
from app.serving.kept import address_of, key_file
from app.settings import Settings, read_settings

Url = Annotated[str | None, typer.Option(help="Where the service is; else this machine, at PARLEY_PORT.")]
Key = Annotated[str | None, typer.Option(help="An API key; else PARLEY_API_KEY, else the one in the data directory.")]


_TRIES = 5
_LONGEST_WAIT_S = 60.0


class Patient(httpx.BaseTransport):
    """Sends a request again when the service says that there were too many, after as long as it says."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer; the refusal when it stays one."""
        for _ in range(_TRIES - 1):
            response = self._transport.handle_request(request)
            after = response.headers.get("retry-after", "")
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS or not after.isdecimal():
                return response
            response.close()
            time.sleep(min(_LONGEST_WAIT_S, float(after)))
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class Api:
    """The native API as one tenant sees it; a refusal ends the command."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **query: Any) -> Any:
        """Return the data of an answer."""
        return self._data(self._client.get(path, params=query))

    def post(self, path: str, **request: Any) -> Any:
        """Return the data of an answer; `request` is as for httpx."""
        return self._data(self._client.post(path, **request))

    def put(self, path: str, **request: Any) -> Any:
        """Return the data of an answer; `request` is as for httpx."""
        return self._data(self._client.put(path, **request))

    @contextmanager
    def stream(self, path: str, body: Any) -> Generator[httpx.Response, None, None]:
        """Give an answer that is still coming."""
        with self._client.stream("POST", path, json=body, timeout=httpx.Timeout(10, read=None)) as response:
            if not response.is_success:
                response.read()
                self._data(response)
            yield response

    def named(self, what: str, name: str) -> Any:
        """Return the one of `/{what}` that is called `name`, None when there is none."""
        response = self._client.get(f"/{what}", params={"name": name})
        answer = _answer_of(response)
        if answer.get("code") == 0:
            return next((one for one in answer["data"] if one["name"] == name), None)
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.INTERNAL_SERVER_ERROR):
            self._data(response)
        return None

    def _data(self, response: httpx.Response) -> Any:
        answer = _answer_of(response)
        if answer.get("code") != 0:
            fail(f"{response.request.url.path}: {answer.get('message')}")
        return answer.get("data")


def _answer_of(response: httpx.Response) -> dict[str, Any]:
    try:
        answer: Any = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        fail(f"{response.url} answered {response.status_code}, and not in our words")
    return answer


@contextmanager
def api(url: str | None, key: str | None) -> Generator[Api, None, None]:
    """Give the API of a running service."""
    settings = read_settings()
    base = (url or address_of(settings.host, settings.port)).rstrip("/")
    headers = {"Authorization": f"Bearer {key or known_key(settings)}"}
    transport = Patient(httpx.HTTPTransport(trust_env=False))
    try:
        with httpx.Client(base_url=f"{base}/api/v1", headers=headers, timeout=60, transport=transport) as client:
            yield Api(client)
    except httpx.ConnectError:
        fail(f"nobody answers on {base}: start `parley serve`, or name the service with --url")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fail(f"{base}: {str(error) or type(error).__name__}")


def known_key(settings: Settings) -> str:
    """Return the key of the settings, or the first one's file."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    path = key_file(settings)
    if not os.access(path, os.R_OK):
        fail(f"no key: name one with --key or PARLEY_API_KEY ({path} is not there)")
    return path.read_text().strip()
