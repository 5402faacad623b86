"""Turns: opened with their question, closed with their answer, found again."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import orjson

from app.domain.ids import ChatId, KeyId, SessionId, TurnId
from app.domain.models import ToolCall, Usage
from app.domain.references import Reference
from app.domain.retrieval import ModelCall
from app.domain.turns import Turn, TurnState
from repositories.statements import Statement
from repositories.turn_openings import Beginning, KnownChat, NewTurn, Opening, Room, TurnOpenings
from repositories.usage import call_rows

if TYPE_CHECKING:
    from asyncpg import Record

__all__ = ["Beginning", "KnownChat", "NewTurn", "Opening", "Room", "TurnClosing", "TurnRepository"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnClosing:
    """How a turn ended, and all that is stored with it. `events` are encoded, the last of them its last."""

    id: TurnId
    fence: int
    state: TurnState
    finish_reason: str | None
    error_kind: str | None
    error: str | None
    usage: Usage
    timings_ms: dict[str, float]
    duration_s: float
    first_number: int
    last_number: int
    events: bytes
    content: str
    reasoning: str | None = None
    references: Sequence[Reference] = ()
    reference_total: int | None = None
    cited: Sequence[int] = ()
    calls: Sequence[ModelCall] = ()
    tool_calls: Sequence[ToolCall] = ()


_CLOSE = Statement("""
    SELECT close_turn(:tenant, :id, :fence, :state, :finish_reason, :error_kind, :error, :prompt_tokens,
        :completion_tokens, :reasoning_tokens, :cached_tokens, :is_estimated, :reference_total,
        CAST(CAST(:timings_ms AS text) AS jsonb), :first_number, :last_number, :events, :content, :reasoning,
        CAST(CAST(:references AS text) AS jsonb), :duration_s, CAST(CAST(:calls AS text) AS jsonb),
        CAST(CAST(:tool_calls AS text) AS jsonb))
""")

_TAKE_OVER = Statement("""
    UPDATE turns SET fence = fence + 1, owner = :owner
    WHERE tenant_id = :tenant AND id = :id AND state = 'running' AND fence = :fence
    RETURNING fence
""")

_REFERENCE = [each.name for each in fields(Reference) if each.name != "metadata"]  # which is not stored

_COLUMNS = """id, session_id, chat_id, api_key_id, state, owner, fence, is_stop_requested, model, prompt_version,
    finish_reason, error_kind, error, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, is_estimated,
    reference_total, timings_ms::text, created_at, ended_at"""

_GET = Statement(f"SELECT {_COLUMNS} FROM turns WHERE tenant_id = :tenant AND id = :id")  # noqa: S608 (a constant)

_REQUEST_STOP = Statement("""
    UPDATE turns SET is_stop_requested = true
    WHERE tenant_id = :tenant AND id = :id AND state = 'running'
    RETURNING owner
""")

# Never an ended-badly turn, never one whose answer was taken in long ago: a retry follows within seconds.
_RETRIED = Statement("""
    SELECT id FROM turns
    WHERE tenant_id = :tenant AND api_key_id = :api_key_id AND body_hash = :body_hash AND route = :route
      AND created_at > clock_timestamp() - make_interval(secs => :window_s)
      AND state IN ('running', 'done')
      AND (delivered_at IS NULL OR delivered_at > clock_timestamp() - make_interval(secs => :grace_s))
    ORDER BY created_at DESC LIMIT 1
