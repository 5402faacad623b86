"""Moments that a write leaves behind."""

from sqlalchemy import literal_column

from app.db.metadata import Moment

LATER = "GREATEST(clock_timestamp(), updated_at + interval '1 millisecond')"
"""SQL for the new `updated_at` of a row that is updated: now, but a millisecond after the old one at least.

Every write changes what the wire shows, whatever the clock does.
"""

later = literal_column(LATER, Moment)
"""The same for statements that are put together."""
