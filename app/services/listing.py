"""What lists are asked: pages, orders, dates (conversations.md 2.5, 8.1)."""

import re
from datetime import UTC, datetime, timedelta
from typing import get_args

from app.domain.errors import Invalid, WrongType
from app.domain.listing import Listing, OrderBy

PAGE_SIZE_MOST = 1000
OFFSET_MOST = 2**62
"""Postgres counts rows in 64 bits."""

_DIGITS_MOST = 18
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ORDERS: dict[str, OrderBy] = {order: order for order in get_args(OrderBy)}


def read_listing(*, page: str = "1", page_size: str = "30", orderby: str = "", desc: str = "") -> Listing:
    """Return what the query asks for; page 0 is page 1, a page size of 0 is an empty page.

    Only `False` and `false` mean ascending.

    Raises:
        Invalid: not a number, or no such order.
    """
    number, size = _number(page), min(_number(page_size), PAGE_SIZE_MOST)
    order_by = _ORDERS.get(orderby or "create_time")
    if order_by is None:
        raise WrongType("orderby should be create_time or update_time", param="orderby")
    return Listing(
        order_by=order_by,
        is_descending=desc not in ("False", "false"),
        limit=size,
        offset=min(max(number - 1, 0) * size, OFFSET_MOST),
    )


def _number(value: str) -> int:
    number = count_of(value)
    if number is None:
        raise WrongType("page and page_size must be non-negative integers")
    return number


def count_of(digits: str) -> int | None:
    """Return the number that ASCII digits make, None when there is anything else; one too large is `OFFSET_MOST`."""
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) if len(digits) <= _DIGITS_MOST else OFFSET_MOST


def read_moment(name: str, value: str, *, is_end: bool = False) -> datetime | None:
    """Return the moment that `value` names, None when it is empty; a bare day ends with its last microsecond.

    Accepts `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` and ISO 8601; without a zone it is UTC.

    Raises:
        Invalid: it is no date.
    """
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        is_day = _DAY.fullmatch(value) is not None
        return moment + timedelta(days=1, microseconds=-1) if is_end and is_day else moment
    except (ValueError, OverflowError) as error:
        raise Invalid(f"`{name}` should be a date like 2025-01-31 or 2025-01-31 10:00:00.", param=name) from error
