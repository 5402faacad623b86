"""Tables of chats (assistants), sessions, messages, references, turns and their event log."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.metadata import Moment, metadata, tenant_column

_IS_LIVE = text("deleted_at IS NULL")
_HOURS = {"session_8h": 3, "session_64h": 6, "session_512h": 9}  # stretches of 2 ** n hours


def _hour_columns() -> list[Column[int]]:
    """Hours from 1970 to when the session began, and longer stretches: what words are looked up by beside them."""
    longer = [Column(name, Integer, Computed(f"session_hour >> {shift}")) for name, shift in _HOURS.items()]
    return [Column("session_hour", Integer), *longer]


chats = Table(
    "chats",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("avatar", Text, nullable=False, server_default=""),
    Column("language", Text, nullable=False, server_default="English"),
    Column("do_refer", Text, nullable=False, server_default="1"),
    Column("llm_id", Text),  # null: the default chat model
    Column("llm_setting", JSONB, nullable=False),
    Column("prompt_config", JSONB, nullable=False),
    Column("meta_data_filter", JSONB, nullable=False, server_default=text("'{}'")),
    Column("similarity_threshold", Double, nullable=False),
    Column("vector_similarity_weight", Double, nullable=False),
    Column("top_n", Integer, nullable=False),
    Column("top_k", Integer, nullable=False),
    Column("rerank_id", Text, nullable=False, server_default=""),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("deleted_at", Moment),
    Column("secrets", LargeBinary),  # sealed: keys of web search providers
    Column("sessions_since", Moment),  # sessions made until then were deleted all at once
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("uq_chats_name", "tenant_id", text("lower(name)"), unique=True, postgresql_where=text("deleted_at IS NULL")),
    Index("ix_chats_created", "tenant_id", "created_at", "id"),
    Index("ix_chats_updated", "tenant_id", "updated_at", "id", postgresql_where=text("deleted_at IS NULL")),
    Index("ix_chats_named", "tenant_id", "name", "id", postgresql_where=text("deleted_at IS NULL")),
)

chat_datasets = Table(
    "chat_datasets",
    metadata,
    tenant_column(),
    Column("chat_id", Text, primary_key=True),
    Column("dataset_id", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    ForeignKeyConstraint(["tenant_id", "chat_id"], ["chats.tenant_id", "chats.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["tenant_id", "dataset_id"], ["datasets.tenant_id", "datasets.id"], ondelete="CASCADE"),
    Index("ix_chat_datasets_dataset", "tenant_id", "dataset_id"),
)

sessions = Table(
    "sessions",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # chat | agent | participants | section
    Column("chat_id", Text),
    Column("name", Text, nullable=False),
    Column("user_id", Text, nullable=False, server_default=""),
    Column("source", Text),
    Column("variables", JSONB, nullable=False, server_default=text("'{}'")),
    Column("next_position", Integer, nullable=False, server_default="0"),
    Column("round", Integer, nullable=False, server_default="0"),
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    Column("duration_s", Double, nullable=False, server_default="0"),
    Column("thumb_up", Integer, nullable=False, server_default="0"),
    Column("last_message_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("deleted_at", Moment),
    ForeignKeyConstraint(["tenant_id", "chat_id"], ["chats.tenant_id", "chats.id"], ondelete="CASCADE"),
    Index("ix_sessions_chat", "tenant_id", "chat_id", "created_at", "id", postgresql_where=_IS_LIVE),
    Index("ix_sessions_updated", "tenant_id", "chat_id", "updated_at", "id", postgresql_where=_IS_LIVE),
    Index("ix_sessions_name", "tenant_id", "chat_id", "name", "created_at", "id", postgresql_where=_IS_LIVE),
    Index("ix_sessions_user", "tenant_id", "chat_id", "user_id", "created_at", "id", postgresql_where=_IS_LIVE),
    Index("ix_sessions_day", "tenant_id", "created_at", postgresql_where=_IS_LIVE),
    Index("ix_sessions_idle", "updated_at", postgresql_where=_IS_LIVE),
    Index("ix_sessions_ended", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
)

session_counts = Table(
    "session_counts",
    metadata,
    tenant_column(),
    Column("chat_id", Text, primary_key=True),
    Column("slot", Integer, primary_key=True),  # of 16, so that sessions that begin at once do not wait for each other
    Column("sessions", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant_id", "chat_id"], ["chats.tenant_id", "chats.id"], ondelete="CASCADE"),
)

# Names and ids of sessions, for the index that keywords are looked up in; kept by triggers, not by every turn's write.
session_labels = Table(
    "session_labels",
    metadata,
    tenant_column(),
    Column("session_id", Text, primary_key=True),
    Column("chat_id", Text, nullable=False),
    Column("label", Text, nullable=False),
    *_hour_columns(),  # a trigger sets them
    ForeignKeyConstraint(["tenant_id", "session_id"], ["sessions.tenant_id", "sessions.id"], ondelete="CASCADE"),
    Index(
        "ix_session_labels_label",
        "tenant_id",
        "chat_id",
        "session_hour",
        *_HOURS,
        "label",
        postgresql_using="gin",
        postgresql_ops={"label": "gin_trgm_ops"},
    ),
)

turns = Table(
    "turns",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("session_id", Text),  # null: a turn of a caller who keeps the history
    Column("chat_id", Text),
    Column("api_key_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # running | done | stopped | failed
    Column("owner", Text, nullable=False),  # the process that drives it
    Column("fence", BigInteger, nullable=False, server_default="1"),  # grows at every takeover
    Column("is_stop_requested", Boolean, nullable=False, server_default=text("false")),
    Column("route", Text, nullable=False),
    Column("body_hash", LargeBinary, nullable=False),
    Column("request_id", Text, nullable=False, server_default=""),
    Column("delivered_at", Moment),  # when an answer reached its caller whole
    Column("model", Text),
    Column("prompt_version", Text),
    Column("finish_reason", Text),
    Column("error_kind", Text),
    Column("error", Text),
    Column("prompt_tokens", Integer, nullable=False, server_default="0"),
    Column("completion_tokens", Integer, nullable=False, server_default="0"),
    Column("reasoning_tokens", Integer, nullable=False, server_default="0"),
    Column("cached_tokens", Integer, nullable=False, server_default="0"),
    Column("is_estimated", Boolean, nullable=False, server_default=text("false")),
    Column("reference_total", Integer),  # null: no retrieval ran, or quoting was off
    Column("timings_ms", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("ended_at", Moment),
    ForeignKeyConstraint(["tenant_id", "session_id"], ["sessions.tenant_id", "sessions.id"], ondelete="CASCADE"),
    Index(
        "uq_turns_one_running",
        "tenant_id",
        "session_id",
        unique=True,
        postgresql_where=text("state = 'running' AND session_id IS NOT NULL"),
    ),
    Index("ix_turns_running", "owner", postgresql_where=text("state = 'running'")),
    Index("ix_turns_retry", "tenant_id", "api_key_id", "body_hash", "created_at"),
    Index("ix_turns_session", "tenant_id", "session_id", postgresql_where=text("session_id IS NOT NULL")),
)

messages = Table(
    "messages",
    metadata,
    tenant_column(),
    Column("turn_id", Text, primary_key=True),  # names the turn; the opener's names no turn
    Column("role", Text, primary_key=True),
    Column("session_id", Text),
    Column("position", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("reasoning", Text),
    Column("thumbup", Boolean),
    Column("feedback", Text),
    Column("tool_calls", JSONB),  # what an assistant asked its caller to do, as OpenAI writes it
    Column("extras", JSONB),  # of a question: files, doc_ids
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    *_hour_columns(),  # a trigger sets them where nobody does
    ForeignKeyConstraint(["tenant_id", "session_id"], ["sessions.tenant_id", "sessions.id"], ondelete="CASCADE"),
    Index("uq_messages_position", "tenant_id", "session_id", "position", unique=True),
    Index(
        "ix_messages_content",
        "tenant_id",
        "session_hour",
        *_HOURS,
        "content",
        postgresql_using="gin",
        postgresql_ops={"content": "gin_trgm_ops"},
        postgresql_where=text("session_id IS NOT NULL"),
    ),
)

message_references = Table(
    "message_references",
    metadata,
    tenant_column(),
    Column("turn_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),  # the n of [ID:n], from 0
    Column("chunk_id", Text, nullable=False),
    Column("document_id", Text, nullable=False),
    Column("document_name", Text, nullable=False),
    Column("dataset_id", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("positions", JSONB, nullable=False, server_default=text("'[]'")),
    Column("image_id", Text, nullable=False, server_default=""),
    Column("url", Text),
    Column("doc_type", Text, nullable=False, server_default=""),
    Column("similarity", Double),
    Column("vector_similarity", Double),
    Column("term_similarity", Double),
    Column("is_cited", Boolean, nullable=False),
    ForeignKeyConstraint(["tenant_id", "turn_id"], ["turns.tenant_id", "turns.id"], ondelete="CASCADE"),
)

turn_events = Table(
    "turn_events",
    metadata,
    tenant_column(),
    Column("turn_id", Text, primary_key=True),
    Column("first_number", Integer, primary_key=True),
    Column("last_number", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # JSON: [[number, kind, data], …]
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["tenant_id", "turn_id"], ["turns.tenant_id", "turns.id"], ondelete="CASCADE"),
    Index("ix_turn_events_created", "created_at", postgresql_using="brin"),
)
