"""A scripted model provider: the OpenAI wire over a raw ASGI app, fast enough to load the service.

Run it as `python -m tests.upstream.server --port 9999`. What it does is asked for by JSON after `@@`, in the model name
or in the last user message: `{"pieces": 64, "gap_ms": 20}`. See `Directive` for the words. `GET /_calls` lists what
was asked, `DELETE /_calls` forgets it.
"""

import argparse
import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import lru_cache
from typing import Any

import msgspec
import orjson
import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_DECODER = json.JSONDecoder()
_SSE = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_JSON = [(b"content-type", b"application/json")]
_EVENTS_PER_WRITE = 16
_KEPT_CALLS = 2000


class ToolCall(msgspec.Struct, kw_only=True, frozen=True):
    """A call to one of the caller's tools; the arguments go out in pieces of three characters."""

    name: str
    arguments: str = "{}"
    id: str = "call_upstream"
    index: int | None = None  # as told; else its place


class Directive(msgspec.Struct, kw_only=True, frozen=True):
    """What a call asks of the provider."""

    text: str | None = None  # the answer; else `pieces` numbered words
    pieces: int = 16
    gap_ms: float = 0  # between pieces; 0 writes several at once
    head_ms: float = 0  # before the head of the answer
    first_ms: float = 0  # between the head and the first piece
    think: str | None = None  # thinking before the answer
    think_as: str = "inline"  # or reasoning_content, or reasoning
    status: int = 200  # answer this status, with `message`
    status_from: int = 1  # ... from the so many-th call with this directive on
    times: int | None = None  # ... to the first so many calls with this directive, then behave
    message: str = "scripted failure"
    retry_after: float | None = None
    cut_after: int | None = None  # drop the connection after so many pieces
    end_after: int | None = None  # end the body there, without finish reason and [DONE]
    stall_after: int | None = None  # say nothing more after so many pieces
    garbage_after: int | None = None  # send a line that is not JSON
    error_after: int | None = None  # send an error event
    no_usage: bool = False
    no_done: bool = False
    json_instead: bool = False  # a whole answer although a stream was asked for
    finish: str = "stop"
    dimensions: int = 8  # of embeddings
    calls: tuple[ToolCall, ...] = ()  # after the text; not when tools have answered
    then: str = "done"  # the answer when tools have answered
    mixes_calls: bool = False  # pieces of all calls in turns
    refusal: str | None = None
    logprobs: bool = False
    usage_everywhere: bool = False  # on the finish chunk too, as some providers do
    ignores_stop: bool = False  # of the request
    only_system: bool = False  # refuse the role `developer`
    nan: bool = False  # in embeddings


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
        asked = _last_user_text(request)
        directive = _directive(model) or _directive(asked) or _PLAIN
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
            await _answer(send, 200, _embeddings(request, directive))
        elif path.endswith("/rerank"):
            await _answer(send, 200, _rerank(request))
        elif not request.get("stream") or directive.json_instead:
            whole = _text_whole if "prompt" in request else _whole
            await _answer(send, 200, whole(request, _limited(directive, request)))
        else:
            call.cancelled = await _stream(request, _limited(directive, request), receive, send)
        call.done = not call.cancelled


_PLAIN = Directive()


async def _stream(request: dict[str, Any], directive: Directive, receive: Receive, send: Send) -> bool:
    """Stream an answer; return whether the caller left before its end."""
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage")) and not directive.no_usage
    prompt_tokens = _prompt_tokens(request) if wants_usage else 0
    await send({"type": "http.response.start", "status": 200, "headers": _SSE})
    if directive.first_ms and await _left_within(receive, directive.first_ms):
        return True
    marks = (directive.cut_after, directive.end_after, directive.stall_after, directive.garbage_after)
    shape = _Shape(int(request.get("n") or 1), "prompt" in request)
    if directive.gap_ms == 0 and marks == (None,) * 4 and directive.error_after is None:
        for write in _writes(directive, str(request.get("model")), shape):
            await send({"type": "http.response.body", "body": write, "more_body": True})
    else:
        for number, event in enumerate(_events(directive, str(request.get("model")), shape)):
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
    await send({"type": "http.response.body", "body": _tail(directive, request, prompt_tokens, wants_usage)})
    return False


