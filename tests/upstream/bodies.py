"""What the scripted provider says: the bodies of answers and the events of streams, as a directive asks."""

import hashlib
import json
import math
import re
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from tests.upstream.directives import Directive

_EVENTS_PER_WRITE = 16


class Shape(msgspec.Struct, frozen=True):
    """What of a request changes the form of the chunks."""

    n: int = 1
    is_text: bool = False  # of /completions


def limited(directive: Directive, request: dict[str, Any]) -> Directive:
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


def tail_of(directive: Directive, request: dict[str, Any], prompt_tokens: int, wants_usage: bool) -> bytes:
    """Return the end of a stream: why it ended, its usage if that is wanted, `[DONE]`."""
    model, shape = str(request.get("model")), Shape(int(request.get("n") or 1), "prompt" in request)
    usage = {"usage": _usage(directive, prompt_tokens)}
    tail = b"".join(
        _event(model, {}, shape, finish=directive.finish, index=index, more=usage if directive.usage_everywhere else {})
        for index in range(shape.n)
    )
    if wants_usage:
        tail += b"data: " + orjson.dumps(_chunk(model) | {"choices": []} | usage) + b"\n\n"
    return tail if directive.no_done else tail + b"data: [DONE]\n\n"


@lru_cache(256)
def writes(directive: Directive, model: str, shape: Shape) -> list[bytes]:
    """Return the events of an answer, several joined, as they are written when nothing comes between them."""
    events = events_of(directive, model, shape)
    return [b"".join(events[at : at + _EVENTS_PER_WRITE]) for at in range(0, len(events), _EVENTS_PER_WRITE)]


@lru_cache(256)
def events_of(directive: Directive, model: str, shape: Shape) -> list[bytes]:
    """Return the events up to the finish: one for each piece; the first also carries the role."""
    deltas: list[dict[str, Any]] = []
    if directive.think:
        key = "content" if directive.think_as == "inline" else directive.think_as
        text = f"<think>{directive.think}</think>" if directive.think_as == "inline" else directive.think
        deltas += [{key: piece} for piece in _sent(directive, _cut(text))]
    deltas += [{"content": piece} for piece in _sent(directive, _answer_pieces(directive))]
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


def _sent(directive: Directive, words: list[str]) -> list[str]:
    """Return a text as it is cut on the wire."""
    size, text = directive.cut, "".join(words)
    return [text[at : at + size] for at in range(0, len(text), size)] if size else words


def _cut(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _chunk(model: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1700000000, "model": model}


def _event(
    model: str,
    delta: dict[str, Any],
    shape: Shape,
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


def whole_answer(request: dict[str, Any], directive: Directive) -> bytes:
    """Return a chat completion in one piece."""
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
    usage = {} if directive.no_usage else {"usage": _usage(directive, prompt_tokens_of(request))}
    head = _chunk(str(request.get("model"))) | {"object": "chat.completion"}
    return orjson.dumps(head | {"choices": choices} | usage)


def text_whole(request: dict[str, Any], directive: Directive) -> bytes:
    """Return a completion of `/completions` in one piece."""
    choice = {"text": "".join(_answer_pieces(directive)), "logprobs": None, "finish_reason": directive.finish}
    choices = [{"index": index} | choice for index in range(int(request.get("n") or 1))]
    usage = {} if directive.no_usage else {"usage": _usage(directive, prompt_tokens_of(request))}
    head = _chunk(str(request.get("model"))) | {"object": "text_completion"}
    return orjson.dumps(head | {"choices": choices} | usage)


def _usage(directive: Directive, prompt_tokens: int) -> dict[str, Any]:
    reasoning = len(_cut(directive.think)) if directive.think else 0
    completion = len(_answer_pieces(directive)) + reasoning
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": directive.cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def prompt_tokens_of(request: dict[str, Any]) -> int:
    """Return how many words the request holds."""
    if "prompt" in request:
        return len(str(request["prompt"]).split())
    return sum(len(str(message.get("content", "")).split()) for message in request.get("messages", ()))


def embeddings(request: dict[str, Any], directive: Directive) -> bytes:
    """Return vectors of the texts, in another order than they came."""
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


def rerank(request: dict[str, Any]) -> bytes:
    """Return how many words of the query each passage has."""
    passages = request.get("documents") or request.get("texts") or []
    query = set(request["query"].lower().split())
    scores = [len(query & set(passage.lower().split())) / max(len(query), 1) for passage in passages]
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    if "texts" in request:
        return orjson.dumps([{"index": at, "score": scores[at]} for at in order])
    results = [{"index": at, "relevance_score": scores[at]} for at in order]
    return orjson.dumps({"results": results, "usage": {"total_tokens": sum(len(text.split()) for text in passages)}})
