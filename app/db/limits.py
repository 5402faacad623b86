"""Tables of what a key has used: calls in a window, streams open, tokens of a day.

The first two may be lost when PostgreSQL crashes (they are not logged): a window, or the streams of a dead process.
"""

from sqlalchemy import BigInteger, Column, Date, ForeignKeyConstraint, Index, Integer, Table, Text

from app.db.metadata import Moment, metadata, tenant_column

rate_windows = Table(
    "rate_windows",
    metadata,
    tenant_column(),
    Column("api_key_id", Text, primary_key=True),
    Column("window_start", Moment, primary_key=True),
    Column("used", Integer, nullable=False),
    Index("ix_rate_windows_start", "window_start"),
    prefixes=["UNLOGGED"],
)

open_streams = Table(
    "open_streams",
    metadata,
    tenant_column(),
    Column("api_key_id", Text, primary_key=True),
    Column("process_id", Text, primary_key=True),
    Column("streams", Integer, nullable=False),
    prefixes=["UNLOGGED"],
)

quota_days = Table(
    "quota_days",
    metadata,
    tenant_column(),
    Column("day", Date, primary_key=True),
    Column("subject", Text, primary_key=True),  # a key's id, or '' for the tenant
    Column("used", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("ix_quota_days_day", "day"),
)

quota_reservations = Table(
    "quota_reservations",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),  # a turn's, or that of one model call
    Column("subject", Text, primary_key=True),
    Column("day", Date, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("process_id", Text, nullable=False),  # it counts while this process lives
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("ix_quota_reservations_subject", "tenant_id", "subject", "day"),
)
