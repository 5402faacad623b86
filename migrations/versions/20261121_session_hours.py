"""Words of sessions are looked up by the hour in which the session began."""

from alembic import op

from migrations.hour_functions import DROP_HOUR_FUNCTIONS, FILL, HOUR_FUNCTIONS, HOUR_OF, TABLES

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_HOURS = "session_hour, session_8h, session_64h, session_512h"
INDEXES = {
    "ix_messages_content": f"messages USING gin (tenant_id, {_HOURS}, content gin_trgm_ops) "
    "WHERE session_id IS NOT NULL",
    "ix_session_labels_label": f"session_labels USING gin (tenant_id, chat_id, {_HOURS}, label gin_trgm_ops)",
}

# The planner knows nothing of new columns until then, and what is written anew counts as no change to it.
ANALYZE = """
DO $$ BEGIN
    IF pg_relation_size('messages') > 0 THEN
        ANALYZE messages, session_labels;
    END IF;
END $$
"""

# Those of the same names without hours.
FORMER_INDEXES = {
    "ix_messages_content": "messages USING gin (tenant_id, content gin_trgm_ops) WHERE session_id IS NOT NULL",
    "ix_session_labels_label": "session_labels USING gin (tenant_id, chat_id, label gin_trgm_ops)",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("SET LOCAL statement_timeout = 0")  # tables and indexes of what is there may take minutes
    for name in FORMER_INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute(HOUR_OF)
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN session_hour INTEGER")
    for statement in FILL:
        op.execute(statement)
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {what}")
    for function in HOUR_FUNCTIONS:
        op.execute(function)
    op.execute(ANALYZE)


def downgrade() -> None:
    for function in DROP_HOUR_FUNCTIONS:
        op.execute(function)
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN session_hour CASCADE")
    for name, what in FORMER_INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {what}")
