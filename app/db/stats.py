"""Table of the sums of sessions by the day on which they began; triggers keep it (migrations/stats_functions.py)."""

from sqlalchemy import BigInteger, Column, Date, Double, ForeignKeyConstraint, Integer, Table, Text

from app.db.metadata import metadata, tenant_column

session_days = Table(
    "session_days",
    metadata,
    tenant_column(),
    Column("day", Date, primary_key=True),  # UTC
    Column("source", Text, primary_key=True),  # '' for none
    Column("chat_id", Text, primary_key=True),  # '' for none
    Column("user_id", Text, primary_key=True),
    Column("slot", Integer, primary_key=True),  # of 16 for sessions without a user, else 0
    Column("sessions", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("rounds", BigInteger, nullable=False),
    Column("thumb_up", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
)
