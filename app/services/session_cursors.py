"""Cursors of lists of sessions: opaque to callers, who only hand them back."""

import base64
from datetime import UTC, datetime

import orjson

from app.domain.errors import BadArgument
from app.domain.listing import Listing
from app.domain.sessions import Position, SessionCursor
from app.services.session_turns import STRETCH_MOST

_LONGEST = 4000
_POSITION_MOST = 2**31 - 1


def write_cursor(cursor: SessionCursor) -> str:
    """Return a cursor as callers carry it."""
    value = cursor.value if isinstance(cursor.value, str) else cursor.value.isoformat()
    told = [cursor.order_by, cursor.is_descending, value, cursor.created_at.isoformat(), cursor.id]
    return base64.urlsafe_b64encode(orjson.dumps(told)).decode().rstrip("=")


def read_cursor(text: str, listing: Listing) -> SessionCursor | None:
    """Return the cursor of a list so ordered, None for an empty text.

    Raises:
        BadArgument: nobody gave that cursor out, or it belongs to a list of another order.
    """
    if not text:
        return None
    try:
        order_by, is_descending, value, created_at, session_id = _parts(text)
        cursor = SessionCursor(
            order_by=listing.order_by,
            is_descending=listing.is_descending,
            value=value if listing.order_by == "name" else _moment(value),
            created_at=_moment(created_at),
            id=session_id,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise BadArgument("`after` is no cursor of a list of sessions.", param="after") from error
    if (order_by, is_descending) != (listing.order_by, listing.is_descending):
        raise BadArgument("`after` belongs to a list of another order.", param="after")
    return cursor


def _parts(text: str) -> tuple[str, bool, str, str, str]:
    if len(text) > _LONGEST:
        raise ValueError("too long")
    told = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    order_by, is_descending, value, created_at, session_id = told
    texts = (order_by, value, created_at, session_id)
    if not isinstance(is_descending, bool) or not all(isinstance(one, str) and "\x00" not in one for one in texts):
        raise ValueError("no cursor")
    return order_by, is_descending, value, created_at, session_id


def _moment(text: str) -> datetime:
    """Read a moment that Postgres can hold; in UTC, as ours are."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no cursor")
    return moment.astimezone(UTC)


def read_position(before: str, after: str, limit: str) -> Position:
    """Return the stretch of messages a query asks for; without `before` and `after` the last ones.

    Raises:
        BadArgument: not a number, or both sides at once.
    """
    if before and after:
        raise BadArgument("Only one of `before` and `after` can be given.", param="after")
    return Position(
        before=_number("before", before) if before else None,
        after=_number("after", after) if after else None,
        limit=max(1, min(_number("limit", limit or "100"), STRETCH_MOST)),
    )


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise BadArgument(f"`{name}` must be a non-negative integer.", param=name)
    return min(int(value), _POSITION_MOST)