class _Shape(msgspec.Struct, frozen=True):
    """What of a request changes the form of the chunks."""

    n: int = 1
    is_text: bool = False  # of /completions


def _limited(directive: Directive, request: dict[str, Any]) -> Directive:
    """Return the directive with its answer cut as `stop` and `max_tokens` of the request ask."""
    stops = () if directive.ignores_stop else request.get("stop") or ()
    most = request.get("max_tokens") or request.get("max_completion_tokens")
    if not stops and most is None:
        return directive
    whole = text = "".join(_answer_pieces(directive))
    finish = directive.finish
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] if stop else text
    if most is not None and len(cut := _cut(text)) > most:
        text, finish = "".join(cut[:most]), "length"
    return directive if text == whole else msgspec.structs.replace(directive, text=text, finish=finish)


def _tail(directive: Directive, request: dict[str, Any], prompt_tokens: int, wants_usage: bool) -> bytes:
    model, shape = str(request.get("model")), _Shape(int(request.get("n") or 1), "prompt" in request)
    usage = {"usage": _usage(directive, prompt_tokens)}
    tail = b"".join(
        _event(model, {}, shape, finish=directive.finish, index=index, more=usage if directive.usage_everywhere else {})
        for index in range(shape.n)
    )
    if wants_usage:
        tail += b"data: " + orjson.dumps(_chunk(model) | {"choices": []} | usage) + b"\n\n"
    return tail if directive.no_done else tail + b"data: [DONE]\n\n"


@lru_cache(256)
def _writes(directive: Directive, model: str, shape: _Shape) -> list[bytes]:
    events = _events(directive, model, shape)
    return [b"".join(events[at : at + _EVENTS_PER_WRITE]) for at in range(0, len(events), _EVENTS_PER_WRITE)]


@lru_cache(256)
def _events(directive: Directive, model: str, shape: _Shape) -> list[bytes]:
    """Return the events up to the finish: one for each piece; the first also carries the role."""
    deltas: list[dict[str, Any]] = []
    if directive.think:
        key = "content" if directive.think_as == "inline" else directive.think_as
        text = f"<think>{directive.think}</think>" if directive.think_as == "inline" else directive.think
        deltas += [{key: piece} for piece in _cut(text)]
    deltas += [{"content": piece} for piece in _answer_pieces(directive)]
    deltas += [{"refusal": piece} for piece in _cut(directive.refusal or "")]
    deltas += _call_deltas(directive)
    return [
        _event(
            model,
            ({"role": "assistant"} if at == 0 else {}) | delta,
            shape,
            logprobs=_logprobs(delta["content"]) if directive.logprobs and "content" in delta else None,
            index=index,
        )
        for at, delta in enumerate(deltas)
        for index in range(shape.n)
    ]


def _logprobs(text: str) -> dict[str, Any]:
    token = {"token": text, "logprob": -0.5, "bytes": list(text.encode()), "top_logprobs": []}
    return {"content": [token], "refusal": None}


def _call_deltas(directive: Directive) -> list[dict[str, Any]]:
    calls: list[list[dict[str, Any]]] = []
    for at, call in enumerate(directive.calls):
        index = at if call.index is None else call.index
        head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        pieces = [call.arguments[begin : begin + 3] for begin in range(0, len(call.arguments), 3)]
        calls.append([head, *({"index": index, "function": {"arguments": piece}} for piece in pieces)])
    fragments = [one for each in calls for one in each]
    if directive.mixes_calls:
        longest = max(map(len, calls), default=0)
        fragments = [each[at] for at in range(longest) for each in calls if at < len(each)]
    return [{"tool_calls": [one]} for one in fragments]


def _answer_pieces(directive: Directive) -> list[str]:
    if directive.text is not None:
        return _cut(directive.text)
    if directive.calls or directive.refusal:
        return []
    return [f"word{number} " for number in range(directive.pieces)]


