"""The usage ledger, and the daily sums kept beside it by the same transaction (design.md 1.6)."""

from collections.abc import Sequence

import orjson

from app.domain.ids import ChatId, KeyId, SessionId, TenantId, TurnId
from app.domain.retrieval import ModelCall
from repositories.statements import Driver, Statement

_ADD = Statement("""
    WITH calls AS (
        INSERT INTO usage_ledger (tenant_id, turn_id, session_id, chat_id, api_key_id, kind, purpose, model, provider,
            attempt, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, is_estimated, duration_ms)
        SELECT :tenant, :turn_id, :session_id, :chat_id, :api_key_id, c.kind, c.purpose, c.model, c.provider,
            c.attempt, c.prompt_tokens, c.completion_tokens, c.reasoning_tokens, c.cached_tokens, c.is_estimated,
            c.duration_ms
        FROM jsonb_to_recordset(CAST(:calls AS jsonb)) AS c(kind text, purpose text, model text, provider text,
            attempt int, prompt_tokens int, completion_tokens int, reasoning_tokens int, cached_tokens int,
            is_estimated boolean, duration_ms float8)
        RETURNING (created_at AT TIME ZONE 'UTC')::date AS day, kind, model, provider, prompt_tokens,
            completion_tokens, duration_ms
    )
    INSERT INTO usage_daily (tenant_id, day, api_key_id, kind, model, provider, calls, prompt_tokens,
        completion_tokens, duration_ms)
    SELECT :tenant, day, COALESCE(:api_key_id, ''), kind, model, provider, count(*), sum(prompt_tokens),
        sum(completion_tokens), sum(duration_ms)
    FROM calls GROUP BY day, kind, model, provider
    ORDER BY day, kind, model, provider  -- always locked in one order, so that no two deadlock
    ON CONFLICT (tenant_id, day, api_key_id, kind, model, provider) DO UPDATE SET
        calls = usage_daily.calls + excluded.calls,
        prompt_tokens = usage_daily.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = usage_daily.completion_tokens + excluded.completion_tokens,
        duration_ms = usage_daily.duration_ms + excluded.duration_ms
""")


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
        """Write one ledger row per call and add them to the day's sums."""
        if not calls:
            return
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
            }
            for call in calls
        ]
        values = {
            "tenant": self._tenant_id,
            "turn_id": turn_id,
            "session_id": session_id,
            "chat_id": chat_id,
            "api_key_id": api_key_id,
            "calls": orjson.dumps(rows).decode(),
        }
        await self._driver.run(_ADD, values)
