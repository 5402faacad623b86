"""How the service connects: one pool per process, JSON by orjson, statements with a deadline."""

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

STATEMENT_TIMEOUT_S = 30.0
"""No statement of ours may run longer, in seconds; migrations have their own bounds."""


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def create_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """Return an engine of at most `pool_size` connections; a request waits up to ten seconds for one."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_use_lifo=True,  # the connection used last is the warm one, here and in Postgres
        pool_timeout=10,
        pool_recycle=1800,
        json_serializer=_json,
        json_deserializer=orjson.loads,
        connect_args={
            "timeout": 10,
            "server_settings": {
                "application_name": "parley",
                "statement_timeout": str(int(STATEMENT_TIMEOUT_S * 1000)),
                "idle_in_transaction_session_timeout": "60000",
            },
        },
    )
