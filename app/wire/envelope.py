"""The native envelope and the words for times that every native answer shares (conversations.md 1.2, 1.5)."""

from datetime import datetime
from email.utils import format_datetime
from typing import Any


def success(data: Any = None, **more: Any) -> dict[str, Any]:
    """Return `{"code": 0, "data": …}`, with `more` keys beside it."""
    return {"code": 0, "data": data, **more}


def epoch_ms(moment: datetime) -> int:
    """Return whole milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)


def http_date(moment: datetime) -> str:
    """Return the HTTP-date of an aware UTC moment, e.g. `Fri, 11 Oct 2024 08:46:14 GMT`."""
    return format_datetime(moment, usegmt=True)


def times(created_at: datetime, updated_at: datetime) -> dict[str, Any]:
    """Return the four time fields of every stored object."""
    return {
        "create_time": epoch_ms(created_at),
        "create_date": http_date(created_at),
        "update_time": epoch_ms(updated_at),
        "update_date": http_date(updated_at),
    }
