"""A scripted model provider: the OpenAI wire over a raw ASGI app, fast enough to load the service.

Run it as `python -m tests.upstream.server --port 9999`. What it does is asked for by JSON after `@@`, in the model name
or in the last user message: `{"pieces": 64, "gap_ms": 20}`. The words are in `directives.py`. `GET /_calls` lists what
was asked, `DELETE /_calls` forgets it.
"""

import argparse
import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import msgspec
import orjson
import uvicorn

from tests.upstream.bodies import (
    Shape,
    embeddings,
    events_of,
    limited,
    prompt_tokens_of,
    rerank,
    tail_of,
    text_whole,
    whole_answer,
    writes,
)
from tests.upstream.directives import PLAIN, Directive, directive_in, last_user_text

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_JSON = [(b"content-type", b"application/json")]
_KEPT_CALLS = 2000


class Call(msgspec.Struct):
    """One call as `GET /_calls` shows it."""

    id: int
    time: float
    path: str
    model: str
    body_hash: str
    last_user_text: str
    authorization: str
    body: Any = None
    cancelled: bool = False
    done: bool = False


class Upstream:
    """The ASGI app."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._seen: dict[Directive, int] = {}
        self._next = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        path: str = scope["path"]
        body = await _body(receive)
        if path == "/_calls":
            if scope["method"] == "DELETE":
                self.calls.clear()
                self._seen.clear()
            await _answer(send, 200, msgspec.json.encode(self.calls))
        elif path.endswith("/models"):
            models = [{"id": "scripted", "object": "model", "created": 0, "owned_by": "tests"}]
            await _answer(send, 200, orjson.dumps({"object": "list", "data": models}))
        elif path.endswith(("/completions", "/embeddings", "/rerank")):
            await self._serve(path, scope, body, receive, send)
        else:
            await _answer(send, 404, b'{"error":{"message":"no such route"}}')

    async def _serve(self, path: str, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        request: dict[str, Any] = orjson.loads(body)
        model = str(request.get("model", ""))
        asked = last_user_text(request)
        directive = directive_in(model) or directive_in(asked) or PLAIN
        if directive.calls and (request.get("messages") or [{}])[-1].get("role") == "tool":
            directive = msgspec.structs.replace(directive, calls=(), text=directive.then, finish="stop")
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        self._next += 1
        call = Call(
            self._next, time.time(), path, model, hashlib.sha256(body).hexdigest(), asked, authorization, request
        )
        self.calls.append(call)
        del self.calls[:-_KEPT_CALLS]
        seen = self._seen[directive] = self._seen.get(directive, 0) + 1
        if directive.head_ms and await _left_within(receive, directive.head_ms):
            call.cancelled = True
            return
        is_refused = directive.status != 200 and seen >= directive.status_from
        if is_refused and (directive.times is None or seen <= directive.times):
            await _refuse(send, directive)
        elif directive.only_system and any(one["role"] == "developer" for one in request["messages"]):
            await _refuse(send, msgspec.structs.replace(directive, status=400, message="Unknown role: developer"))
        elif path.endswith("/embeddings"):
            await _answer(send, 200, embeddings(request, directive))
        elif path.endswith("/rerank"):
            await _answer(send, 200, rerank(request))
        elif not request.get("stream") or directive.json_instead:
            body_of = text_whole if "prompt" in request else whole_answer
            await _answer(send, 200, body_of(request, limited(directive, request)))
        else:
            call.cancelled = await _stream(request, limited(directive, request), receive, send)
        call.done = not call.cancelled


async def _stream(request: dict[str, Any], directive: Directive, receive: Receive, send: Send) -> bool:
    """Stream an answer; return whether the caller left before its end."""
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage")) and not directive.no_usage
    prompt_tokens = prompt_tokens_of(request) if wants_usage else 0
    await send({"type": "http.response.start", "status": 200, "headers": _SSE})
    if directive.first_ms and await _left_within(receive, directive.first_ms):
        return True
    marks = (directive.cut_after, directive.end_after, directive.stall_after, directive.garbage_after)
    shape = Shape(int(request.get("n") or 1), "prompt" in request)
    if directive.gap_ms == 0 and marks == (None,) * 4 and directive.error_after is None:
        for write in writes(directive, str(request.get("model")), shape):
            await send({"type": "http.response.body", "body": write, "more_body": True})
    else:
        for number, event in enumerate(events_of(directive, str(request.get("model")), shape)):
            if number == directive.cut_after:
                raise ConnectionAbortedError  # uvicorn drops the connection
            if number == directive.end_after:
                await send({"type": "http.response.body", "body": b""})
                return False
            if number == directive.stall_after:
                return await _left_within(receive, 600_000)
            if number == directive.garbage_after:
                event = b"data: {not json\n\n"
            if number == directive.error_after:
                event = b"data: " + orjson.dumps({"error": {"message": directive.message}}) + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})
            if directive.gap_ms and await _left_within(receive, directive.gap_ms):
                return True
    await send({"type": "http.response.body", "body": tail_of(directive, request, prompt_tokens, wants_usage)})
    return False


async def _left_within(receive: Receive, wait_ms: float) -> bool:
    """Wait; return early and True if the caller hangs up."""
    try:
        async with asyncio.timeout(wait_ms / 1000):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


async def _refuse(send: Send, directive: Directive) -> None:
    headers = [] if directive.retry_after is None else [(b"retry-after", str(directive.retry_after).encode())]
    error = {"message": directive.message, "type": "scripted", "param": directive.param, "code": None}
    await _answer(send, directive.status, orjson.dumps({"error": error}), headers)


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _JSON + (headers or [])})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _lifespan(receive: Receive, send: Send) -> None:
    for phase in _phases():
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


def _phases() -> Iterator[str]:
    yield from ("startup", "shutdown")


def main() -> None:
    """Serve on 127.0.0.1 until killed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=9999)
    arguments.add_argument("--fd", type=int, default=None, help="an inherited listening socket instead of a port")
    chosen = arguments.parse_args()
    uvicorn.run(
        Upstream(),
        host="127.0.0.1",
        port=chosen.port,
        fd=chosen.fd,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        timeout_keep_alive=30,
    )


if __name__ == "__main__":
    main()
