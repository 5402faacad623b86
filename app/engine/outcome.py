"""How driving a turn came out, and the last event that tells of it."""

import time
from dataclasses import dataclass
from typing import TypedDict

from app.domain.errors import ParleyError
from app.domain.events import Done, Failed, Stopped
from app.domain.models import Usage
from app.domain.turns import TurnState
from app.engine.draft import Draft, storable


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error` is why a turn failed, None unless it did."""

    state: TurnState
    error: ParleyError | None = None


class _Told(TypedDict):
    content: str
    cited: tuple[int, ...]
    usage: Usage
    ended_s: float


def ending_of(outcome: Outcome, draft: Draft) -> Done | Stopped | Failed:
    """Return the last event: what the draft holds, and how it came out."""
    content = storable(draft.content)
    told: _Told = {"content": content, "cited": draft.cited, "usage": draft.usage, "ended_s": time.time()}
    if (error := outcome.error) is not None:
        message = storable(error.message)
        return Failed(**told, kind=error.kind.value, message=message, code=error.code, param=error.param)
    if outcome.state is TurnState.STOPPED:
        return Stopped(**told)
    return Done(**told, finish_reason=draft.finish_reason)
