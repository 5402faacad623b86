"""The usage ledger, and the daily sums kept beside it by the same transaction (design.md 1.6)."""

from collections.abc import Sequence

import orjson

from app.domain.ids import ChatId, KeyId, SessionId, TenantId, TurnId
from app.domain.retrieval import ModelCall
from repositories.statements import Driver, Statement

_ADD = Statement("""
    SELECT add_usage(:tenant, :turn_id, :session_id, :chat_id, :api_key_id, CAST(CAST(:calls AS text) AS jsonb))
""")

_HAS_TURN = Statement("SELECT EXISTS (SELECT FROM usage_ledger WHERE tenant_id = :tenant AND turn_id = :turn_id)")


class UsageRepository:
    """Ledger and roll-ups of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def add(
        self,
        calls: Sequence[ModelCall],
        *,
        turn_id: TurnId | None = None,
        session_id: SessionId | None = None,
        chat_id: ChatId | None = None,
        api_key_id: KeyId | None = None,
    ) -> None:
        """Write one ledger row per call and add them to the day's sums; a call without a user has the session's."""
        if not calls:
            return
        values = {
            "tenant": self._tenant_id,
            "turn_id": turn_id,
            "session_id": session_id,
            "chat_id": chat_id,
            "api_key_id": api_key_id,
            "calls": call_rows(calls),
        }
        await self._driver.scalar(_ADD, values)

    async def has_turn(self, turn_id: TurnId) -> bool:
        """Whether the ledger knows of calls of a turn."""
        return bool(await self._driver.scalar(_HAS_TURN, {"tenant": self._tenant_id, "turn_id": turn_id}))


def call_rows(calls: Sequence[ModelCall]) -> str:
    """Return calls as the JSON rows the ledger's function reads."""
    rows = [
        {
            "kind": call.kind,
            "purpose": call.purpose,
            "model": call.model,
            "provider": call.provider,
            "attempt": call.attempt,
            "prompt_tokens": call.usage.prompt_tokens,
            "completion_tokens": call.usage.completion_tokens,
            "reasoning_tokens": call.usage.reasoning_tokens,
            "cached_tokens": call.usage.cached_tokens,
            "is_estimated": call.usage.is_estimated,
            "duration_ms": call.duration_ms,
            "user_id": call.user_id,
        }
        for call in calls
    ]
    return orjson.dumps(rows).decode()
