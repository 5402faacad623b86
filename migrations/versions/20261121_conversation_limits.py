"""Counting of limits, statistics and sessions; indexes of live sessions only; vectors in indexes of their own."""

from alembic import context, op

from app.db.vectors import VECTOR_BUCKETS, VECTOR_SIZES, index_name, index_statements
from app.db.walls import DISPATCH_ROLE, wall_statements
from migrations.functions import (
    CLOSE_TURN_CALLING,
    DROP_CLOSE_TURN_CALLING,
    DROP_OPEN_TURN_BEGINNING,
    OPEN_TURN_BEGINNING,
)
from migrations.limit_functions import DROP_LIMIT_FUNCTIONS, LIMIT_FUNCTIONS
from migrations.session_functions import DROP_SESSION_FUNCTIONS, SESSION_FUNCTIONS
from migrations.stats_functions import DROP_STATS_FUNCTIONS, STATS_FUNCTIONS
from migrations.turn_functions import CONTINUE_SESSION, DROP_CONTINUE_SESSION

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = {
    "quota_reservations": """
        CREATE TABLE quota_reservations (
            tenant_id TEXT NOT NULL,
            id TEXT NOT NULL,
            subject TEXT NOT NULL,
            day DATE NOT NULL,
            tokens BIGINT NOT NULL,
            process_id TEXT NOT NULL,
            CONSTRAINT pk_quota_reservations PRIMARY KEY (tenant_id, id, subject),
            CONSTRAINT fk_quota_reservations_tenants FOREIGN KEY(tenant_id)
                REFERENCES tenants (tenant_id) ON DELETE CASCADE
        )
    """,
    "session_days": """
        CREATE TABLE session_days (
            tenant_id TEXT NOT NULL,
            day DATE NOT NULL,
            source TEXT NOT NULL,
            chat_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            slot INTEGER NOT NULL,
            sessions BIGINT NOT NULL,
            tokens BIGINT NOT NULL,
            duration_s DOUBLE PRECISION NOT NULL,
            rounds BIGINT NOT NULL,
            thumb_up BIGINT NOT NULL,
            CONSTRAINT pk_session_days PRIMARY KEY (tenant_id, day, source, chat_id, user_id, slot),
            CONSTRAINT fk_session_days_tenants FOREIGN KEY(tenant_id)
                REFERENCES tenants (tenant_id) ON DELETE CASCADE
        )
    """,
    "session_labels": """
        CREATE TABLE session_labels (
            tenant_id TEXT NOT NULL,
            session_id TEXT NOT NULL,
            chat_id TEXT NOT NULL,
            label TEXT NOT NULL,
            CONSTRAINT pk_session_labels PRIMARY KEY (tenant_id, session_id),
            CONSTRAINT fk_session_labels_sessions FOREIGN KEY(tenant_id, session_id)
                REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
        )
    """,
}

# Nothing was written here before: quotas begin with this revision.
QUOTA_DAYS = """
    ALTER TABLE quota_days DROP COLUMN reserved, DROP CONSTRAINT pk_quota_days,
        ADD CONSTRAINT pk_quota_days PRIMARY KEY (tenant_id, day, subject)
"""
FORMER_QUOTA_DAYS = """
    ALTER TABLE quota_days ADD COLUMN reserved BIGINT NOT NULL DEFAULT 0, DROP CONSTRAINT pk_quota_days,
        ADD CONSTRAINT pk_quota_days PRIMARY KEY (tenant_id, subject, day)
"""

