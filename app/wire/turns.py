"""A turn as its routes show it."""

from typing import Any

from app.domain.turns import Turn
from app.wire.envelope import epoch_ms


def turn_object(turn: Turn) -> dict[str, Any]:
    """Return the turn; `timings_ms` tells its steps, `usage` obeys the sum law, `error` is null unless it failed."""
    usage = turn.usage
    return {
        "id": turn.id,
        "session_id": turn.session_id,
        "chat_id": turn.chat_id,
        "state": turn.state.value,
        "model": turn.model,
        "prompt_version": turn.prompt_version,
        "finish_reason": turn.finish_reason,
        "error": {"kind": turn.error_kind, "message": turn.error} if turn.error is not None else None,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cached_tokens": usage.cached_tokens,
            "total_tokens": usage.total_tokens,
            "estimated": usage.is_estimated,
        },
        "timings_ms": turn.timings_ms,
        "create_time": epoch_ms(turn.created_at),
        "end_time": epoch_ms(turn.ended_at) if turn.ended_at is not None else None,
    }
