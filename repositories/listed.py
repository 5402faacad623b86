"""Stretches of ordered lists with how many there are in all, asked in one way for every sort of thing."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, func
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.listing import Listing, OrderBy


async def listed(
    connection: AsyncConnection, matching: Select[Any], listing: Listing, orders: Mapping[OrderBy, Any], id_: Any
) -> tuple[int, Sequence[Row[Any]]]:
    """Return how many rows match, and the stretch of them `listing` names; they are counted only where it tells not."""
    columns = orders[listing.order_by], id_
    ordered = [column.desc() if listing.is_descending else column.asc() for column in columns]
    stretch = matching.order_by(*ordered).limit(listing.limit).offset(listing.offset)
    rows = (await connection.execute(stretch)).all()
    total = listing.total(len(rows))
    if total is None:
        counted = matching.with_only_columns(func.count(), maintain_column_froms=True)
        total = int((await connection.execute(counted)).scalar_one())
    return total, rows
