"""Answers that lists and deletions share (conversations.md 1.2, 2.5)."""

from typing import Any

from app.domain.listing import Deletion
from app.wire.envelope import success


def deletion(done: Deletion, noun: str) -> dict[str, Any]:
    """Return the answer to a deletion of several `noun`, e.g. `chats`."""
    if not done.errors:
        return success({"success_count": done.success_count})
    message = f"Partially deleted {done.success_count} {noun} with {len(done.errors)} errors"
    data = {"success_count": done.success_count, "errors": list(done.errors)}
    return {"code": 0, "message": message, "data": data}


def total_header(total: int) -> dict[str, str]:
    """Return the header that tells how many there are before paging."""
    return {"X-Total-Count": str(total)}