def _cut(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _chunk(model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1700000000, "model": model}


def _event(
    model: str,
    delta: dict[str, Any],
    shape: _Shape,
    *,
    finish: str | None = None,
    logprobs: dict[str, Any] | None = None,
    index: int = 0,
    more: dict[str, Any] | None = None,
) -> bytes:
    choice: dict[str, Any] = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    chunk = _chunk(model)
    if shape.is_text:
        choice = {"index": index, "text": delta.get("content", ""), "logprobs": None, "finish_reason": finish}
        chunk["object"] = "text_completion"
    return b"data: " + orjson.dumps(chunk | {"choices": [choice]} | (more or {})) + b"\n\n"


def _whole(request: dict[str, Any], directive: Directive) -> bytes:
    pieces = _answer_pieces(directive)
    text = "".join(pieces)
    message: dict[str, Any] = {"role": "assistant"}
    if directive.think and directive.think_as == "inline":
        text = f"<think>{directive.think}</think>{text}"
    elif directive.think:
        message[directive.think_as] = directive.think
    message["content"] = text if text or not (directive.calls or directive.refusal) else None
    if directive.refusal:
        message["refusal"] = directive.refusal
    if directive.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in directive.calls
        ]
    logprobs = {"content": [token for piece in pieces for token in _logprobs(piece)["content"]], "refusal": None}
    choice = {
        "message": message,
        "finish_reason": directive.finish,
        "logprobs": logprobs if directive.logprobs else None,
    }
    choices = [{"index": index} | choice for index in range(int(request.get("n") or 1))]
    usage = {} if directive.no_usage else {"usage": _usage(directive, _prompt_tokens(request))}
    head = _chunk(str(request.get("model"))) | {"object": "chat.completion"}
    return orjson.dumps(head | {"choices": choices} | usage)


def _text_whole(request: dict[str, Any], directive: Directive) -> bytes:
    choice = {"text": "".join(_answer_pieces(directive)), "logprobs": None, "finish_reason": directive.finish}
    choices = [{"index": index} | choice for index in range(int(request.get("n") or 1))]
    usage = {} if directive.no_usage else {"usage": _usage(directive, _prompt_tokens(request))}
    head = _chunk(str(request.get("model"))) | {"object": "text_completion"}
    return orjson.dumps(head | {"choices": choices} | usage)


def _usage(directive: Directive, prompt_tokens: int) -> dict[str, Any]:
    reasoning = len(_cut(directive.think)) if directive.think else 0
    completion = len(_answer_pieces(directive)) + reasoning
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _prompt_tokens(request: dict[str, Any]) -> int:
    if "prompt" in request:
        return len(str(request["prompt"]).split())
    return sum(len(str(message.get("content", "")).split()) for message in request.get("messages", ()))


def _embeddings(request: dict[str, Any], directive: Directive) -> bytes:
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    if texts and isinstance(texts[0], int):
        texts = [texts]
    size = int(request.get("dimensions") or directive.dimensions)
    rows: list[dict[str, Any]] = [
        {"object": "embedding", "index": at, "embedding": _vector(str(text), size)} for at, text in enumerate(texts)
    ]
    tokens = sum(len(str(text).split()) for text in texts)
    usage = {} if directive.no_usage else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    answer = {"object": "list", "model": request.get("model"), "data": rows[::-1]} | usage
    if directive.nan:
        rows[0]["embedding"][0] = math.nan
        return json.dumps(answer).encode()
    return orjson.dumps(answer)


def _vector(text: str, size: int) -> list[float]:
    digest = hashlib.shake_128(text.encode()).digest(size)
    return [byte - 127.5 for byte in digest]


def _rerank(request: dict[str, Any]) -> bytes:
    passages = request.get("documents") or request.get("texts") or []
    query = set(request["query"].lower().split())
    scores = [len(query & set(passage.lower().split())) / max(len(query), 1) for passage in passages]
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    if "texts" in request:
        return orjson.dumps([{"index": at, "score": scores[at]} for at in order])
    results = [{"index": at, "relevance_score": scores[at]} for at in order]
    return orjson.dumps({"results": results, "usage": {"total_tokens": sum(len(text.split()) for text in passages)}})


def _last_user_text(request: dict[str, Any]) -> str:
    for message in reversed(request.get("messages") or ()):
        if message.get("role") == "user":
            return str(message.get("content", ""))
    return str(request.get("query") or request.get("prompt") or "")


def _directive(text: str) -> Directive | None:
    at = text.find("@@{")
    return _read_directive(text[at + 2 :]) if at >= 0 else None


@lru_cache(1024)
def _read_directive(text: str) -> Directive:
    return msgspec.convert(_DECODER.raw_decode(text)[0], Directive)


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
    error = {"message": directive.message, "type": "scripted", "param": None, "code": None}
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
