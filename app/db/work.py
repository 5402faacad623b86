"""Tables of background jobs, the usage ledger with its roll-ups, and idempotent answers."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.metadata import Moment, metadata, tenant_column

jobs = Table(
    "jobs",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),  # the document, session, … it is about
    Column("payload", JSONB, nullable=False, server_default=text("'{}'")),
    Column("state", Text, nullable=False, server_default="queued"),  # queued | running | done | failed | cancelled
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("run_after", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("owner", Text),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_until", Moment),
    Column("error", Text),
    Column("progress", Double, nullable=False, server_default="0"),  # 0 to 1, -1 when it failed
    Column("progress_msg", Text, nullable=False, server_default=""),
    Column("began_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("ended_at", Moment),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index(
        "ix_jobs_due",
        "priority",
        "run_after",
        postgresql_where=text("state IN ('queued', 'running')"),
    ),
    Index("ix_jobs_subject", "tenant_id", "subject_id", "kind", "created_at"),
    Index(
        "uq_jobs_live",
        "tenant_id",
        "kind",
        "subject_id",
        unique=True,
        postgresql_where=text("state IN ('queued', 'running')"),
    ),
)

usage_ledger = Table(
    "usage_ledger",
    metadata,
    tenant_column(),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("turn_id", Text),
    Column("session_id", Text),
    Column("chat_id", Text),
    Column("api_key_id", Text),
    Column("user_id", Text),  # the end user whom the caller names, else the session's
    Column("kind", Text, nullable=False),  # chat | embedding | rerank
    Column("purpose", Text, nullable=False),  # answer | refine | query | quote | ingest | …
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("attempt", SmallInteger, nullable=False, server_default="1"),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("is_estimated", Boolean, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Index("ix_usage_ledger_turn", "tenant_id", "turn_id"),
    Index("ix_usage_ledger_created", "tenant_id", "created_at"),
)

usage_daily = Table(
    "usage_daily",
    metadata,
    tenant_column(),
    Column("day", Date, primary_key=True),
    Column("api_key_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("duration_ms", Double, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    tenant_column(),
    Column("api_key_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("route", Text, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("turn_id", Text),  # a turn answers again by being followed again
    Column("status", Integer),  # null: the first call has not ended yet
    Column("body", LargeBinary),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Index("ix_idempotency_created", "created_at"),
)

model_answers = Table(
    "model_answers",
    metadata,
    tenant_column(),
    Column("key", LargeBinary, primary_key=True),  # a hash of model, options and prompt
    Column("answer", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("ix_model_answers_created", "created_at"),
)
"""What background jobs heard from models: a job that goes on after a crash does not ask, or pay, twice."""

stray_blobs = Table(
    "stray_blobs",
    metadata,
    tenant_column(),
    Column("key", Text, primary_key=True),
    Column("due_at", Moment, nullable=False),
    Index("ix_stray_blobs_due", "due_at"),
)
"""Blobs that no row names: written before an upload's bytes and when their owner is deleted; swept when due."""
