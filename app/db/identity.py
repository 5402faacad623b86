"""Tables of tenants, their keys, and the processes of the service."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from app.db.metadata import Moment, metadata, tenant_column

tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("tokens_per_day", BigInteger),  # null: no quota
)

api_keys = Table(
    "api_keys",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # api | embed | visitor
    Column("name", Text, nullable=False, server_default=""),
    Column("prefix", Text, nullable=False),  # what lists show: the first characters
    Column("last4", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),  # keyed hash of the whole secret
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("parent_id", Text),  # of an embed token its API key, of a visitor's token the key that minted it
    Column("bot_kind", Text),  # chat | search: what a visitor's token opens
    Column("bot_id", Text),
    Column("origin", Text),
    Column("visitor", Text),
    Column("tokens_per_day", BigInteger),  # null: no quota
    Column("replaced_by", Text),  # after a rotation, while both work
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    UniqueConstraint("hash", name="uq_api_keys_hash"),
    Index("ix_api_keys_tenant_id_created_at", "tenant_id", "created_at"),
    Index("ix_api_keys_parent", "tenant_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    Index("ix_api_keys_visitors", "expires_at", postgresql_where=text("kind = 'visitor'")),
)

processes = Table(
    "processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # api | worker
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False, server_default=text("now()")),
    Column("lease_until", Moment, nullable=False),
)
