"""Which stretch of a list is wanted, and what a deletion of several things did."""

from dataclasses import dataclass
from typing import Literal

OrderBy = Literal["create_time", "update_time", "name"]
"""What lists can be ordered by, in the words of the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A stretch of an ordered list. Things of equal order are told apart by their ids."""

    order_by: OrderBy = "create_time"
    is_descending: bool = True
    limit: int = 30
    offset: int = 0

    def total(self, found: int) -> int | None:
        """Return how many there are in all when a stretch of `found` tells it: it ended before its limit."""
        is_end = found < self.limit and (found > 0 or self.offset == 0)
        return self.offset + found if is_end else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """How many were deleted, and a line for everything that was asked for in vain."""

    success_count: int
    errors: tuple[str, ...] = ()