INDEXES = {
    "ix_quota_days_day": "quota_days (day)",
    "ix_quota_reservations_subject": "quota_reservations (tenant_id, subject, day)",
    "ix_chats_updated": "chats (tenant_id, updated_at, id) WHERE deleted_at IS NULL",
    "ix_chats_named": "chats (tenant_id, name, id) WHERE deleted_at IS NULL",
    "ix_sessions_chat": "sessions (tenant_id, chat_id, created_at, id) WHERE deleted_at IS NULL",
    "ix_sessions_updated": "sessions (tenant_id, chat_id, updated_at, id) WHERE deleted_at IS NULL",
    "ix_sessions_name": "sessions (tenant_id, chat_id, name, created_at, id) WHERE deleted_at IS NULL",
    "ix_sessions_user": "sessions (tenant_id, chat_id, user_id, created_at, id) WHERE deleted_at IS NULL",
    "ix_sessions_day": "sessions (tenant_id, created_at) WHERE deleted_at IS NULL",
    "ix_sessions_idle": "sessions (updated_at) WHERE deleted_at IS NULL",
    "ix_sessions_ended": "sessions (deleted_at) WHERE deleted_at IS NOT NULL",
    "ix_session_labels_label": "session_labels USING gin (tenant_id, chat_id, label gin_trgm_ops)",
}

# Those of the same names held deleted sessions too.
FORMER_INDEXES = {
    "ix_sessions_chat": "sessions (tenant_id, chat_id, created_at, id)",
    "ix_sessions_updated": "sessions (tenant_id, chat_id, updated_at, id)",
    "ix_sessions_name": "sessions (tenant_id, chat_id, name, id)",
    "ix_sessions_user": "sessions (tenant_id, chat_id, user_id, created_at, id)",
    "ix_sessions_day": "sessions (tenant_id, created_at)",
    "ix_sessions_idle": "sessions (updated_at)",
}

FUNCTIONS = (
    OPEN_TURN_BEGINNING,
    CLOSE_TURN_CALLING,
    *LIMIT_FUNCTIONS,
    *SESSION_FUNCTIONS,
    CONTINUE_SESSION,
    *STATS_FUNCTIONS,
)
DROP_FUNCTIONS = (
    DROP_CONTINUE_SESSION,
    *DROP_STATS_FUNCTIONS,
    *DROP_SESSION_FUNCTIONS,
    *DROP_LIMIT_FUNCTIONS,
    DROP_CLOSE_TURN_CALLING,
    DROP_OPEN_TURN_BEGINNING,
)

DISPATCH = (
    "DROP POLICY IF EXISTS dispatch ON quota_days",  # a new database got it with the table
    f"CREATE POLICY dispatch ON quota_days TO {DISPATCH_ROLE} USING (true)",
    f"GRANT SELECT (tenant_id, day), DELETE ON quota_days TO {DISPATCH_ROLE}",
)


# A dataset is one tenant's: without knowing that the planner takes a dataset for a hundredth of what it is.
STATISTICS = "CREATE STATISTICS st_chunks_dataset (dependencies) ON tenant_id, dataset_id FROM chunks"


def _former_vector_index(size: int) -> str:
    return (
        f"CREATE INDEX ix_chunks_embedding_{size} ON chunks "
        f"USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops) WHERE dimensions = {size}"
    )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("SET LOCAL statement_timeout = 0")  # indexes of what is there may take minutes
    app_role = context.config.attributes["app_role"]
    op.execute("ALTER TABLE chats ADD COLUMN sessions_since TIMESTAMP WITH TIME ZONE")
    op.execute(QUOTA_DAYS)
    for table, statement in TABLES.items():
        op.execute(statement)
        op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO "{app_role}"')
        for wall in wall_statements(table):
            op.execute(wall)
    for statement in DISPATCH:
        op.execute(statement)
    for name in FORMER_INDEXES:
        op.execute(f"DROP INDEX {name}")
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {what}")
    for size in VECTOR_SIZES:
        op.execute(f"DROP INDEX ix_chunks_embedding_{size}")
        for statement in index_statements(size):
            op.execute(statement)
    op.execute(STATISTICS)
    for function in FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    op.execute("DROP STATISTICS st_chunks_dataset")
    for function in DROP_FUNCTIONS:
        op.execute(function)
    for size in VECTOR_SIZES:
        for bucket in range(VECTOR_BUCKETS):
            op.execute(f"DROP INDEX {index_name(size, bucket)}")
        op.execute(_former_vector_index(size))
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    for name, what in FORMER_INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {what}")
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table}")
    op.execute(FORMER_QUOTA_DAYS)
    op.execute("ALTER TABLE chats DROP COLUMN sessions_since")
