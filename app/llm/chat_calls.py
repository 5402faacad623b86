"""Chat calls over HTTP: where they go, and how an answer is read that may come as a stream or in one piece."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from app.domain.errors import UpstreamFailed
from app.llm.addresses import ModelAddress
from app.llm.base import Patience
from app.llm.replies import check_status
from app.net.http import Answer

ACCEPT = "text/event-stream, application/json"
_DRAIN_S = 0.05  # after [DONE]: time for the end of the body to come, so that the connection can be used again
_TAIL_S = 5.0  # after the finish reason: time for usage and [DONE]
_ERROR_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoint(ModelAddress):
    """Where a chat model is served, and how long silence is borne there."""

    patience: Patience = field(default_factory=Patience)


async def check(answer: Answer, until_s: float, *, api_key: str | None) -> None:
    """Return if the provider answered 200.

    Raises:
        UpstreamFailed: or one of its kinds, with the provider's words if they come in time; see `check_status`.
    """
    if answer.status == 200:
        return
    body = b""
    with suppress(UpstreamFailed):  # the status says enough if the words do not come
        body = await answer.read_all(until_s, max_bytes=_ERROR_BYTES)
    check_status(answer, body, api_key=api_key)


def is_json(answer: Answer, start: bytes) -> bool:
    """Say whether an answer that begins with `start` comes in one piece, and not as events."""
    return "event-stream" not in answer.content_type and start.lstrip()[:1] in (b"{", b"[")


async def next_chunk(answer: Answer, until_s: float, *, has_finished: bool) -> bytes:
    """Read on; once the finish reason is known only usage can follow, so then little is waited and nothing fails."""
    if not has_finished:
        return await answer.read(until_s)
    with suppress(UpstreamFailed):
        return await answer.read(min(until_s, asyncio.get_running_loop().time() + _TAIL_S))
    return b""


async def drain(answer: Answer) -> None:
    """Read what is left after the last event, for a moment only."""
    until_s = asyncio.get_running_loop().time() + _DRAIN_S
    with suppress(UpstreamFailed):
        while await answer.read(until_s):
            pass