""")


class TurnRepository(TurnOpenings):
    """Turns of one tenant. Never commits."""

    async def close(self, closing: TurnClosing) -> bool:
        """End a running turn: state, last events, answer, references, session counters, ledger and daily sums.

        False when it has ended already or belongs to another fence: nothing was written. One statement that sets
        the tenant itself: it may be a transaction of its own.
        """
        values = {
            "tenant": self._tenant_id,
            "id": closing.id,
            "fence": closing.fence,
            "state": closing.state.value,
            "finish_reason": closing.finish_reason,
            "error_kind": closing.error_kind,
            "error": closing.error,
            "prompt_tokens": closing.usage.prompt_tokens,
            "completion_tokens": closing.usage.completion_tokens,
            "reasoning_tokens": closing.usage.reasoning_tokens,
            "cached_tokens": closing.usage.cached_tokens,
            "is_estimated": closing.usage.is_estimated,
            "reference_total": closing.reference_total,
            "timings_ms": orjson.dumps(closing.timings_ms).decode(),
            "first_number": closing.first_number,
            "last_number": closing.last_number,
            "events": closing.events,
            "content": closing.content,
            "reasoning": closing.reasoning,
            "references": _reference_rows(closing) if closing.references else None,
            "duration_s": closing.duration_s,
            "calls": call_rows(closing.calls) if closing.calls else None,
            "tool_calls": _tool_call_rows(closing.tool_calls) if closing.tool_calls else None,
        }
        closed: bool = await self._driver.scalar(_CLOSE, values)
        return closed

    async def take_over(self, turn_id: TurnId, *, fence: int, owner: str) -> int | None:
        """Become the owner of a running turn; the new fence, or None when somebody else was first."""
        values = {"tenant": self._tenant_id, "id": turn_id, "fence": fence, "owner": owner}
        taken: int | None = await self._driver.scalar(_TAKE_OVER, values)
        return taken

    async def get(self, turn_id: TurnId) -> Turn | None:
        """Return the turn."""
        row = await self._driver.first(_GET, {"tenant": self._tenant_id, "id": turn_id})
        return _turn(row) if row is not None else None

    async def request_stop(self, turn_id: TurnId) -> bool:
        """Ask the owner of a running turn to stop it; false when it is not running."""
        values = {"tenant": self._tenant_id, "id": turn_id}
        return await self._driver.first(_REQUEST_STOP, values) is not None

    async def find_retried(
        self, *, api_key_id: KeyId, route: str, body_hash: bytes, window_s: float, grace_s: float
    ) -> TurnId | None:
        """Return the turn that a client's automatic retry asks for again (design.md 1.5).

        It is at most `window_s` old, and its answer was not delivered, or less than `grace_s` ago:
        what we handed to the network may still have been lost on the way.
        """
        values = {
            "tenant": self._tenant_id,
            "api_key_id": api_key_id,
            "route": route,
            "body_hash": body_hash,
            "window_s": window_s,
            "grace_s": grace_s,
        }
        found: str | None = await self._driver.scalar(_RETRIED, values)
        return TurnId(found) if found is not None else None


def _tool_call_rows(calls: Sequence[ToolCall]) -> str:
    rows = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    return orjson.dumps(rows).decode()


def _reference_rows(closing: TurnClosing) -> str:
    """Return the references as JSON rows, numbered in order from 0."""
    cited = set(closing.cited)
    rows = [
        {name: getattr(reference, name) for name in _REFERENCE} | {"number": number, "is_cited": number in cited}
        for number, reference in enumerate(closing.references)
    ]
    return orjson.dumps(rows).decode()


def _turn(row: "Record") -> Turn:
    return Turn(
        id=TurnId(row["id"]),
        session_id=SessionId(row["session_id"]) if row["session_id"] is not None else None,
        chat_id=ChatId(row["chat_id"]) if row["chat_id"] is not None else None,
        api_key_id=KeyId(row["api_key_id"]),
        state=TurnState(row["state"]),
        owner=row["owner"],
        fence=row["fence"],
        is_stop_requested=row["is_stop_requested"],
        model=row["model"],
        prompt_version=row["prompt_version"],
        finish_reason=row["finish_reason"],
        error_kind=row["error_kind"],
        error=row["error"],
        usage=Usage(
            prompt_tokens=row["prompt_tokens"],
            completion_tokens=row["completion_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            cached_tokens=row["cached_tokens"],
            is_estimated=row["is_estimated"],
        ),
        reference_total=row["reference_total"],
        timings_ms=orjson.loads(row["timings_ms"]),
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )
