"""What the four flows share: where the service is, and how its answers are read."""

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

import httpx

END = "[DONE]"


class Refused(Exception):
    """The service said no; `status` and the message say why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def client() -> httpx.Client:
    """Return a client from `--base-url` and `--key`, or PARLEY_BASE_URL and PARLEY_API_KEY."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--base-url", default=os.environ.get("PARLEY_BASE_URL", "http://127.0.0.1:9380"))
    arguments.add_argument("--key", default=os.environ.get("PARLEY_API_KEY", ""))
    told = arguments.parse_args()
    headers = {"Authorization": f"Bearer {told.key}"}
    return httpx.Client(base_url=f"{told.base_url}/api/v1", headers=headers, timeout=httpx.Timeout(30, read=300))


def call(service: httpx.Client, method: str, path: str, **body: Any) -> Any:
    """Return the `data` of an answer.

    Raises:
        Refused: the service said no.
    """
    answer = service.request(method, path, json=body) if body else service.request(method, path)
    told = answer.json()
    if told.get("code") != 0:
        raise Refused(answer.status_code, str(told.get("message")))
    return told["data"]


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yield the `data` of each event of a stream, until `true` or `[DONE]` ends it.

    Raises:
        Refused: an event tells of a failure.
    """
    for line in answer.iter_lines():
        if not line.startswith("data: "):
            continue  # blank lines, and comments that keep the connection open
        if line[6:] == END:
            return
        told = json.loads(line[6:])
        if told["code"] != 0:
            raise Refused(told["code"], told["message"])
        if told["data"] is True:
            return
        yield told["data"]
