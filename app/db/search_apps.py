"""Table of search apps (conversations.md 7.7, 7.8)."""

from sqlalchemy import Column, ForeignKeyConstraint, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from app.db.metadata import Moment, metadata, tenant_column

search_apps = Table(
    "search_apps",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("avatar", Text, nullable=False, server_default=""),
    Column("search_config", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("uq_search_apps_name", "tenant_id", text("lower(name)"), unique=True),
    Index("ix_search_apps_created", "tenant_id", "created_at", "id"),
)
