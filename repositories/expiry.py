"""What is kept for a while only: deleted across tenants when its time is over, some rows in a statement."""

from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

AT_ONCE = 10_000
"""How many rows one statement deletes, so that none is cut off by its deadline, however much there is to do."""

# One process at a time; the lock goes with the transaction.
_IS_ALONE = text("SELECT pg_try_advisory_xact_lock(20261121, 3)")


class Kept(StrEnum):
    """What is kept for a while only, by its table."""

    EVENTS = "turn_events"  # a replay is made from the message then (design.md 1.2)
    IDEMPOTENT = "idempotency"  # answers kept for repeated calls
    MODEL_ANSWERS = "model_answers"  # what background jobs heard from models
    VISITORS = "api_keys"  # tokens of visitors, counted from their end
    WINDOWS = "rate_windows"  # calls of keys, counted


_OLD = "< statement_timestamp() - make_interval(secs => :age_s)"  # no index serves the volatile clock_timestamp()
_BY = {  # the primary key behind tenant_id, and what is too old
    Kept.EVENTS: ("turn_id, first_number", f"created_at {_OLD}"),
    Kept.IDEMPOTENT: ("api_key_id, key", f"created_at {_OLD}"),
    Kept.MODEL_ANSWERS: ("key", f"created_at {_OLD}"),
    Kept.VISITORS: ("id", f"kind = 'visitor' AND expires_at {_OLD}"),
    Kept.WINDOWS: ("api_key_id, window_start", f"window_start {_OLD}"),
}
EXPIRE = {
    kept: text(f"""
        DELETE FROM {kept} WHERE (tenant_id, {key}) IN (SELECT tenant_id, {key} FROM {kept} WHERE {is_old} LIMIT :most)
    """)  # noqa: S608 (constants)
    for kept, (key, is_old) in _BY.items()
}
"""The statements of `expire`, for those who look at their plans."""


class Expiry:
    """What is over, of all tenants. Runs as the dispatch role; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def expire(self, kept: Kept, age_s: float, *, most: int = AT_ONCE) -> int:
        """Delete up to `most` rows older than `age_s` seconds; how many. Zero while another process is at it."""
        if not (await self._connection.execute(_IS_ALONE)).scalar_one():
            return 0
        return (await self._connection.execute(EXPIRE[kept], {"age_s": age_s, "most": most})).rowcount
