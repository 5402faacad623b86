"""What is asked of whom: the same question to the upstream itself, through the relay, and through the service."""

import http.client
import json
from contextlib import closing
from typing import Any

from bench.jobs import Target
from bench.processes import Parley

COMPLETIONS = "/v1/chat/completions"


def make_chat(parley: Parley) -> str:
    """Make an assistant without documents and return its id."""
    headers = {"Authorization": f"Bearer {parley.key}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", parley.port, timeout=30)) as connection:
        connection.request("POST", "/api/v1/chats", json.dumps({"name": "bench"}), headers)
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
    if answer.status != 200 or told["code"] != 0:
        raise RuntimeError(f"no assistant could be made: {told}")
    chat_id: str = told["data"]["id"]
    return chat_id


def direct(name: str, port: int, *, pieces: int, gap_ms: float, is_stream: bool = True) -> Target:
    """Ask an OpenAI endpoint at `port`: the upstream, or the relay."""
    return Target(
        name=name,
        port=port,
        path=COMPLETIONS,
        dialect="openai",
        body=_openai_body("scripted", pieces, gap_ms, is_stream=is_stream),
        expected=expected_text(pieces),
        is_stream=is_stream,
    )


def service(
    parley: Parley, chat_id: str, *, pieces: int, gap_ms: float, first_ms: float = 0, is_stream: bool = True
) -> Target:
    """Ask an assistant through its OpenAI endpoint: no session, yet a stored turn.

    The model waits `first_ms` before its first piece.
    """
    return Target(
        name="service",
        port=parley.port,
        path=f"/api/v1/chats_openai/{chat_id}/chat/completions",
        dialect="openai",
        body=_openai_body("model", pieces, gap_ms, first_ms, is_stream=is_stream),
        expected=expected_text(pieces),
        key=parley.key,
        is_stream=is_stream,
    )


def session(parley: Parley, chat_id: str, *, pieces: int, gap_ms: float, is_stream: bool = True) -> Target:
    """Ask an assistant in a new session each time."""
    return Target(
        name="session",
        port=parley.port,
        path=f"/api/v1/chats/{chat_id}/completions",
        dialect="native",
        body=json.dumps({"question": _question(pieces, gap_ms), "stream": is_stream}),
        expected=expected_text(pieces),
        key=parley.key,
        is_stream=is_stream,
    )


def expected_text(pieces: int) -> str:
    """Return what the scripted upstream answers."""
    return "".join(f"word{number} " for number in range(pieces))


def _question(pieces: int, gap_ms: float, first_ms: float = 0) -> str:
    asked = {"pieces": pieces, "gap_ms": gap_ms} | ({"first_ms": first_ms} if first_ms else {})
    return f"How do I true a wheel? @@{json.dumps(asked)}"


def _openai_body(model: str, pieces: int, gap_ms: float, first_ms: float = 0, *, is_stream: bool) -> str:
    question = _question(pieces, gap_ms, first_ms)
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
    # The service always asks its upstream for usage; so does who asks the upstream itself.
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if is_stream else {}
    return json.dumps(body | {"stream": is_stream} | options)
