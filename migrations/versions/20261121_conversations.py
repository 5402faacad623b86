"""The whole conversation API: search apps, limits, quotas, what lists of sessions need."""

from alembic import context, op

from app.db.walls import DISPATCH_ROLE, wall_statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE UNLOGGED TABLE rate_windows (
    tenant_id TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    window_start TIMESTAMP WITH TIME ZONE NOT NULL,
    used INTEGER NOT NULL,
    CONSTRAINT pk_rate_windows PRIMARY KEY (tenant_id, api_key_id, window_start)
);
CREATE INDEX ix_rate_windows_start ON rate_windows (window_start);
CREATE UNLOGGED TABLE open_streams (
    tenant_id TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    process_id TEXT NOT NULL,
    streams INTEGER NOT NULL,
    CONSTRAINT pk_open_streams PRIMARY KEY (tenant_id, api_key_id, process_id)
);
CREATE TABLE quota_days (
    tenant_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    day DATE NOT NULL,
    used BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    CONSTRAINT pk_quota_days PRIMARY KEY (tenant_id, subject, day),
    CONSTRAINT fk_quota_days_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE TABLE search_apps (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    avatar TEXT DEFAULT '' NOT NULL,
    search_config JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_search_apps PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_search_apps_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX uq_search_apps_name ON search_apps (tenant_id, lower(name));
CREATE INDEX ix_search_apps_created ON search_apps (tenant_id, created_at, id);
CREATE TABLE session_counts (
    tenant_id TEXT NOT NULL,
    chat_id TEXT NOT NULL,
    slot INTEGER NOT NULL,
    sessions BIGINT NOT NULL,
    CONSTRAINT pk_session_counts PRIMARY KEY (tenant_id, chat_id, slot),
    CONSTRAINT fk_session_counts_chats FOREIGN KEY(tenant_id, chat_id)
        REFERENCES chats (tenant_id, id) ON DELETE CASCADE
)
"""

COLUMNS = {
    "tenants": ("tokens_per_day BIGINT",),
    "api_keys": (
        "parent_id TEXT",
        "bot_kind TEXT",
        "bot_id TEXT",
        "origin TEXT",
        "visitor TEXT",
        "tokens_per_day BIGINT",
        "replaced_by TEXT",
    ),
    "chats": ("secrets BYTEA",),
    "messages": ("tool_calls JSONB", "extras JSONB"),
}

INDEXES = {
    "ix_api_keys_parent": "api_keys (tenant_id, parent_id) WHERE parent_id IS NOT NULL",
    "ix_api_keys_visitors": "api_keys (expires_at) WHERE kind = 'visitor'",
    "ix_sessions_updated": "sessions (tenant_id, chat_id, updated_at, id)",
    "ix_sessions_name": "sessions (tenant_id, chat_id, name, id)",
    "ix_sessions_user": "sessions (tenant_id, chat_id, user_id, created_at, id)",
    "ix_sessions_day": "sessions (tenant_id, created_at)",
    "ix_sessions_idle": "sessions (updated_at)",
    "ix_messages_content": "messages USING gin (tenant_id, content gin_trgm_ops) WHERE session_id IS NOT NULL",
}

# Functions and triggers made here, newest last; each is dropped on the way down.
FUNCTIONS: tuple[str, ...] = ()
DROP_FUNCTIONS: tuple[str, ...] = ()


# What 0001 did not let the dispatch role do with tables that were there (app/db/walls.py).
DISPATCH = (
    f"GRANT DELETE ON api_keys TO {DISPATCH_ROLE}",
    "DROP POLICY IF EXISTS dispatch ON sessions",  # a new database got it with the table
    f"CREATE POLICY dispatch ON sessions TO {DISPATCH_ROLE} USING (true)",
    f"GRANT SELECT (tenant_id, id, kind, updated_at, deleted_at) ON sessions TO {DISPATCH_ROLE}",
)
DISPATCH_DOWN = (
    f"REVOKE DELETE ON api_keys FROM {DISPATCH_ROLE}",
    "DROP POLICY IF EXISTS dispatch ON sessions",
    f"REVOKE SELECT (tenant_id, id, kind, updated_at, deleted_at) ON sessions FROM {DISPATCH_ROLE}",  # noqa: S608 (a constant)
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute("SET LOCAL statement_timeout = 0")  # indexes of what is there may take minutes
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {what}")
    for function in FUNCTIONS:
        op.execute(function)
    for statement in DISPATCH:
        op.execute(statement)
    app_role = context.config.attributes["app_role"]
    for table in _tables():
        op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO "{app_role}"')
        for statement in wall_statements(table):
            op.execute(statement)


def downgrade() -> None:
    for function in DROP_FUNCTIONS:
        op.execute(function)
    for statement in DISPATCH_DOWN:
        op.execute(statement)
    for name in reversed(INDEXES):
        op.execute(f"DROP INDEX {name}")
    for table in reversed(_tables()):
        op.execute(f"DROP TABLE {table}")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}")


def _tables() -> list[str]:
    return [
        line.split("TABLE ")[1].split()[0]
        for line in TABLES.splitlines()
        if line.startswith("CREATE ") and "TABLE " in line
    ]
