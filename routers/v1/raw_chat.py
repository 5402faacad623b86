"""`POST /v1/chat/completions` with a configured model: its provider's answer, relayed."""

from functools import partial
from typing import Any

from fastapi import Response

from app.domain.errors import Unavailable
from app.llm.passthrough import Rewriter, Tally
from app.llm.stopping import stops_of
from app.services.raw_chat import RawCall, RawChat
from app.services.v1_models import RawModel
from app.wire.openai_head import Head
from app.wire.openai_relay import ChatRelay
from app.wire.openai_whole import WholeChat, joined
from routers.deps import TurnCall
from routers.v1.once import streamed_once, whole_once
from routers.v1.relaying import RelayedStream, gathered


async def complete(call: TurnCall, model: RawModel, body: dict[str, Any]) -> Response:
    """Answer with a configured model.

    Raises:
        Invalid: a parameter breaks its rules, or the model cannot do what it asks.
        UpstreamFailed: or one of its kinds; not after the first bytes of a stream.
    """
    raw: RawChat = call.request.app.state.raw_chat
    prepared = raw.chat(model, body)
    head = Head(model.name, has_usage=prepared.has_usage)
    stops = stops_of(body.get("stop"))
    if prepared.is_streaming:
        await call.take_stream()
        running = RawCall(raw, call.caller, prepared, partial(_relaying, head, stops))
        return streamed(call, running, head, ChatRelay.kind)
    return await whole(call, RawCall(raw, call.caller, prepared, partial(_reading, stops)), head, "chat.completion")


def streamed(call: TurnCall, running: RawCall, head: Head, kind: str) -> Response:
    """Answer with an event stream."""

    def tail() -> bytes:
        return head.tail(kind, running.tally)

    if call.recognition.idempotency_key is not None:
        return streamed_once(call, running.run, tail)
    return RelayedStream(running.run, tail, ping_s=call.edge.ping_s)


async def whole(call: TurnCall, running: RawCall, head: Head, kind: str) -> Response:
    """Answer in one piece.

    Raises:
        UpstreamFailed: or one of its kinds.
        Unavailable: the caller went away, so nobody reads it.
    """
    if call.recognition.idempotency_key is not None:
        held: list[bytes] = []

        async def keep(data: bytes) -> None:
            held.append(data)

        return await whole_once(call, lambda _: running.run(keep), lambda: joined(head, kind, held, running.tally))
    parts = await gathered(running.run, call.request.receive)
    if parts is None:
        raise Unavailable("The caller went away.")
    return Response(joined(head, kind, parts, running.tally), media_type="application/json")


def _relaying(head: Head, stops: tuple[str, ...], tally: Tally, offset: int, choices: int) -> Any:
    def rewriter(api_key: str | None) -> Rewriter:
        return ChatRelay(head, tally, api_key=api_key, offset=offset, choices=choices, stops=stops)

    return rewriter


def _reading(stops: tuple[str, ...], tally: Tally, offset: int, choices: int) -> Any:
    def rewriter(api_key: str | None) -> Rewriter:
        return WholeChat(tally, api_key=api_key, offset=offset, choices=choices, stops=stops)

    return rewriter
